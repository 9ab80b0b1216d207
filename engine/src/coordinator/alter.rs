//! Changes of objects that exist: everything that a statement changes appears in one epoch.

use planner::statement::plan::AlterPlan;

use super::Coordinator;
use super::ddl::catalog_error;
use crate::command::DdlDone;
use crate::{Result, recovery};

impl Coordinator {
    /// Gives objects other definitions.
    pub(super) fn alter(&mut self, alter: AlterPlan) -> Result<DdlDone> {
        let next = self.catalog.alter(alter.objects.clone()).map_err(catalog_error)?;
        for object in &alter.objects {
            recovery::put_object(object, &mut self.pending.changes)?;
            if let Some(input) = self.inputs.get_mut(&object.id) {
                input.name = object.name.to_string();
            }
        }
        self.set_catalog(next)?;
        Ok(DdlDone { notices: alter.notices })
    }
}
