//! Statements about the session: settings, transactions, prepared statements, cursors.

use std::collections::BTreeMap;

use datafusion::common::DFSchema;
use sql::statement::{Modes, Transaction};
use sql::{Span, StatementKind};

use super::plan::{Discard, Plan, SetPlan, TransactionModes, TransactionPlan};
use super::table;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::{collect_parameters, sql_type};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(kind: &StatementKind, context: &PlanContext<'_>) -> Result<Plan> {
    Ok(match kind {
        StatementKind::Set(set) => {
            Plan::Set(SetPlan { name: set.name.clone(), value: set.value.clone(), local: set.local })
        }
        StatementKind::Reset(name) if name == "all" => Plan::ResetAll,
        StatementKind::Reset(name) => Plan::Reset { name: name.clone() },
        StatementKind::Transaction(control) => transaction(control)?,
        StatementKind::Prepare(prepare) => {
            let types = prepare.types.iter().map(|data_type| {
                let unknown = matches!(data_type, sql::ast::DataType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("unknown"));
                if unknown { Ok(None) } else { sql_type(data_type).map(Some) }
            });
            Plan::Prepare {
                name: folded(&prepare.name),
                parameter_types: types.collect::<Result<_>>()?,
                statement: Box::new(prepare.statement.clone()),
            }
        }
        StatementKind::Execute(execute) => {
            let arguments = execute.arguments.iter().map(|argument| constant(argument, context));
            Plan::Execute { name: folded(&execute.name), arguments: arguments.collect::<Result<_>>()? }
        }
        StatementKind::Deallocate(name) => Plan::Deallocate { name: name.as_ref().map(folded) },
        StatementKind::Discard(what) => Plan::Discard(match what.as_str() {
            "ALL" => Discard::All,
            "PLANS" => Discard::Plans,
            "SEQUENCES" => Discard::Sequences,
            _ => Discard::Temp,
        }),
        StatementKind::Declare(declare) => {
            let plan = super::plan(&declare.statement, context)?;
            Plan::DeclareCursor { name: folded(&declare.name), hold: declare.hold, plan: Box::new(plan) }
        }
        StatementKind::Fetch(fetch) => {
            Plan::Fetch { name: folded(&fetch.name), count: fetch.count, move_only: fetch.move_only }
        }
        StatementKind::Close(close) => Plan::CloseCursor { name: close.0.as_ref().map(folded) },
        other => return Err(Error::internal(format!("{other} is no statement about the session"))),
    })
}

/// An argument of EXECUTE.
fn constant(expr: &sql::ast::Expr, context: &PlanContext<'_>) -> Result<datafusion::logical_expr::Expr> {
    use sql::ast::Spanned;
    let span = Span::of_parser(expr.span());
    let schema = DFSchema::empty();
    let bound = table::bind(expr, &schema, context).map_err(|error| error.at(span))?;
    let mut parameters = BTreeMap::new();
    collect_parameters(&bound, &mut parameters)?;
    if !parameters.is_empty() {
        return Err(Error::new(ErrorKind::UndefinedParameter, "there is no parameter $1").at(span));
    }
    let mut coerced = table::coerce(vec![bound], schema.into(), context)?;
    coerced.pop().ok_or_else(|| Error::internal("one expression gives one"))
}

fn modes(modes: &Modes) -> TransactionModes {
    TransactionModes { read_only: modes.read_only, isolation: modes.isolation.clone() }
}

fn transaction(control: &Transaction) -> Result<Plan> {
    Ok(match control {
        Transaction::Begin { modes: given, .. } => {
            let tag = control.tag();
            Plan::Transaction(TransactionPlan::Begin { modes: modes(given), tag })
        }
        Transaction::Commit { chain } => Plan::Transaction(TransactionPlan::Commit { chain: *chain }),
        Transaction::Rollback { chain } => Plan::Transaction(TransactionPlan::Rollback { chain: *chain }),
        Transaction::Savepoint(name) => Plan::Transaction(TransactionPlan::Savepoint(folded(name))),
        Transaction::Release(name) => Plan::Transaction(TransactionPlan::Release(folded(name))),
        Transaction::RollbackTo(name) => Plan::Transaction(TransactionPlan::RollbackTo(folded(name))),
        Transaction::SetModes(given) => Plan::Transaction(TransactionPlan::SetModes(modes(given))),
        Transaction::SetDefaults(given) => {
            let set = |name: &str, value: &str| {
                Plan::Set(SetPlan { name: name.to_owned(), value: Some(value.to_owned()), local: false })
            };
            match (given.read_only, &given.isolation) {
                (Some(read_only), None) => set("default_transaction_read_only", if read_only { "on" } else { "off" }),
                (None, Some(isolation)) => set("default_transaction_isolation", isolation),
                (None, None) => Plan::Nothing { tag: "SET", notice: None },
                (Some(_), Some(_)) => {
                    return Err(Error::unsupported("several modes in one SET SESSION CHARACTERISTICS"));
                }
            }
        }
    })
}
