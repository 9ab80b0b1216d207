//! Aggregates: what brings their results to PostgreSQL's types.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Cast};
use datafusion::logical_expr::{AggregateUDF, Expr, ExprSchemable};

use crate::Error;
use crate::functions::{OwnFunctions, undefined};
use crate::query::operator::{Class, class_of, is_unknown};

/// Precision and scale to which an average's argument is brought: DataFusion's average adds four digits, which makes PostgreSQL's 16.
const AVG_ARGUMENT: DataType = DataType::Decimal128(38, 12);

/// Precision and scale to which the sum of a bigint is brought.
const SUM_BIGINT_ARGUMENT: DataType = DataType::Decimal128(38, 0);

/// sum(bigint) and avg of integers and numerics are numeric in PostgreSQL.
pub(super) fn argument_types(func: &AggregateUDF, args: &mut [Expr], schema: &DFSchema) -> Result<()> {
    let [arg] = args else {
        return match func.name() {
            "string_agg" if class_of(&args[0].get_type(schema)?) == Class::Bytes && !is_unknown(&args[0]) => {
                Err(Error::unsupported("string_agg of bytea").into())
            }
            "count" if args.len() > 1 => {
                let fields = args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect::<Result<Vec<_>>>()?;
                undefined("count", &fields)
            }
            _ => Ok(()),
        };
    };
    let data_type = arg.get_type(schema)?;
    let target = match func.name() {
        "sum" if matches!(data_type, DataType::Int64 | DataType::UInt64) => SUM_BIGINT_ARGUMENT,
        "avg" if data_type.is_integer() => AVG_ARGUMENT,
        "avg" if matches!(data_type, DataType::Decimal128(_, scale) if scale < 12) => AVG_ARGUMENT,
        _ => return Ok(()),
    };
    *arg = Expr::Cast(Cast::new(Box::new(std::mem::take(arg)), target));
    Ok(())
}

/// `max` and `min` of intervals are the first by length: DataFusion's compare their parts.
pub(super) fn interval_extreme(
    func: &Arc<AggregateUDF>,
    params: &AggregateFunctionParams,
    schema: &DFSchema,
    own: &OwnFunctions,
) -> Result<Option<Expr>> {
    let [value] = params.args.as_slice() else { return Ok(None) };
    if !matches!(func.name(), "max" | "min") || class_of(&value.get_type(schema)?) != Class::Interval {
        return Ok(None);
    }
    let length = own.call("interval_length", vec![value.clone()])?;
    let present = value.clone().is_not_null();
    let filter = match &params.filter {
        Some(filter) => present.and((**filter).clone()),
        None => present,
    };
    let params = AggregateFunctionParams {
        filter: Some(Box::new(filter)),
        order_by: vec![length.sort(func.name() == "min", false)],
        distinct: false,
        ..params.clone()
    };
    let func = first_value_udaf();
    Ok(Some(Expr::AggregateFunction(AggregateFunction { func, params })))
}
