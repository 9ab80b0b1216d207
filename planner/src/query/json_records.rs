//! `json_to_record`, `json_to_recordset` and their `jsonb` names in FROM: members of objects as columns of the types that the alias gives.

use sql::Span;
use sql::ast::{
    BinaryOperator, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    SelectItem, SetExpr, TableAlias, TableFactor, Value,
};

use super::rewrite::call;
use super::set_returning::{select_all, table_alias};
use crate::error::ErrorKind;
use crate::{Error, Result};

/// What the objects are called inside.
const ROWS: &str = "json rows";
const OBJECT: &str = "object";

/// Whether a function is one of these.
pub(super) fn is_one(name: &str) -> bool {
    matches!(name, "json_to_record" | "jsonb_to_record" | "json_to_recordset" | "jsonb_to_recordset")
}

/// A subquery in the place of the call.
pub(super) fn relation(
    name: &str,
    args: &[FunctionArg],
    alias: Option<TableAlias>,
    span: Option<Span>,
) -> Result<TableFactor> {
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(json))] = args else {
        let message = format!("function {name} takes one argument");
        return Err(Error::new(ErrorKind::UndefinedFunction, message).at(span));
    };
    let Some(alias) = alias.filter(|alias| !alias.columns.is_empty()) else {
        let message = "a column definition list is required for functions returning \"record\"";
        return Err(Error::new(ErrorKind::Syntax, message).at(span));
    };
    let object = || Expr::CompoundIdentifier(vec![Ident::with_quote('"', ROWS), Ident::with_quote('"', OBJECT)]);
    let mut projection = Vec::with_capacity(alias.columns.len());
    for column in &alias.columns {
        let Some(data_type) = &column.data_type else {
            let message = "a column definition list is required for functions returning \"record\"";
            return Err(Error::new(ErrorKind::Syntax, message).at(span));
        };
        if matches!(data_type, DataType::Array(_)) {
            let what = format!("the type {data_type} of a column of {name}");
            return Err(Error::unsupported(what).with_hint("Read it as jsonb.").at(span));
        }
        let is_json = matches!(data_type, DataType::JSON | DataType::JSONB);
        let member = Expr::BinaryOp {
            left: Box::new(object()),
            op: if is_json { BinaryOperator::Arrow } else { BinaryOperator::LongArrow },
            right: Box::new(Expr::value(Value::SingleQuotedString(super::name::folded(&column.name)))),
        };
        let value = Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(Expr::Nested(Box::new(member))),
            data_type: data_type.clone(),
            array: false,
            format: None,
        };
        projection.push(SelectItem::ExprWithAlias { expr: value, alias: column.name.clone() });
    }
    let jsonb = name.starts_with("jsonb");
    let typed = match json {
        Expr::Value(_) => super::rewrite::cast(json.clone(), if jsonb { "jsonb" } else { "json" }),
        other => other.clone(),
    };
    let mut subquery = select_all()?;
    if let SetExpr::Select(select) = &mut *subquery.body {
        select.projection = projection;
        // One object is the only element of an array.
        let elements = match name.ends_with("recordset") {
            true => typed,
            false => call(if jsonb { "jsonb_build_array" } else { "json_build_array" }, vec![typed]),
        };
        let function = call(if jsonb { "jsonb_array_elements" } else { "json_array_elements" }, vec![elements]);
        let Expr::Function(function) = function else { return Err(Error::internal("a call is a function")) };
        let FunctionArguments::List(list) = function.args else { return Err(Error::internal("a call has arguments")) };
        let mut rows = table_alias(ROWS.to_owned());
        rows.columns = vec![sql::ast::TableAliasColumnDef { name: Ident::with_quote('"', OBJECT), data_type: None }];
        select.from[0].relation = TableFactor::Function {
            lateral: false,
            name: ObjectName::from(vec![Ident::new(if jsonb {
                "jsonb_array_elements"
            } else {
                "json_array_elements"
            })]),
            args: list.args,
            with_ordinality: false,
            alias: Some(rows),
        };
    }
    let lateral = !matches!(json, Expr::Value(_));
    let alias = Some(TableAlias { columns: Vec::new(), ..alias });
    Ok(TableFactor::Derived { lateral, subquery, alias, sample: None })
}
