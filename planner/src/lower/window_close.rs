//! `EMIT ON WINDOW CLOSE`.

use datafusion::logical_expr::LogicalPlan;

use super::expression::positional;
use super::lowered::Lowered;
use super::map::{positional_all, project, restrict};
use super::{Lowering, shared};
use crate::incremental::{Node, WindowClose};
use crate::{Error, Result};

impl Lowering<'_> {
    /// The plan's rows, each held back until its window is over: at the root, or below the projections there that drop the
    /// window's columns.
    pub(super) fn closed(&mut self, plan: &LogicalPlan) -> Result<Lowered> {
        let lowered = self.node(plan)?;
        if let Some((end, bound, offset_us)) = lowered.window_column() {
            let watermark_of = bound.sources.clone();
            let node = WindowClose { input: lowered.node.clone(), end, offset_us, watermark_of };
            return Ok(Lowered { node: shared(Node::WindowClose(node)), ..lowered });
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let expressions = positional_all(&projection.expr, projection.input.schema())?;
                project(self.closed(&projection.input)?, expressions)
            }
            LogicalPlan::Filter(filter) => {
                let predicate = positional(&filter.predicate, filter.input.schema())?;
                restrict(self.closed(&filter.input)?, predicate)
            }
            LogicalPlan::SubqueryAlias(alias) => self.closed(&alias.input),
            LogicalPlan::Sort(sort) => self.closed(&sort.input),
            _ => Err(Error::unsupported("EMIT ON WINDOW CLOSE without a window that a watermark closes").with_hint(
                "Group by window_start or window_end of TUMBLE or HOP over a source that has a watermark on that time column.",
            )),
        }
    }
}
