//! Ad-hoc queries: a planned query over one published epoch, run by DataFusion.
//!
//! Reading order: this file (what all queries share), [`provider`] (a stored relation as DataFusion scans it), [`orders`] and [`stored`] (which part of it is
//! read), [`source`] (a topic read as it is), [`window`] (TUMBLE and HOP), [`as_of`] (ASOF joins), [`recursion`] (WITH RECURSIVE), [`threads`] (where it runs, and how it ends early), [`lookup`] (the short path).

mod as_of;
mod interrupt;
mod lookup;
mod orders;
mod provider;
mod recursion;
mod source;
mod stored;
mod threads;
mod window;

use std::sync::Arc;

use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use catalog::{Catalog, Object};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, ParamValues};
use datafusion::datasource::{TableProvider, provider_as_source};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use futures::stream::BoxStream;
use planner::ViewPlan;
use planner::context::{FunctionRegistry, PlanContext, PlanSettings};
use planner::query::{QueryPlan, RelationRef, RelationSource};

pub(crate) use lookup::{Found, evaluate_constants, evaluate_on, look_up};
pub(crate) use provider::not_ready;

use interrupt::{Unwanted, interruptible};
use threads::QueryThreads;

use crate::pg_catalog::FunctionContext;
use crate::published::Published;
use crate::session::Parameter;
use crate::{Error, ErrorKind, Result, Settings};

/// What all queries of an engine share: functions, memory, configuration.
pub(crate) struct Queries {
    pub(crate) functions: FunctionRegistry,
    runtime: Arc<RuntimeEnv>,
    config: SessionConfig,
    pub(crate) threads: QueryThreads,
}

/// A plan that can be run once.
pub(crate) struct Physical {
    /// The operators, which count what they do.
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    unwanted: Unwanted,
}

/// Relations that a query sees differently from the published epoch: system relations, and tables that its own transaction has changed.
pub(crate) trait Overrides: Send + Sync {
    /// A provider for this relation, if it is one of them.
    fn provider(&self, relation: &RelationRef) -> Result<Option<Arc<dyn TableProvider>>>;

    /// What functions about the session and the catalog see.
    fn function_context(&self) -> FunctionContext;
}

impl Queries {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Self::on(settings, QueryThreads::new(settings.workers)?)
    }

    /// Without threads: whoever asks does the work.
    #[cfg(test)]
    pub(crate) fn by_hand(settings: &Settings) -> Result<Self> {
        Self::on(settings, QueryThreads::none())
    }

    fn on(settings: &Settings, threads: QueryThreads) -> Result<Self> {
        let pool = Arc::new(FairSpillPool::new(settings.query_memory_bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc();
        let runtime = runtime.map_err(|e| Error::internal(format!("no environment for queries: {e}")))?;
        let mut config = SessionConfig::new().with_target_partitions(settings.workers.max(1));
        // IS NOT TRUE and its like are never NULL, but their physical expressions don't know it.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        let functions = crate::system::functions()?;
        Ok(Self { functions, runtime, config, threads })
    }

    /// Plans the definition of a view or stream that is in the catalog.
    pub(crate) fn plan_view(&self, object: &Object, catalog: &Catalog) -> Result<ViewPlan> {
        let settings = PlanSettings { search_path: vec![object.name.schema.clone()], ..PlanSettings::default() };
        let system = crate::system::Relations;
        let context = PlanContext {
            catalog,
            settings: &settings,
            system: &system,
            functions: &self.functions,
            parameter_types: &[],
        };
        planner::plan_stored_view(object, &context).map_err(|e| {
            let error = Error::from(e);
            Error { message: format!("{} can't be planned again: {}", object.name, error.message), ..error }
        })
    }

    /// A state for one query.
    fn state(&self, context: FunctionContext) -> SessionState {
        let mut builder = SessionStateBuilder::new()
            .with_config(self.config.clone().with_option_extension(context))
            .with_runtime_env(self.runtime.clone())
            .with_default_features()
            .with_optimizer_rules(planner::push_down::optimizer_rules())
            .with_physical_optimizer_rule(Arc::new(stored::FirstRows));
        let functions = &self.functions;
        builder = builder.with_scalar_functions(functions.scalar().cloned().collect());
        builder = builder.with_aggregate_functions(functions.aggregate().cloned().collect());
        builder = builder.with_window_functions(functions.window().cloned().collect());
        let mut state = builder.with_query_planner(Arc::new(window::Planner)).build();
        state.mark_start_execution();
        state
    }

    /// The physical plan of a query over a published epoch, optimized.
    pub(crate) async fn physical(
        &self,
        logical: &LogicalPlan,
        parameters: Vec<Parameter>,
        published: &Arc<Published>,
        overrides: &dyn Overrides,
    ) -> Result<Physical> {
        let logical = bind_parameters(logical.clone(), parameters)?;
        let logical = planner::query::as_of::expanded(logical).map_err(query_error)?;
        let logical = resolve_scans(logical, published, overrides)?;
        let state = self.state(overrides.function_context());
        let planning = async move {
            let unwanted = Unwanted::default();
            let plan = state.create_physical_plan(&logical).await.map_err(query_error)?;
            let plan = interruptible(plan, &unwanted).map_err(query_error)?;
            Ok(Physical { plan, context: state.task_ctx(), unwanted })
        };
        self.threads.run(planning).await
    }

    /// The rows of a plan as its operators make them.
    pub(crate) fn rows(&self, physical: Physical) -> BoxStream<'static, Result<RecordBatch>> {
        self.threads.rows(physical)
    }

    /// Runs a query over a published epoch; batches have the columns of `plan.schema`.
    pub(crate) async fn run(
        &self,
        plan: &QueryPlan,
        parameters: Vec<Parameter>,
        published: &Arc<Published>,
        overrides: &dyn Overrides,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.run_logical(&plan.logical, plan.schema.clone(), parameters, published, overrides).await
    }

    /// As [`Queries::run`], for a plan that stands in another statement.
    pub(crate) async fn run_logical(
        &self,
        logical: &LogicalPlan,
        schema: SchemaRef,
        parameters: Vec<Parameter>,
        published: &Arc<Published>,
        overrides: &dyn Overrides,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let physical = self.physical(logical, parameters, published, overrides).await?;
        Ok(self.rows(physical).map(move |batch| conform(&batch?, &schema)).boxed())
    }
}

