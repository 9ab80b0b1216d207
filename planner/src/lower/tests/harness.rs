//! Queries in DataFusion's own SQL over a fixed set of relations, lowered.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{LatePolicy, ObjectId, SqlType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, DataFusionError, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{
    AggregateUDF, Extension, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::Analyzer;
use datafusion::sql::parser::DFParser;
use datafusion::sql::planner::{ContextProvider, ParserOptions, SqlToRel};

use crate::explain;
use crate::incremental::{TimeBound, TimeKind, ViewPlan, WindowKind};
use crate::lower::{LowerOptions, RelationInfo, Relations, lower};
use crate::query::source::ViewSource;
use crate::query::{RelationRef, RelationSource, WindowTvf, Windows};
use crate::{Error, Result};

const SECOND: i64 = 1_000_000;

struct Fixed {
    relations: Vec<(&'static str, RelationInfo)>,
    options: ConfigOptions,
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    windows: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

fn schema(columns: &[(&str, SqlType)], not_null: usize) -> SchemaRef {
    let fields = columns.iter().enumerate().map(|(i, (name, sql_type))| sql_type.field(name, i >= not_null));
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

fn bound(kind: TimeKind, source: u32) -> TimeBound {
    TimeBound { kind, sources: vec![ObjectId(source)], late: LatePolicy::Drop }
}

/// Events: three sources with watermarks; state: two tables with keys, and a view by windows of a tumble over bids.
fn relations() -> Vec<(&'static str, RelationInfo)> {
    use SqlType::{BigInt, Text, Timestamp};
    let source = |id: u32, time: usize, columns: &[(&str, SqlType)]| RelationInfo {
        schema: schema(columns, 0),
        key: vec![],
        append_only: true,
        times: vec![(time, bound(TimeKind::Event, id))],
        growth: None,
    };
    let table = |columns: &[(&str, SqlType)]| RelationInfo {
        schema: schema(columns, 1),
        key: vec![0],
        append_only: false,
        times: vec![],
        growth: None,
    };
    let bid = [
        ("auction", BigInt),
        ("bidder", BigInt),
        ("price", BigInt),
        ("channel", Text),
        ("url", Text),
        ("date_time", Timestamp),
        ("extra", Text),
    ];
    let auction = [
        ("id", BigInt),
        ("item_name", Text),
        ("reserve", BigInt),
        ("date_time", Timestamp),
        ("expires", Timestamp),
        ("seller", BigInt),
        ("category", BigInt),
    ];
    let person = [("id", BigInt), ("name", Text), ("city", Text), ("state", Text), ("date_time", Timestamp)];
    let windows = RelationInfo {
        schema: schema(&[("window_end", Timestamp), ("channel", Text), ("n", BigInt)], 1),
        key: vec![0, 1],
        append_only: false,
        times: vec![(0, bound(TimeKind::Window { offset_us: 0 }, 1))],
        growth: None,
    };
    vec![
        ("bid", source(1, 5, &bid)),
        ("auction", source(2, 3, &auction)),
        ("person", source(3, 4, &person)),
        ("users", table(&[("id", BigInt), ("name", Text)])),
        ("orders", table(&[("id", BigInt), ("user_id", BigInt), ("amount", BigInt)])),
        ("windows", windows),
    ]
}

impl Relations for Fixed {
    fn relation(&self, id: ObjectId) -> Result<RelationInfo> {
        Ok(self.relations[id.0 as usize - 1].1.clone())
    }
}

impl Fixed {
    fn new() -> Self {
        Self {
            relations: relations(),
            options: ConfigOptions::new(),
            scalars: SessionStateDefaults::default_scalar_functions()
                .into_iter()
                .map(|f| (f.name().to_owned(), f))
                .collect(),
            aggregates: SessionStateDefaults::default_aggregate_functions()
                .into_iter()
                .map(|f| (f.name().to_owned(), f))
                .collect(),
            windows: SessionStateDefaults::default_window_functions()
                .into_iter()
                .map(|f| (f.name().to_owned(), f))
                .collect(),
            planners: SessionStateDefaults::default_expr_planners(),
        }
    }

    fn name(&self, id: ObjectId) -> String {
        self.relations[id.0 as usize - 1].0.to_owned()
    }

    fn source(&self, name: &str) -> Option<Arc<dyn TableSource>> {
        let index = self.relations.iter().position(|(known, _)| *known == name)?;
        let schema = self.relations[index].1.schema.clone();
        Some(Arc::new(RelationSource { relation: RelationRef::Object(ObjectId(index as u32 + 1)), schema }))
    }

    /// `session_x` stands for `SESSION(x, date_time, '10 s', auction)`, `tumble_x` for `TUMBLE(x, date_time, '10 s')`, `hop_x` and `cumulate_x` for `HOP` and
    /// `CUMULATE(x, date_time, '2 s', '10 s')`.
    fn windowed(&self, name: &str) -> Option<Arc<dyn TableSource>> {
        let (kind, relation) = match name.split_once('_')? {
            ("tumble", relation) => (WindowKind::Tumble { size_us: 10 * SECOND }, relation),
            ("session", relation) => {
                let keys = vec![Column::new(Some(relation), "auction")];
                return self.windows_over(relation, Windows::Session { gap_us: 10 * SECOND, keys });
            }
            ("cumulate", relation) => (WindowKind::Cumulate { step_us: 2 * SECOND, size_us: 10 * SECOND }, relation),
            ("hop", relation) => (WindowKind::Hop { slide_us: 2 * SECOND, size_us: 10 * SECOND }, relation),
            _ => return None,
        };
        self.windows_over(relation, Windows::Fixed(kind))
    }

    fn windows_over(&self, relation: &str, windows: Windows) -> Option<Arc<dyn TableSource>> {
        let scan = LogicalPlanBuilder::scan(relation, self.source(relation)?, None).unwrap().build().unwrap();
        let window = WindowTvf::try_new(scan, Column::new(Some(relation), "date_time"), windows).unwrap();
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(window) });
        let schema = Arc::new(plan.schema().as_arrow().clone());
        Some(Arc::new(ViewSource { plan, schema }))
    }
}

impl ContextProvider for Fixed {
    fn get_table_source(&self, name: TableReference) -> datafusion::error::Result<Arc<dyn TableSource>> {
        let found = self.source(name.table()).or_else(|| self.windowed(name.table()));
        found.ok_or_else(|| DataFusionError::Plan(format!("no relation {name}")))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> datafusion::error::Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.windows.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.scalars.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.windows.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }
}

/// Lowers a query, or says why it can't be.
pub(super) fn lower_sql(query: &str) -> Result<ViewPlan> {
    lower_with(query, LowerOptions::default()).map(|(plan, _)| plan)
}

fn lower_with(query: &str, options: LowerOptions) -> Result<(ViewPlan, Fixed)> {
    let fixed = Fixed::new();
    let statement = DFParser::parse_sql_with_dialect(query, &datafusion::sql::sqlparser::dialect::PostgreSqlDialect {})
        .unwrap()
        .pop_front()
        .unwrap();
    let parser_options = ParserOptions::new().with_collect_spans(true);
    let logical =
        SqlToRel::new_with_options(&fixed, parser_options).statement_to_plan(statement).map_err(Error::from)?;
    let logical = crate::query::tests::expanded(logical)?;
    let analyzed = Analyzer::new().execute_and_check(logical, &fixed.options, |_, _| {}).map_err(Error::from)?;
    let schema = Arc::new(analyzed.schema().as_arrow().clone());
    Ok((lower(&analyzed, &schema, options, &fixed)?, fixed))
}

/// Lowers a query that can be.
pub(super) fn plan(query: &str) -> ViewPlan {
    lower_sql(query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// The plan of a query as text.
pub(super) fn explain(query: &str) -> String {
    let (plan, fixed) = lower_with(query, LowerOptions::default()).unwrap_or_else(|error| panic!("{query}: {error}"));
    explain::incremental(&plan, &|id| fixed.name(id))
}

/// The plan of a query with `EMIT ON WINDOW CLOSE` as text.
pub(super) fn closing_plan(query: &str) -> Result<String> {
    let (plan, fixed) = lower_with(query, LowerOptions { emit_on_window_close: true, ..LowerOptions::default() })?;
    Ok(explain::incremental(&plan, &|id| fixed.name(id)))
}
