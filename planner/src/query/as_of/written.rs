//! How the two kinds of joins are written, as DataFusion's planner understands them: an ordinary join, whose condition is marked.
//!
//! The parser leaves `a ASOF JOIN b ON …` as a join that is GLOBAL, `a ASOF JOIN b MATCH_CONDITION (…) ON …` as what it is, and
//! `t FOR SYSTEM_TIME AS OF x` as a call of `t` with `!! x`. [`normalize`] makes an `AsOf` of all of them, which USING is rewritten under, and
//! [`mark`] the marked join.

use sql::Span;
use sql::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator, Select,
    Spanned, TableFactor, TableFunctionArgs, TableWithJoins, UnaryOperator, Value,
};

use super::Meeting;
use crate::query::provider::{self, Relation};
use crate::query::rewrite::call;
use crate::{Error, PlanContext, Result};

/// Gives all such joins of a SELECT one form.
pub(in crate::query) fn normalize(select: &mut Select, context: &PlanContext<'_>) -> Result<()> {
    select.from.iter_mut().try_for_each(|table| normalize_chain(table, context))
}

fn normalize_chain(table: &mut TableWithJoins, context: &PlanContext<'_>) -> Result<()> {
    normalize_factor(&mut table.relation, context)?;
    if version(&mut table.relation).is_some() {
        return Err(Error::unsupported("FOR SYSTEM_TIME AS OF of a relation that is not joined")
            .with_detail("Only the current version of a relation can be read by itself.")
            .with_hint("Put it to the right of a join: a JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON a.k = t.k.")
            .at(Span::of_parser(table.relation.span())));
    }
    for join in &mut table.joins {
        normalize_factor(&mut join.relation, context)?;
        let span = Span::of_parser(join.relation.span());
        let found = match version(&mut join.relation) {
            Some(time) if is_proctime(&time) => Some((Meeting::Now, None)),
            Some(time) => Some((Meeting::Nearest, Some(not_before(time, &join.relation, context)?))),
            None if std::mem::take(&mut join.global) => Some((Meeting::Nearest, None)),
            None => None,
        };
        if let Some((meeting, condition)) = found {
            let (outer, constraint) = sides(&mut join.join_operator, meeting, span)?;
            let match_condition = marked(meeting, outer, condition);
            join.join_operator = JoinOperator::AsOf { match_condition, constraint };
        } else if let JoinOperator::AsOf { match_condition, .. } = &mut join.join_operator
            && parts(match_condition).is_none()
        {
            // Where the condition stands apart, rows that meet nothing come too.
            let condition = std::mem::replace(match_condition, Expr::value(Value::Null));
            *match_condition = marked(Meeting::Nearest, true, Some(condition));
        }
    }
    Ok(())
}

fn normalize_factor(factor: &mut TableFactor, context: &PlanContext<'_>) -> Result<()> {
    match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => normalize_chain(table_with_joins, context),
        _ => Ok(()),
    }
}

/// Takes off what the version of a relation is the one of.
fn version(factor: &mut TableFactor) -> Option<Expr> {
    let TableFactor::Table { args, .. } = factor else { return None };
    let Some(TableFunctionArgs { args: list, .. }) = args else { return None };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::UnaryOp { op: UnaryOperator::PGPrefixFactorial, expr }))] =
        list.as_slice()
    else {
        return None;
    };
    let time = (**expr).clone();
    *args = None;
    Some(time)
}

fn is_proctime(time: &Expr) -> bool {
    let Expr::Function(function) = time else { return false };
    function.name.to_string().eq_ignore_ascii_case("proctime")
        && matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty())
}

/// `time >= t.version`, by the column that says from when a version of `t` holds.
fn not_before(time: Expr, factor: &TableFactor, context: &PlanContext<'_>) -> Result<Expr> {
    let TableFactor::Table { name, alias, .. } = factor else {
        return Err(Error::internal("only relations have versions"));
    };
    let span = Span::of_parser(name.span());
    let unversioned = |detail: String| {
        let error = Error::unsupported(format!("FOR SYSTEM_TIME AS OF a time of \"{name}\", which keeps no versions"));
        error
            .with_detail(detail)
            .with_hint(
                "Versions are kept by a source or view with a WATERMARK, or by a table whose primary key has a timestamp or date beside the columns \
                 that are joined. With any other column use ASOF JOIN … ON … AND a.ts >= t.valid_from; for the current version use FOR \
                 SYSTEM_TIME AS OF PROCTIME().",
            )
            .at(span)
    };
    let object = match provider::resolve_name(context, name)? {
        Relation::Object(object) => object,
        Relation::System(..) => return Err(unversioned("It is a system relation.".to_owned())),
    };
    let columns = version_columns(&object);
    let [column] = columns.as_slice() else {
        let detail = match columns.len() {
            0 => "No column says from when a row holds.".to_owned(),
            _ => format!("Several columns may say from when a row holds: {}.", columns.join(", ")),
        };
        return Err(unversioned(detail));
    };
    let table = match alias {
        Some(alias) => Some(alias.name.clone()),
        None => name.0.last().and_then(|part| part.as_ident()).cloned(),
    };
    let table = table.ok_or_else(|| Error::internal("a relation has a name"))?;
    let version = Expr::CompoundIdentifier(vec![table, Ident::with_quote('"', column)]);
    Ok(binary(time, BinaryOperator::GtEq, version))
}