/// Puts values in the place of `$1`, `$2`, ….
fn bind_parameters(logical: LogicalPlan, parameters: Vec<Parameter>) -> Result<LogicalPlan> {
    if parameters.is_empty() {
        return Ok(logical);
    }
    let values = ParamValues::from(parameters);
    logical.replace_params_with_values(&values).map_err(query_error)
}

/// Puts providers over the published epoch in the place of the planner's relations, in subqueries too.
fn resolve_scans(logical: LogicalPlan, published: &Arc<Published>, overrides: &dyn Overrides) -> Result<LogicalPlan> {
    let resolved = logical.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Ok(Transformed::no(node));
        };
        let provider = overrides.provider(&source.relation).map_err(external)?;
        let provider = match provider {
            Some(provider) => provider,
            None => provider::published_relation(&source.relation, published).map_err(external)?,
        };
        let LogicalPlan::TableScan(scan) = node else { unreachable!("it was one above") };
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source: provider_as_source(provider), ..scan })))
    });
    Ok(resolved.map_err(query_error)?.data)
}

/// Our own errors travel through DataFusion and come out as they went in.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The same columns under the types and names that clients were told.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    conform_columns(Found { columns: batch.columns().to_vec(), rows: batch.num_rows() }, schema)
}

/// The columns under the types and names that clients were told.
pub(crate) fn conform_columns(found: Found, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = found.columns.into_iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column);
        }
        cast_with_options(&column, field.data_type(), &options)
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>().map_err(|e| query_error(e.into()))?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(found.rows));
    RecordBatch::try_new_with_options(nullable(schema), columns, &options).map_err(|e| query_error(e.into()))
}

/// The same columns under a relation's own names: operators number theirs.
pub(crate) fn named(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
}

/// Nullability is the planner's promise about the query, not the batch's business.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|field| field.is_nullable()) {
        return schema.clone();
    }
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// An error of DataFusion at run time as a client sees it.
pub(crate) fn query_error(error: DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => match inner.downcast_ref::<planner::Error>() {
                Some(error) => error.clone().into(),
                None if inner.to_string().starts_with("regex parse error") => planner::Error::from(error).into(),
                None => Error::new(ErrorKind::DataException, inner.to_string()),
            },
        },
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<Error>() {
                Some(error) => error.clone(),
                None => Error::new(ErrorKind::DataException, inner.to_string()),
            },
            _ => planner::Error::from(error).into(),
        },
        DataFusionError::ResourcesExhausted(text) => Error::new(ErrorKind::OutOfMemory, "out of memory for this query")
            .with_detail(text.clone())
            .with_hint("narrow the query down, or raise the memory for queries"),
        _ => planner::Error::from(error).into(),
    }
}

