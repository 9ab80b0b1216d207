//! What a statement does: what [`super::plan()`] gives and the engine executes.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use catalog::{Object, ObjectId, SqlType};
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::{Expr, LogicalPlan};
use sql::Statement;

use crate::ViewPlan;
use crate::query::QueryPlan;

/// A planned statement.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Makes an object; see [`CreatePlan`].
    Create(Box<CreatePlan>),
    /// Makes a schema.
    CreateSchema {
        /// Its name, which is free.
        name: String,
    },
    /// Drops objects and schemas.
    Drop(DropPlan),
    /// Changes objects; see [`AlterPlan`].
    Alter(Box<AlterPlan>),
    /// Sets the comment of an object.
    Comment(CommentPlan),
    /// A SELECT, VALUES or TABLE.
    Query(Box<QueryPlan>),
    /// INSERT.
    Insert(Box<InsertPlan>),
    /// UPDATE.
    Update(Box<UpdatePlan>),
    /// DELETE.
    Delete(Box<DeletePlan>),
    /// TRUNCATE.
    Truncate {
        /// The tables to empty.
        tables: Vec<ObjectId>,
    },
    /// COPY … FROM STDIN or TO STDOUT.
    Copy(Box<CopyPlan>),
    /// SUBSCRIBE and SELECT … EMIT CHANGES.
    Subscribe(Box<SubscribePlan>),
    /// An answer that the catalog alone gives: SHOW, DESCRIBE, EXPLAIN.
    Rows(RowsPlan),
    /// EXPLAIN ANALYZE of a query: run it, then print its operators with rows and time.
    ExplainAnalyzeQuery(Box<QueryPlan>),
    /// EXPLAIN ANALYZE of a running view: rows, time and state per operator.
    ExplainAnalyzeView {
        /// The view or stream.
        relation: ObjectId,
        /// Its operators.
        view: Box<ViewPlan>,
    },
    /// EXPLAIN (PHYSICAL) of a query: what DataFusion would run.
    ExplainPhysical(Box<QueryPlan>),
    /// SET, SET LOCAL.
    Set(SetPlan),
    /// RESET name.
    Reset {
        /// The setting, in lower case.
        name: String,
    },
    /// RESET ALL.
    ResetAll,
    /// SHOW name, for a setting; the engine knows which there are.
    ShowSetting {
        /// The setting, in lower case.
        name: String,
    },
    /// SHOW ALL.
    ShowAllSettings,
    /// BEGIN and its like.
    Transaction(TransactionPlan),
    /// PREPARE name [(types)] AS statement.
    Prepare {
        /// The name.
        name: String,
        /// The declared types of parameters.
        parameter_types: Vec<Option<SqlType>>,
        /// What is prepared.
        statement: Box<Statement>,
    },
    /// EXECUTE name (arguments).
    Execute {
        /// The name.
        name: String,
        /// Constant expressions, typed; the engine casts them to the parameters' types.
        arguments: Vec<Expr>,
    },
    /// DEALLOCATE.
    Deallocate {
        /// `None`: all.
        name: Option<String>,
    },
    /// DISCARD ALL and its like.
    Discard(Discard),
    /// DECLARE name CURSOR FOR query.
    DeclareCursor {
        /// The cursor's name.
        name: String,
        /// WITH HOLD: it outlives the transaction.
        hold: bool,
        /// What it reads: a query, or a subscription.
        plan: Box<Plan>,
    },
    /// FETCH count FROM name; MOVE when `move_only`.
    Fetch {
        /// The cursor's name.
        name: String,
        /// How many rows forward; `None`: all.
        count: Option<u64>,
        /// Skip them.
        move_only: bool,
    },
    /// CLOSE name.
    CloseCursor {
        /// `None`: all.
        name: Option<String>,
    },
    /// Nothing is to be done, as with IF EXISTS on what does not exist, and an empty statement.
    Nothing {
        /// The command tag: `CREATE TABLE`; empty for an empty statement.
        tag: &'static str,
        /// What the user is told, if anything.
        notice: Option<String>,
    },
}

/// Makes an object. Its id and its state ids are 0: the engine assigns them ([`catalog::Catalog::assign`]) and resolves the connector's start.
#[derive(Clone, Debug)]
pub struct CreatePlan {
    /// What is made.
    pub object: Object,
    /// For a materialized view and a stream over a query: how it is kept up to date.
    pub view: Option<ViewPlan>,
    /// What the user is told.
    pub notices: Vec<String>,
    /// The command tag.
    pub tag: &'static str,
}

/// Drops objects and schemas.
#[derive(Clone, Debug)]
pub struct DropPlan {
    /// What goes, dependents before what they depend on.
    pub objects: Vec<ObjectId>,
    /// Schemas that go, after their objects.
    pub schemas: Vec<String>,
    /// What the user is told: what CASCADE takes along, what IF EXISTS did not find.
    pub notices: Vec<String>,
    /// The command tag.
    pub tag: &'static str,
}