/// The columns that may say from when a row of a relation holds.
fn version_columns(object: &catalog::Object) -> Vec<String> {
    use catalog::{ObjectKind, SqlType, TimeKind};
    let named = |index: usize| object.columns.get(index).map(|column| column.name.clone());
    match &object.kind {
        ObjectKind::Source(source) => source.watermark.iter().filter_map(|mark| named(mark.column)).collect(),
        ObjectKind::MaterializedView(view) => {
            let events = view.times.iter().filter(|(_, bound)| bound.kind == TimeKind::Event);
            events.filter_map(|(index, _)| named(*index)).collect()
        }
        ObjectKind::Table(table) => {
            let is_time = |index: &&usize| {
                let column = object.columns.get(**index);
                column.is_some_and(|column| {
                    matches!(column.sql_type, SqlType::Timestamp | SqlType::Timestamptz | SqlType::Date)
                })
            };
            table.primary_key.iter().filter(is_time).filter_map(|index| named(*index)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether left rows that meet nothing come, and the join's own condition.
fn sides(operator: &mut JoinOperator, meeting: Meeting, span: Option<Span>) -> Result<(bool, JoinConstraint)> {
    let written = match meeting {
        Meeting::Nearest => "ASOF",
        Meeting::Now => "FOR SYSTEM_TIME AS OF",
    };
    let (outer, constraint) = match operator {
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (false, constraint),
        JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (true, constraint),
        _ => {
            let error = Error::unsupported(format!("{written} in a join that is not INNER or LEFT"));
            return Err(error
                .with_hint("Each left row meets a row of the right side: write JOIN or LEFT JOIN.")
                .at(span));
        }
    };
    Ok((outer, std::mem::replace(constraint, JoinConstraint::None)))
}

/// Makes marked joins of those that [`normalize`] has found.
pub(in crate::query) fn mark(select: &mut Select) -> Result<()> {
    select.from.iter_mut().try_for_each(mark_chain)
}

fn mark_chain(table: &mut TableWithJoins) -> Result<()> {
    mark_factor(&mut table.relation)?;
    for join in &mut table.joins {
        mark_factor(&mut join.relation)?;
        let span = Span::of_parser(join.relation.span());
        let JoinOperator::AsOf { match_condition, constraint } = &mut join.join_operator else { continue };
        let (meeting, outer, condition) =
            parts(match_condition).ok_or_else(|| Error::internal("an ASOF join was not normalized"))?;
        let equalities = match std::mem::replace(constraint, JoinConstraint::None) {
            JoinConstraint::On(condition) => Some(condition),
            JoinConstraint::None => None,
            JoinConstraint::Using(_) | JoinConstraint::Natural => {
                return Err(Error::internal("a join with USING was not given its condition").at(span));
            }
        };
        let whole = [equalities, condition].into_iter().flatten();
        let whole = whole.reduce(|left, right| {
            binary(Expr::Nested(Box::new(left)), BinaryOperator::And, Expr::Nested(Box::new(right)))
        });
        let whole = whole.unwrap_or_else(|| Expr::value(Value::Boolean(true)));
        let mut marked = call(meeting.mark(), vec![whole]);
        if let Expr::Function(function) = &mut marked {
            function.name = sql::ast::ObjectName::from(vec![Ident::with_quote('"', meeting.mark())]);
        }
        let constraint = JoinConstraint::On(marked);
        join.join_operator = if outer { JoinOperator::Left(constraint) } else { JoinOperator::Inner(constraint) };
    }
    Ok(())
}

fn mark_factor(factor: &mut TableFactor) -> Result<()> {
    match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => mark_chain(table_with_joins),
        _ => Ok(()),
    }
}

/// A match condition that says what sort of join it is: `mark(outer, condition)`, a call of what no text can call.
fn marked(meeting: Meeting, outer: bool, condition: Option<Expr>) -> Expr {
    let mut arguments = vec![Expr::value(Value::Boolean(outer))];
    arguments.extend(condition);
    call(meeting.mark(), arguments)
}

fn parts(condition: &Expr) -> Option<(Meeting, bool, Option<Expr>)> {
    let Expr::Function(function) = condition else { return None };
    let name = function.name.to_string();
    let meeting = [Meeting::Nearest, Meeting::Now].into_iter().find(|meeting| meeting.mark() == name)?;
    let FunctionArguments::List(list) = &function.args else { return None };
    let mut arguments = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    let outer = matches!(arguments.next()?, Expr::Value(value) if value.value == Value::Boolean(true));
    Some((meeting, outer, arguments.next()))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// Whether a join by the nearest time doesn't say by which time: it is the last column of its USING.
pub(in crate::query) fn lacks_order(match_condition: &Expr) -> bool {
    matches!(parts(match_condition), Some((Meeting::Nearest, _, None)))
}

/// Says by which time.
pub(in crate::query) fn set_order(match_condition: &mut Expr, order: Expr) {
    if let Some((meeting, outer, _)) = parts(match_condition) {
        *match_condition = marked(meeting, outer, Some(order));
    }
}

/// Whether a function of the syntax tree is one of the marks.
pub(in crate::query) fn is_mark(name: &str) -> bool {
    [Meeting::Nearest, Meeting::Now].iter().any(|meeting| meeting.mark() == name)
}