/// A mistake in `text`; the position is a byte offset in it.
pub(crate) fn located(error: planner::Error, text: &str) -> Error {
    let position = error.span.map(|span| span.start.byte_offset(text));
    Error { position, ..error.into() }
}

impl From<planner::Error> for Error {
    fn from(error: planner::Error) -> Self {
        use planner::error::ErrorKind as Kind;
        let kind = match error.kind {
            Kind::Syntax => ErrorKind::Syntax,
            Kind::UndefinedTable => ErrorKind::UndefinedTable,
            Kind::UndefinedColumn => ErrorKind::UndefinedColumn,
            Kind::UndefinedFunction => ErrorKind::UndefinedFunction,
            Kind::UndefinedObject | Kind::UnknownOption => ErrorKind::UndefinedObject,
            Kind::UndefinedSchema => ErrorKind::UndefinedSchema,
            Kind::UndefinedParameter => ErrorKind::UndefinedParameter,
            Kind::UndefinedStatement => ErrorKind::UndefinedPreparedStatement,
            Kind::UndefinedCursor => ErrorKind::UndefinedCursor,
            Kind::DuplicateTable => ErrorKind::DuplicateTable,
            Kind::DuplicateSchema => ErrorKind::DuplicateSchema,
            Kind::DuplicateColumn => ErrorKind::DuplicateColumn,
            Kind::DuplicateAlias => ErrorKind::DuplicateAlias,
            Kind::AmbiguousColumn => ErrorKind::AmbiguousColumn,
            Kind::IndeterminateType => ErrorKind::IndeterminateDatatype,
            Kind::DatatypeMismatch => ErrorKind::DatatypeMismatch,
            Kind::CannotCoerce => ErrorKind::CannotCoerce,
            Kind::Grouping => ErrorKind::Grouping,
            Kind::Windowing => ErrorKind::Windowing,
            Kind::InvalidTableDefinition => ErrorKind::InvalidTableDefinition,
            Kind::InvalidColumnReference => ErrorKind::InvalidColumnReference,
            Kind::WrongObjectType => ErrorKind::WrongObjectType,
            Kind::DependentObjects => ErrorKind::DependentObjects,
            Kind::NotNullViolation => ErrorKind::NotNullViolation,
            Kind::InvalidText => ErrorKind::InvalidTextRepresentation,
            Kind::InvalidDatetime => ErrorKind::InvalidDatetime,
            Kind::StringTooLong => ErrorKind::StringTooLong,
            Kind::InvalidLimit => ErrorKind::InvalidLimit,
            Kind::InvalidOffset => ErrorKind::InvalidOffset,
            Kind::InvalidRegularExpression => ErrorKind::InvalidRegularExpression,
            Kind::InvalidEscape => ErrorKind::InvalidEscape,
            Kind::InvalidLogarithm => ErrorKind::InvalidLogarithm,
            Kind::InvalidPower => ErrorKind::InvalidPower,
            Kind::InvalidEncoding => ErrorKind::InvalidEncoding,
            Kind::InvalidSubscript => ErrorKind::InvalidSubscript,
            Kind::LimitExceeded => ErrorKind::LimitExceeded,
            Kind::OutOfMemory => ErrorKind::OutOfMemory,
            Kind::OutOfRange => ErrorKind::NumericOutOfRange,
            Kind::DivisionByZero => ErrorKind::DivisionByZero,
            Kind::CardinalityViolation => ErrorKind::CardinalityViolation,
            Kind::InvalidParameterValue | Kind::InvalidOption => ErrorKind::InvalidParameterValue,
            Kind::InvalidRecursion => ErrorKind::InvalidRecursion,
            Kind::NotAllowed => ErrorKind::InsufficientPrivilege,
            Kind::Data(error) => ErrorKind::Data(error),
            Kind::Unsupported => ErrorKind::Unsupported,
            Kind::Internal => ErrorKind::Internal,
        };
        Self { kind, message: error.message, detail: error.detail, hint: error.hint, position: None, subject: None }
    }
}
