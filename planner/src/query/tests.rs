#![allow(clippy::unwrap_used)]

//! What PostgreSQL 15 answers to these queries (names, types, values of constants), and what we do.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::ArrayRef;
use catalog::{
    Catalog, Column, Connector, LatePolicy, Object, ObjectId, ObjectKind, QualifiedName, Source, SqlType, Table,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext};

use super::*;
use crate::context::{FunctionRegistry, NoSystemRelations, PlanSettings};

/// A catalog, and all else that planning needs.
pub(crate) struct Fixture {
    pub(crate) catalog: Catalog,
    pub(crate) settings: PlanSettings,
    pub(crate) functions: FunctionRegistry,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let catalog = Catalog::new();
        let fixture = Self { catalog, settings: PlanSettings::default(), functions: FunctionRegistry::new() };
        fixture
            .with(table(
                "customers",
                &[("id", SqlType::BigInt), ("name", SqlType::Text), ("prefs", SqlType::Jsonb)],
                &[0],
            ))
            .with(table(
                "orders",
                &[
                    ("id", SqlType::BigInt),
                    ("customer_id", SqlType::BigInt),
                    ("amount", SqlType::Numeric(Some((12, 2)))),
                    ("status", SqlType::Varchar(Some(20))),
                    ("placed_at", SqlType::Timestamp),
                    ("flag", SqlType::Boolean),
                    ("d", SqlType::Date),
                    ("uid", SqlType::Uuid),
                    ("r", SqlType::Real),
                    ("si", SqlType::SmallInt),
                ],
                &[0],
            ))
            .with(source(
                "bids",
                &[("auction", SqlType::BigInt), ("price", SqlType::BigInt), ("at", SqlType::Timestamptz)],
            ))
    }

    pub(crate) fn with(mut self, object: Object) -> Self {
        let (catalog, object) = self.catalog.assign(object);
        self.catalog = catalog.create(object).unwrap();
        self
    }

    pub(crate) fn context(&self) -> PlanContext<'_> {
        PlanContext {
            catalog: &self.catalog,
            settings: &self.settings,
            system: &NoSystemRelations,
            functions: &self.functions,
            parameter_types: &[],
        }
    }

    /// Runs a statement that makes an object, as the engine would.
    pub(crate) fn run(mut self, text: &str) -> Self {
        let statement = sql::parse_one(text).unwrap();
        match crate::plan(&statement, &self.context()).unwrap_or_else(|error| panic!("{text}: {error}")) {
            crate::Plan::Create(create) => {
                self = self.with(create.object);
                self
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    pub(crate) fn query(&self, text: &str) -> Result<QueryPlan> {
        match sql::parse_one(text)?.kind {
            sql::StatementKind::Query(query) => plan_query(&query.query, &self.context()),
            other => panic!("{other:?} is no query"),
        }
    }
}

fn column(name: &str, sql_type: &SqlType) -> Column {
    Column { name: name.to_owned(), sql_type: sql_type.clone(), nullable: true, default: None, generated: None }
}

pub(crate) fn object(name: &str, columns: &[(&str, SqlType)], kind: ObjectKind) -> Object {
    Object {
        id: ObjectId(0),
        name: QualifiedName { schema: "public".to_owned(), name: name.to_owned() },
        sql: String::new(),
        columns: columns.iter().map(|(name, sql_type)| column(name, sql_type)).collect(),
        depends_on: Vec::new(),
        kind,
    }
}

pub(crate) fn table(name: &str, columns: &[(&str, SqlType)], key: &[usize]) -> Object {
    object(name, columns, ObjectKind::Table(Table { primary_key: key.to_vec(), connector: None, state_id: 0 }))
}

pub(crate) fn source(name: &str, columns: &[(&str, SqlType)]) -> Object {
    let source =
        Source { connector: Connector::default(), watermark: None, late: LatePolicy::Drop, declared_as_stream: false };
    object(name, columns, ObjectKind::Source(source))
}

/// A plan as it goes on: views in the place of their scans.
pub(crate) fn expanded(plan: LogicalPlan) -> Result<LogicalPlan> {
    expand_views(plan)
}

/// `name type; name type`, or the error.
pub(crate) fn answer(plan: &Result<QueryPlan>) -> String {
    match plan {
        Ok(plan) => {
            let columns = plan
                .schema
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name(), SqlType::of_field(field).unwrap()));
            columns.collect::<Vec<_>>().join("; ")
        }
        Err(error) => format!("error {}", error.message),
    }
}

