//! A cast between its being read and its being typed: a function, so that DataFusion's planner tells `x::text` from `x`.
//!
//! DataFusion names an expression without its casts, and an aggregate's or a projection's expressions by these names: `GROUP BY x::text, x` and
//! `sum(x), sum(x::float8)` would have two of one name. The second argument is a NULL of the type that is meant. [`super::typing`] puts the cast
//! in the place of the call and keeps its name.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::SqlType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::expr::{ScalarFunction, TryCast};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sql::ast;

/// What the function is called in the syntax tree; no name that SQL can write without quotes.
pub(crate) const NAME: &str = "::";

/// The call that stands for a cast.
pub(crate) fn call(value: ast::Expr, data_type: ast::DataType) -> ast::Expr {
    let target = ast::Expr::Cast {
        // A cast that typing leaves as it is.
        kind: ast::CastKind::TryCast,
        expr: Box::new(ast::Expr::value(ast::Value::Null)),
        data_type,
        array: false,
        format: None,
    };
    let mut call = super::rewrite::call(NAME, vec![value, target]);
    if let ast::Expr::Function(function) = &mut call {
        function.name = ast::ObjectName::from(vec![ast::Ident::with_quote('"', NAME)]);
    }
    call
}

/// The cast that a call in the syntax tree stands for: of what, to what.
pub(crate) fn written(expr: &ast::Expr) -> Option<(&ast::Expr, &ast::DataType)> {
    let ast::Expr::Function(function) = expr else { return None };
    match (is_cast(function), &function.args) {
        (true, ast::FunctionArguments::List(list)) => match list.args.as_slice() {
            [value, ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Cast { data_type, .. }))] => {
                match value {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(value)) => Some((value, data_type)),
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    }
}

/// The value of a cast that a call stands for, to be changed.
pub(crate) fn written_value(expr: &mut ast::Expr) -> Option<&mut ast::Expr> {
    let ast::Expr::Function(function) = expr else { return None };
    match (is_cast(function), &mut function.args) {
        (true, ast::FunctionArguments::List(list)) => match list.args.first_mut() {
            Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(value))) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

fn is_cast(function: &ast::Function) -> bool {
    matches!(function.name.0.as_slice(), [part] if part.as_ident().is_some_and(|ident| ident.value == NAME))
}

/// The cast that a planned call stands for: of what, and to a field of which type.
pub(crate) fn parts(function: &ScalarFunction) -> Option<(&Expr, &FieldRef)> {
    function.func.inner().downcast_ref::<WrittenCast>()?;
    match function.args.as_slice() {
        [value, Expr::TryCast(TryCast { field, .. })] => Some((value, field)),
        _ => None,
    }
}

/// The function, to be found by the name that [`call`] gives it.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(WrittenCast { signature: Signature::any(2, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WrittenCast {
    signature: Signature,
}

impl ScalarUDFImpl for WrittenCast {
    fn name(&self) -> &str {
        NAME
    }

    /// `x::integer`.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [value, Expr::TryCast(TryCast { field, .. })] => {
                let sql_type = SqlType::of_field(field);
                let name = sql_type.map_or_else(|| field.data_type().to_string(), |sql_type| sql_type.to_string());
                Ok(format!("{}::{name}", value.schema_name()))
            }
            _ => internal_err!("a cast has a value and a type"),
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        self.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("a cast says what it returns with a field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [value, target] = args.arg_fields else { return internal_err!("a cast has a value and a type") };
        let field = Field::new(NAME, target.data_type().clone(), value.is_nullable());
        Ok(field.with_metadata(target.metadata().clone()).into())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a cast was not planned")
    }
}
