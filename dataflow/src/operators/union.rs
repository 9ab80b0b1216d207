//! `UNION ALL`.
//!
//! - Rule: `Δout = Δin₁ + Δin₂ + …`.
//! - State: none.
//! - A retraction is a row like any other.

use arrow::datatypes::SchemaRef;
use delta::Delta;
use planner::incremental::Union as Node;

use crate::Result;
use crate::expression::{nullable, with_schema};
use crate::operator::{Operator, StepContext, StepOutput};

/// See [the module](self).
#[derive(Debug)]
pub struct Union {
    schema: SchemaRef,
}

impl Union {
    /// The operator of a node.
    pub fn new(node: &Node) -> Self {
        Self { schema: nullable(&node.schema) }
    }
}

impl Operator for Union {
    fn step(&mut self, _context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let deltas = inputs.iter().flatten().map(|delta| with_schema(delta, &self.schema));
        Ok(StepOutput { deltas: deltas.collect::<Result<_>>()?, ..StepOutput::default() })
    }
}
