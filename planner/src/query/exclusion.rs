//! `EXCLUDE` in a window's frame. It is parsed as a mark among what the window is partitioned by (`sql/src/exclusion.rs`), goes through DataFusion's
//! planner as a call, and makes of the function one that leaves rows out of its frames.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, ScalarFunction, WindowFunction};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{Expr, ExprSchemable, WindowFunctionDefinition, WindowUDF};
use sql::ast;

use super::rewrite::call;
use crate::Error;
use crate::functions::excluding::{Excluding, Exclusion, Function};

/// The function that the mark is while DataFusion plans.
pub(super) const MARK: &str = "frame exclusion";

/// The call that a mark becomes; `None`: it is none.
pub(super) fn mark(op: &ast::UnaryOperator, operand: &ast::Expr) -> Option<ast::Expr> {
    let (ast::UnaryOperator::PGPrefixFactorial, ast::Expr::Value(value)) = (op, operand) else { return None };
    let ast::Value::SingleQuotedString(text) = &value.value else { return None };
    let what = text.strip_prefix(MARK)?.strip_prefix(' ')?;
    let mut mark = call(MARK, vec![ast::Expr::value(ast::Value::SingleQuotedString(what.to_owned()))]);
    if let ast::Expr::Function(function) = &mut mark {
        function.name = ast::ObjectName::from(vec![ast::Ident::with_quote('"', MARK)]);
    }
    Some(mark)
}

/// A window function without the mark, which leaves out what it says.
pub(super) fn planned(function: WindowFunction, schema: &DFSchema) -> DataFusionResult<WindowFunction> {
    let WindowFunction { fun, mut params } = function;
    let mut exclusion = None;
    params.partition_by.retain(|key| match excluded(key) {
        Some(what) => {
            exclusion = Some(what);
            false
        }
        None => true,
    });
    let Some(exclusion) = exclusion else { return Ok(WindowFunction { fun, params }) };
    let (inner, args) = match &fun {
        WindowFunctionDefinition::AggregateUDF(aggregate) => {
            if params.distinct {
                return Err(Error::unsupported("DISTINCT in a window function").into());
            }
            let fields = fields_of(&params.args, schema)?;
            let coerced = fields_with_udf(&fields, aggregate.as_ref())?;
            let args = std::mem::take(&mut params.args).into_iter().zip(coerced);
            let args = args.map(|(arg, field)| arg.cast_to(field.data_type(), schema));
            (Function::Aggregate(aggregate.clone()), args.collect::<DataFusionResult<Vec<_>>>()?)
        }
        WindowFunctionDefinition::WindowUDF(window) => match window.name() {
            "first_value" => (Function::First, std::mem::take(&mut params.args)),
            "last_value" => (Function::Last, std::mem::take(&mut params.args)),
            "nth_value" => (Function::Nth, std::mem::take(&mut params.args)),
            // The others see no frame.
            _ => return Ok(WindowFunction { fun, params }),
        },
    };
    let excluding = Excluding::new(
        inner,
        exclusion,
        args.len(),
        params.filter.is_some(),
        params.null_treatment.take() == Some(NullTreatment::IgnoreNulls),
    );
    params.args = args;
    params.args.extend(params.filter.take().map(|filter| *filter));
    let fun = WindowFunctionDefinition::WindowUDF(Arc::new(WindowUDF::from(excluding)));
    Ok(WindowFunction { fun, params })
}

fn excluded(key: &Expr) -> Option<Exclusion> {
    let key = key.clone().unalias();
    let Expr::ScalarFunction(ScalarFunction { func, args }) = &key else { return None };
    if func.name() != MARK {
        return None;
    }
    let Some(Expr::Literal(ScalarValue::Utf8(Some(what)) | ScalarValue::Utf8View(Some(what)), _)) = args.first() else {
        return None;
    };
    match what.as_str() {
        "CURRENT ROW" => Some(Exclusion::CurrentRow),
        "GROUP" => Some(Exclusion::Group),
        "TIES" => Some(Exclusion::Ties),
        _ => None,
    }
}

fn fields_of(args: &[Expr], schema: &DFSchema) -> DataFusionResult<Vec<FieldRef>> {
    args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect()
}
