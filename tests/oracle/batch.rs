//! DataFusion over the rows of the tables, in one batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field as ArrowField, Int64Type, IntervalMonthDayNano, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_limit::EliminateLimit;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::expression::Kind;
use super::model::{Field, Model, START_S, TABLES, Table, Value};
use super::sql::Column;

/// The tables as DataFusion reads them: once with all of its optimizer rules, once with only those without which queries can't be
/// executed. Where the two disagree, a rule is wrong, and the plainer answer is the better one.
///
/// `more` are tables beside the model's.
pub fn contexts(model: &Model, more: &[(String, Vec<RecordBatch>)]) -> [SessionContext; 2] {
    let builder = || {
        let mut config = SessionConfig::new().with_target_partitions(1);
        // As in the engine: IS NOT TRUE is never NULL, which its physical expression doesn't know.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        // A TIMESTAMPTZ is one.
        config.options_mut().execution.time_zone = Some("+00:00".to_owned());
        SessionStateBuilder::new().with_default_features().with_config(config)
    };
    let plain = builder().with_optimizer_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        // No rows at all are no first rows to DataFusion's executor.
        Arc::new(EliminateLimit::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
    ]);
    [builder(), plain].map(|builder| {
        let context = SessionContext::new_with_state(builder.build());
        for (name, table) in TABLES.iter().zip(&model.tables) {
            let batch = batch(table);
            let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
            context.register_table(*name, Arc::new(table)).unwrap();
        }
        for (name, batches) in more {
            if let Some(first) = batches.first() {
                let table = MemTable::try_new(first.schema(), vec![batches.clone()]).unwrap();
                context.register_table(name.as_str(), Arc::new(table)).unwrap();
            }
        }
        context
    })
}

fn batch(table: &Table) -> RecordBatch {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (position, field) in table.fields.iter().enumerate() {
        let values: Vec<Value> = table.rows.iter().map(|row| row[position]).collect();
        let column = array(field, &values);
        fields.push(ArrowField::new(field.name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn array(field: &Field, values: &[Value]) -> ArrayRef {
    let ints = || {
        values.iter().map(|value| match value {
            Value::Int(v) => Some(*v),
            _ => None,
        })
    };
    match (field.kind, field.sql_type) {
        (Kind::Int, "smallint") => Arc::new(ints().map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
        (Kind::Int, "int") => Arc::new(ints().map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        (Kind::Int, _) => Arc::new(ints().collect::<Int64Array>()),
        (Kind::Text | Kind::Json, _) => Arc::new(collect(
            values,
            |value| match value {
                Value::Text(s) | Value::Json(s) => Some(s),
                _ => None,
            },
            StringArray::from,
        )),
        (Kind::Float, _) => Arc::new(collect(
            values,
            |value| match value {
                Value::Float(f) => Some(f),
                _ => None,
            },
            Float64Array::from,
        )),
        (Kind::Numeric, _) => {
            let numbers = collect(
                values,
                |value| match value {
                    Value::Numeric(n) => Some(n),
                    _ => None,
                },
                Decimal128Array::from,
            );
            Arc::new(numbers.with_precision_and_scale(8, 2).unwrap())
        }
        (Kind::Time, _) => {
            let times = collect(
                values,
                |value| match value {
                    Value::Time(at) => Some((START_S + at) * 1_000_000),
                    _ => None,
                },
                TimestampMicrosecondArray::from,
            );
            debug_assert_eq!(*arrow::array::Array::data_type(&times), DataType::Timestamp(TimeUnit::Microsecond, None));
            Arc::new(times)
        }
        (Kind::Moment, _) => {
            let times = collect(
                values,
                |value| match value {
                    Value::Moment(at) => Some((START_S + at) * 1_000_000),
                    _ => None,
                },
                TimestampMicrosecondArray::from,
            );
            Arc::new(times.with_timezone("+00:00"))
        }
        (Kind::Date, _) => Arc::new(collect(
            values,
            |value| match value {
                Value::Date(days) => Some((START_S / 86_400 + days) as i32),
                _ => None,
            },
            Date32Array::from,
        )),
        (Kind::Interval, _) => Arc::new(collect(
            values,
            |value| match value {
                Value::Interval(s) => Some(IntervalMonthDayNano::new(0, 0, s * 1_000_000_000)),
                _ => None,
            },
            IntervalMonthDayNanoArray::from,
        )),
        (Kind::List, _) => {
            let lists = values.iter().map(|value| match value {
                Value::List(numbers) => Some(numbers.iter().map(|number| Some(*number)).collect::<Vec<_>>()),
                _ => None,
            });
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))
        }
        (Kind::Bool, _) => Arc::new(collect(
            values,
            |value| match value {
                Value::Bool(ok) => Some(ok),
                _ => None,
            },
            BooleanArray::from,
        )),
    }
}

fn collect<T, A>(values: &[Value], get: impl Fn(Value) -> Option<T>, array: impl Fn(Vec<Option<T>>) -> A) -> A {
    array(values.iter().map(|value| get(*value)).collect())
}

/// Whether DataFusion can be asked: it knows the functions and means by them what PostgreSQL does, and shows the result's values alike.
pub fn can_be_asked(sql: &str, columns: &[Column]) -> bool {
    let shown_alike = |column: &Column| !matches!(column.kind, Kind::List | Kind::Interval | Kind::Json);
    columns.iter().all(shown_alike) && !OTHERWISE.iter().any(|text| sql.contains(text))
}

/// What DataFusion hasn't, or has in its own way.
const OTHERWISE: [&str; 42] = [
    "JSONB",
    "jsonb",
    "->",
    " ? ",
    "@>",
    "ANY (",
    "SIMILAR TO",
    "cardinality(",
    "array_to_string(",
    "array_remove(",
    "[1:2]",
    ")[1]",
    "to_char(",
    "split_part(",
    "regexp_replace(",
    "corr(",
    "covar_",
    "regr_",
    "EXCLUDE",
    // A difference of times is no interval.
    "extract(epoch",
    "sum(INTERVAL",
    "WITH ORDINALITY",
    " < (2, 'x'))",
    "AT TIME ZONE",
    "#>",
    " ?| ",
    " && ",
    " < CAST(ARRAY",
    "<> ALL (",
    ") IN ((",
    "SYMMETRIC",
    "array_length(",
    "array_position(",
    "array_prepend(",
    "array_cat(",
    "format(",
    "overlay(",
    "initcap(",
    "INTERVAL '0 days",
    // A difference of dates is no number.
    "(0 + (",
    "avg(0 + ",
    "(2) WITHIN GROUP",
];

/// A query's result.
pub async fn collected(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>, DataFusionError> {
    let frame = context.sql(sql).await?;
    let fields: Vec<_> =
        frame.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut batches = vec![RecordBatch::new_empty(schema.clone())];
    for batch in frame.collect().await? {
        batches.push(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?);
    }
    Ok(batches)
}

/// A query's rows as text; NULL reads `NULL`.
pub async fn answer(context: &SessionContext, sql: &str) -> Result<Vec<Vec<String>>, DataFusionError> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in context.sql(sql).await?.collect().await? {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()));
    }
    Ok(rows)
}
