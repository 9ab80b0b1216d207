//! A text in three dialects: what the view is made of, what DataFusion is asked in one batch, and what PostgreSQL is asked.
//!
//! They differ where a view reads a view (which DataFusion doesn't have: there it is a subquery), where windows of time stand (an expression
//! elsewhere), and where DataFusion has another name for something, or nothing: then there is no second text, and only the others are compared.
//! `@view1@` in what DataFusion is asked is the query of that view, whatever it is by then; [`CLOCK`] and [`LOCAL_CLOCK`] are what time it is.

use super::expression::Kind;

/// What `now()` is elsewhere: PostgreSQL has functions of these names, for DataFusion they are replaced by literals.
pub const CLOCK: &str = "clock()";
/// As [`CLOCK`], as a timestamp.
pub const LOCAL_CLOCK: &str = "local_clock()";

/// The three texts of one thing.
#[derive(Clone, Debug)]
pub struct Sql {
    pub view: String,
    pub batch: Option<String>,
    pub postgres: String,
}

/// A column that can be named.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// Something that stands in FROM.
#[derive(Clone, Debug)]
pub struct Relation {
    pub sql: Sql,
    pub columns: Vec<Column>,
    /// Columns of a table's primary key.
    pub key: Vec<String>,
    /// It is a source.
    pub grows: bool,
}

/// A whole query.
#[derive(Clone, Debug)]
pub struct Query {
    pub sql: Sql,
    pub columns: Vec<Column>,
}

impl Sql {
    /// The same text everywhere.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { batch: Some(text.clone()), postgres: text.clone(), view: text }
    }

    /// Text that goes on everywhere.
    pub fn and(mut self, text: &str) -> Self {
        self.view.push_str(text);
        self.postgres.push_str(text);
        if let Some(batch) = &mut self.batch {
            batch.push_str(text);
        }
        self
    }

    /// Another text behind this one.
    pub fn with(mut self, other: &Self) -> Self {
        self.view.push_str(&other.view);
        self.postgres.push_str(&other.postgres);
        self.batch = match (self.batch, &other.batch) {
            (Some(batch), Some(other)) => Some(batch + other),
            _ => None,
        };
        self
    }

    /// What DataFusion can't be asked, or answers wrong.
    pub fn not_for_batch(self) -> Self {
        Self { batch: None, ..self }
    }
}

impl Relation {
    pub fn new(sql: Sql, columns: Vec<Column>) -> Self {
        Self { sql, columns, key: Vec::new(), grows: false }
    }

    /// Under an alias.
    pub fn named(self, alias: &str) -> Self {
        let columns = self.columns.iter().map(|c| column(&format!("{alias}.{}", c.name), c.kind)).collect();
        Self { sql: self.sql.and(&format!(" AS {alias}")), columns, ..self }
    }

    /// Without the columns that have no order; `alias` is its own.
    pub fn in_order(self, alias: &str) -> Self {
        if self.columns.iter().all(|column| column.kind.has_order()) {
            return self;
        }
        let mut columns: Vec<Column> = self.columns.iter().filter(|c| c.kind.has_order()).cloned().collect();
        let mut list: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        if columns.is_empty() {
            list.push("1 AS one".to_owned());
            columns.push(column(&format!("{alias}.one"), Kind::Int));
        }
        let sql = Sql::text(format!("(SELECT {} FROM ", list.join(", "))).with(&self.sql);
        Self::new(sql.and(&format!(") AS {alias}")), columns)
    }

    /// Of one of these, its columns of a kind.
    pub fn of_kind(&self, kind: Kind) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.kind == kind).collect()
    }
}

impl Query {
    /// This query under a view's name.
    pub fn as_view(&self, name: &str) -> Relation {
        let batch = Some(format!("(@{name}@)"));
        Relation::new(Sql { batch, ..Sql::text(name) }, self.columns.clone())
    }

    /// This query in parentheses.
    pub fn as_subquery(&self) -> Relation {
        Relation::new(Sql::text("(").with(&self.sql).and(")"), self.columns.clone())
    }
}

pub fn column(name: &str, kind: Kind) -> Column {
    Column { name: name.to_owned(), kind }
}

/// `head FROM relation tail`.
pub fn select(head: &str, from: &Relation, tail: &str, columns: Vec<Column>) -> Query {
    Query { sql: Sql::text(head).and(" FROM ").with(&from.sql).and(tail), columns }
}

/// Output columns `c0`, `c1`, … from expressions.
pub fn outputs(expressions: &[(String, Kind)]) -> (String, Vec<Column>) {
    let named = expressions.iter().enumerate().map(|(i, (text, _))| format!("{text} AS c{i}"));
    let columns = expressions.iter().enumerate().map(|(i, (_, kind))| column(&format!("c{i}"), *kind));
    (named.collect::<Vec<_>>().join(", "), columns.collect())
}