/// Changes objects that exist, all of them at once.
#[derive(Clone, Debug)]
pub struct AlterPlan {
    /// What they are from then on: the object that the statement names, and those whose definitions follow it.
    pub objects: Vec<Object>,
    /// Views whose operators change, each behind those that it reads.
    pub attach: Vec<Attach>,
    /// Objects that go, dependents before what they depend on.
    pub drops: Vec<ObjectId>,
    /// A table whose rows are written anew.
    pub rewrite: Option<TableRewrite>,
    /// What the user is told.
    pub notices: Vec<String>,
    /// The command tag.
    pub tag: &'static str,
}

/// A view whose operators change.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The view, or the stream.
    pub relation: ObjectId,
    /// Its operators from then on.
    pub view: ViewPlan,
    /// Where their state comes from.
    pub how: Attached,
}

/// Where the state of changed operators comes from.
#[derive(Clone, Debug)]
pub enum Attached {
    /// It is what they have; fingerprints that the operators had, and have.
    Kept(Vec<(String, String)>),
    /// They are built beside the old ones, which go when the new ones have caught up. Readers get the difference.
    Built,
}

/// A table gets other columns.
#[derive(Clone, Debug)]
pub struct TableRewrite {
    /// The table.
    pub table: ObjectId,
    /// For each of its new columns, where its values come from.
    pub columns: Vec<ColumnOrigin>,
}

/// Where the values of a column come from.
#[derive(Clone, Debug)]
pub enum ColumnOrigin {
    /// The column at that place before.
    Old(usize),
    /// The value of a constant expression.
    New(Expr),
}

/// COMMENT ON.
#[derive(Clone, Debug)]
pub struct CommentPlan {
    /// What it is about.
    pub object: ObjectId,
    /// The column that it is about; `None`: the whole object.
    pub column: Option<usize>,
    /// The comment; `None` takes it away.
    pub comment: Option<String>,
}

/// INSERT.
#[derive(Clone, Debug)]
pub struct InsertPlan {
    /// The table, fed by DML.
    pub table: ObjectId,
    /// Gives whole rows: the table's columns in order and of the table's types, defaults filled in. NOT NULL is the engine's to check,
    /// and so is the primary key.
    pub source: LogicalPlan,
    /// What happens to a row whose key exists.
    pub on_conflict: OnConflict,
    /// What is answered.
    pub returning: Option<Returning>,
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<SqlType>,
    /// Relations that the source reads.
    pub reads: Vec<ObjectId>,
}

/// What happens to a row whose key exists.
#[derive(Clone, Debug)]
pub enum OnConflict {
    /// A unique violation (23505).
    Error,
    /// The row is left out.
    DoNothing,
    /// The row that exists is updated.
    DoUpdate(Box<DoUpdate>),
}

/// ON CONFLICT DO UPDATE.
#[derive(Clone, Debug)]
pub struct DoUpdate {
    /// What expressions see: the table's columns under its name, then the proposed row's under `excluded`.
    pub schema: DFSchemaRef,
    /// One expression per column of the table: the new row, of the table's types.
    pub row: Vec<Expr>,
    /// Only where this is true.
    pub filter: Option<Expr>,
}

/// RETURNING.
#[derive(Clone, Debug)]
pub struct Returning {
    /// What expressions see: the table's columns under its name (or alias).
    pub input: DFSchemaRef,
    /// The answer's columns.
    pub expressions: Vec<Expr>,
    /// Their names and types.
    pub schema: SchemaRef,
}

/// UPDATE.
#[derive(Clone, Debug)]
pub struct UpdatePlan {
    /// The table, fed by DML.
    pub table: ObjectId,
    /// Gives for each row that is updated the table's columns as they are, then as they become, of the table's types. A row may come more
    /// than once with UPDATE … FROM: the first one counts.
    pub source: LogicalPlan,
    /// Other relations stand in FROM.
    pub is_joined: bool,
    /// What is answered, over the new row.
    pub returning: Option<Returning>,
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<SqlType>,
    /// Relations that the source reads.
    pub reads: Vec<ObjectId>,
}

/// DELETE.
#[derive(Clone, Debug)]
pub struct DeletePlan {
    /// The table, fed by DML.
    pub table: ObjectId,
    /// Gives the rows to delete: the table's columns. A row may come more than once with DELETE … USING.
    pub source: LogicalPlan,
    /// Other relations stand in USING.
    pub is_joined: bool,
    /// What is answered, over the old row.
    pub returning: Option<Returning>,
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<SqlType>,
    /// Relations that the source reads.
    pub reads: Vec<ObjectId>,
}

/// COPY.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    /// From the client into a table, or from a query to the client.
    pub direction: CopyDirection,
    /// How rows are written.
    pub format: CopyFormat,
}

/// Which way COPY goes.
#[derive(Clone, Debug)]
pub enum CopyDirection {
    /// FROM STDIN.
    In {
        /// The table, fed by DML.
        table: ObjectId,
        /// Positions of the columns that the data has, in the data's order.
        columns: Vec<usize>,
        /// One constant expression per column of the table for those that the data leaves out, `None` for those that it has.
        defaults: Vec<Option<Expr>>,
    },
    /// TO STDOUT.
    Out(Box<QueryPlan>),
}

