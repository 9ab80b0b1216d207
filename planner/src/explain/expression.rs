//! An expression as SQL that a person reads: PostgreSQL's types, columns as they are called.

use arrow::datatypes::IntervalMonthDayNano;
use catalog::SqlType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{AggregateFunction, Cast};
use datafusion::scalar::ScalarValue;
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::Dialect;

use super::duration;

/// The expression in SQL. What DataFusion's unparser has no words for, or Arrow's, is put in its place as the name of a column.
pub(crate) fn sql(expression: &Expr) -> String {
    let worded = expression.clone().transform_up(|expression| {
        Ok(match &expression {
            Expr::Literal(value, _) => match literal(value) {
                Some(text) => Transformed::yes(verbatim(text)),
                None => Transformed::no(expression),
            },
            Expr::Cast(Cast { expr, field }) => {
                let sql_type = SqlType::of_field(field)
                    .map_or_else(|| field.data_type().to_string(), |sql_type| sql_type.to_string());
                let inner = unparsed(expr);
                // What is called by what computes it is more than a word.
                let is_word = match &**expr {
                    Expr::Column(column) => !column.name.contains(' '),
                    Expr::Literal(..) | Expr::ScalarFunction(_) | Expr::AggregateFunction(_) | Expr::Placeholder(_) => {
                        true
                    }
                    _ => false,
                };
                let text = if is_word { inner } else { format!("({inner})") };
                Transformed::yes(verbatim(format!("{text}::{sql_type}")))
            }
            Expr::AggregateFunction(call) if counts_rows(call) => Transformed::yes(verbatim("count(*)".to_owned())),
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column.clone())),
            // What an aggregate's result is called is a text of DataFusion's.
            Expr::Column(column) if column.name.contains('(') => {
                Transformed::yes(verbatim(super::sql_words(&column.name).replace("count(1)", "count(*)")))
            }
            Expr::ScalarFunction(call) => match crate::query::arithmetic::as_operator(call) {
                Some(operator) => Transformed::yes(operator),
                None => Transformed::no(expression),
            },
            Expr::ScalarSubquery(_) => Transformed::yes(verbatim("(subquery)".to_owned())),
            Expr::Exists(exists) => {
                Transformed::yes(verbatim(format!("{}EXISTS (subquery)", if exists.negated { "NOT " } else { "" })))
            }
            Expr::InSubquery(inside) => {
                let not = if inside.negated { "NOT " } else { "" };
                Transformed::yes(verbatim(format!("{} {not}IN (subquery)", unparsed(&inside.expr))))
            }
            _ => Transformed::no(expression),
        })
    });
    match worded {
        Ok(worded) => unparsed(&worded.data),
        Err(_) => unparsed(expression),
    }
}

/// `count(*)`, which DataFusion plans as a count of ones.
fn counts_rows(call: &AggregateFunction) -> bool {
    let params = &call.params;
    let plain = !params.distinct && params.filter.is_none() && params.order_by.is_empty();
    plain
        && call.func.name() == "count"
        && matches!(params.args.as_slice(), [Expr::Literal(value, _)] if !value.is_null())
}

fn unparsed(expression: &Expr) -> String {
    let unparser = Unparser::new(&PlainNames).with_pretty(true);
    match unparser.expr_to_sql(expression) {
        Ok(sql) => sql.to_string(),
        Err(_) => super::sql_words(&expression.human_display().to_string()),
    }
}

fn verbatim(text: String) -> Expr {
    Expr::Column(Column::new_unqualified(text))
}

/// A literal that the unparser has other words for than PostgreSQL.
fn literal(value: &ScalarValue) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match value {
        ScalarValue::IntervalMonthDayNano(Some(value)) => Some(interval(value)),
        ScalarValue::Utf8(_) | ScalarValue::Utf8View(_) | ScalarValue::LargeUtf8(_) | ScalarValue::Boolean(_) => None,
        value if value.data_type().is_numeric() => None,
        value => {
            let array = value.to_array().ok()?;
            let text = crate::functions::texts(&array).ok()?;
            let sql_type = SqlType::of_data_type(&value.data_type())?;
            Some(format!("'{}'::{sql_type}", text.value(0).replace('\'', "''")))
        }
    }
}

/// An interval as PostgreSQL reads it.
fn interval(value: &IntervalMonthDayNano) -> String {
    let parts = [
        (value.months != 0).then(|| format!("{} months", value.months)),
        (value.days != 0).then(|| format!("{} days", value.days)),
        (value.nanoseconds != 0).then(|| duration(value.nanoseconds / 1000)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!("INTERVAL '{}'", if parts.is_empty() { "0".to_owned() } else { parts.join(" ") })
}

/// SQL in which names stand as they are: what a column is called may be the expression that computes it.
struct PlainNames;

impl Dialect for PlainNames {
    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        None
    }
}