/// The values of a query of constants, as text.
fn constants(plan: &QueryPlan) -> Option<String> {
    let optimizer = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new())]);
    let plan = optimizer.optimize(plan.logical.clone(), &OptimizerContext::new(), |_, _| {}).unwrap();
    let row: Vec<Expr> = first_row(&plan)?;
    let values = row.into_iter().map(|expr| match expr.unalias() {
        Expr::Literal(value, _) => {
            let array: ArrayRef = value.to_array().unwrap();
            Some(crate::functions::texts_of(&array))
        }
        _ => None,
    });
    Some(values.collect::<Option<Vec<_>>>()?.join("; ").replace('\n', "\\n"))
}

/// The expressions of the row that a plan of constants gives.
fn first_row(plan: &LogicalPlan) -> Option<Vec<Expr>> {
    match plan {
        LogicalPlan::Values(values) => values.values.first().cloned(),
        LogicalPlan::Projection(projection) => match &*projection.input {
            LogicalPlan::EmptyRelation(_) => Some(projection.expr.clone()),
            input => {
                let inner = first_row(input)?;
                let over = |expr: &Expr| {
                    let replaced = expr.clone().transform_up(|expr| match &expr {
                        Expr::Column(column) => {
                            let index = input.schema().index_of_column(column)?;
                            Ok(Transformed::yes(inner[index].clone().unalias()))
                        }
                        _ => Ok(Transformed::no(expr)),
                    });
                    replaced.unwrap().data
                };
                Some(projection.expr.iter().map(over).collect())
            }
        },
        _ => None,
    }
}

/// The file has a query, what it answers, and for constants after `=` the values. A line `! …` instead says where we differ, and how.
#[test]
fn expressions_have_postgresqls_names_types_and_values() {
    let golden = include_str!("tests/expressions.txt");
    let fixture = Fixture::new();
    let mut found = String::new();
    let mut lines = golden.lines().peekable();
    while let Some(query) = lines.next() {
        writeln!(found, "{query}").unwrap();
        let plan = fixture.query(query);
        let mine = answer(&plan);
        let theirs = lines.next().unwrap().trim();
        writeln!(found, "  {theirs}").unwrap();
        let value = lines.next_if(|line| line.starts_with("  = ")).map(|line| &line[4..]);
        let recorded = lines.next_if(|line| line.starts_with("  ! ")).map(|line| &line[4..]);
        let mut difference = None;
        if mine != theirs {
            difference = Some(mine);
        }
        if let Some(value) = value {
            writeln!(found, "  = {value}").unwrap();
            let computed = plan.ok().and_then(|plan| constants(&plan)).unwrap_or_else(|| "not constant".to_owned());
            if computed != value && computed != "not constant" {
                difference =
                    Some(difference.map_or_else(|| format!("= {computed}"), |mine| format!("{mine} = {computed}")));
            }
        }
        let _ = recorded;
        if let Some(difference) = difference {
            writeln!(found, "  ! {difference}").unwrap();
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/query/tests/expressions.txt"), &found).unwrap();
    }
    let differing: Vec<_> = found.lines().zip(golden.lines()).filter(|(mine, theirs)| mine != theirs).take(5).collect();
    assert!(found == golden, "run with UPDATE_GOLDEN=1 and read the difference: {differing:#?}");
}
