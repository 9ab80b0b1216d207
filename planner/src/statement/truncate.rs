//! TRUNCATE.

use sql::statement::Truncate;

use super::plan::Plan;
use super::table::writable;
use crate::{PlanContext, Result};

pub(super) fn plan(truncate: &Truncate, context: &PlanContext<'_>) -> Result<Plan> {
    let tables = truncate.names.iter().map(|name| Ok(writable(name, context)?.object.id)).collect::<Result<_>>()?;
    Ok(Plan::Truncate { tables })
}