/// How COPY's rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFormat {
    /// CSV rather than PostgreSQL's text form.
    pub csv: bool,
    /// Between columns.
    pub delimiter: char,
    /// What NULL looks like.
    pub null: String,
    /// The first line names the columns.
    pub header: bool,
    /// CSV's quote.
    pub quote: char,
    /// CSV's escape inside quotes.
    pub escape: char,
}

/// SUBSCRIBE and SELECT … EMIT CHANGES. The answer's columns are `mr_epoch` (bigint), `mr_weight` (bigint), then the relation's.
#[derive(Clone, Debug)]
pub struct SubscribePlan {
    /// What is followed.
    pub target: SubscribeTarget,
    /// Whether the rows that are there come first.
    pub snapshot: bool,
    /// Names and types of the answer.
    pub schema: SchemaRef,
}

/// What a subscription follows.
#[derive(Clone, Debug)]
pub enum SubscribeTarget {
    /// A relation of the catalog, all its columns.
    Relation(ObjectId),
    /// A query, kept up to date for as long as somebody listens.
    Query {
        /// As operators.
        view: Box<ViewPlan>,
        /// As a query, for what is there when it begins.
        query: Box<QueryPlan>,
        /// Its text, with EMIT ON WINDOW CLOSE if it says so: what a materialized view of it would be made of.
        text: String,
    },
}

/// An answer that planning gives.
#[derive(Clone, Debug)]
pub struct RowsPlan {
    /// The rows; fields as [`catalog::SqlType::field`] makes them.
    pub rows: RecordBatch,
    /// The command tag.
    pub tag: &'static str,
}

/// SET and SET LOCAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPlan {
    /// The setting, in lower case; `timezone`, `transaction_isolation`, … for the forms with a syntax of their own.
    pub name: String,
    /// The value, list members joined with `, `; `None`: DEFAULT.
    pub value: Option<String>,
    /// Until the transaction ends.
    pub local: bool,
}

/// Transaction control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionPlan {
    /// BEGIN, START TRANSACTION.
    Begin {
        /// Its modes.
        modes: TransactionModes,
        /// `BEGIN` or `START TRANSACTION`.
        tag: &'static str,
    },
    /// COMMIT [AND CHAIN].
    Commit {
        /// A new transaction begins at once.
        chain: bool,
    },
    /// ROLLBACK [AND CHAIN].
    Rollback {
        /// A new transaction begins at once.
        chain: bool,
    },
    /// SAVEPOINT name.
    Savepoint(String),
    /// RELEASE name.
    Release(String),
    /// ROLLBACK TO name.
    RollbackTo(String),
    /// SET TRANSACTION.
    SetModes(TransactionModes),
}

/// READ ONLY and ISOLATION LEVEL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    /// READ ONLY (`true`) or READ WRITE, if said.
    pub read_only: Option<bool>,
    /// The isolation level in lower case, if said.
    pub isolation: Option<String>,
}

/// What DISCARD throws away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Everything of the session.
    All,
    /// Prepared plans.
    Plans,
    /// Sequences' caches: there are none.
    Sequences,
    /// Temporary tables: there are none.
    Temp,
}

impl Plan {
    /// Names and types of the rows that the statement answers with; `None` if it answers with a command tag alone, and where only the engine knows
    /// (EXECUTE, FETCH).
    pub fn result_schema(&self) -> Option<SchemaRef> {
        match self {
            Self::Query(query) => Some(query.schema.clone()),
            Self::Insert(insert) => insert.returning.as_ref().map(|returning| returning.schema.clone()),
            Self::Update(update) => update.returning.as_ref().map(|returning| returning.schema.clone()),
            Self::Delete(delete) => delete.returning.as_ref().map(|returning| returning.schema.clone()),
            Self::Subscribe(subscribe) => Some(subscribe.schema.clone()),
            Self::Rows(rows) => Some(rows.rows.schema()),
            Self::ExplainAnalyzeQuery(_) | Self::ExplainAnalyzeView { .. } | Self::ExplainPhysical(_) => {
                Some(super::rows::text_schema(&["QUERY PLAN"]))
            }
            Self::ShowSetting { name } => Some(super::rows::text_schema(&[name.as_str()])),
            Self::ShowAllSettings => Some(super::rows::text_schema(&["name", "setting", "description"])),
            _ => None,
        }
    }

    /// Types of the parameters `$1`, `$2`, ….
    pub fn parameters(&self) -> &[SqlType] {
        match self {
            Self::Query(query) | Self::ExplainAnalyzeQuery(query) | Self::ExplainPhysical(query) => &query.parameters,
            Self::Insert(insert) => &insert.parameters,
            Self::Update(update) => &update.parameters,
            Self::Delete(delete) => &delete.parameters,
            _ => &[],
        }
    }
}
