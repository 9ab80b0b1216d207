//! `WITH RECURSIVE`: see docs/decisions/0009-recursion.md.
//!
//! The recursive term becomes a plan of its own in which [`Hole`]s stand for what flows in: hole 0 for the rows of the recursion, the others
//! for whatever doesn't depend on them, which stays outside and is shared with other views.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::ScalarValue;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::logical_expr::{Expr, RecursiveQuery, TableScan};

use super::distinct::distinct;
use super::expression::{column, numbered_schema};
use super::lowered::{ColumnInfo, Lowered};
use super::map::project;
use super::union::cast_to;
use super::{Lowering, shared};
use crate::explain::column_labels;
use crate::incremental::{Effect, Hole, Join, JoinKind, Map, Node, OnError, Outer, Recursive, Union, Unnest, Window};
use crate::{Error, Result};

/// A recursion whose recursive term is being lowered.
pub(super) struct Open {
    name: String,
    rows: Arc<Node>,
}

impl Lowering<'_> {
    pub(super) fn recursive(&mut self, query: &RecursiveQuery) -> Result<Lowered> {
        let base = cast_to(self.node(&query.static_term)?, &query.schema)?;
        let types = query.schema.fields().iter().map(|field| field.data_type());
        let schema = numbered_schema(types.clone());
        let all = !query.is_distinct;

        // Rows of an enclosing recursion are another hole.
        let own = usize::MAX - self.recursions.len();
        self.recursions.push(Open { name: query.name.clone(), rows: hole(own, &base.node) });
        let step = self.node(&query.recursive_term);
        self.recursions.pop();
        let step = cast_to(step?, &query.schema)?;

        let columns = (0..base.columns.len()).map(ColumnInfo::unknown).collect();
        let mut output = Lowered { columns, keys: Vec::new(), node: base.node.clone() };
        if !reads(&step.node, own) {
            // The optimizer has found that it derives nothing.
            let inputs = vec![base.node, step.node];
            output.node = shared(Node::Union(Union { inputs, schema }));
            return if all { Ok(output) } else { distinct(output) };
        }
        if !all {
            output.set_keys(vec![(0..output.columns.len()).collect::<BTreeSet<_>>()]);
        }
        let mut cut = Cut { own, all, outers: Vec::new() };
        let row_by_row = cut.inner(&step.node)?;
        let rounds = row_by_row.is_none();
        let step = match row_by_row {
            Some(step) => step,
            None => {
                cut.outers.clear();
                cut.round(&step.node)?
            }
        };
        let node = Recursive { base: base.node, outers: cut.outers, step, all, rounds, schema };
        output.node = shared(Node::Recursive(node));
        Ok(output)
    }

    /// The rows of the recursion, if they are what is scanned.
    pub(super) fn work_table(&self, scan: &TableScan) -> Result<Option<Lowered>> {
        let source = scan.source.downcast_ref::<DefaultTableSource>();
        let Some(table) = source.and_then(|source| source.table_provider.downcast_ref::<CteWorkTable>()) else {
            return Ok(None);
        };
        let open = self.recursions.iter().rev().find(|open| open.name == table.name());
        let open = open.ok_or_else(|| Error::internal("a recursion's rows are read in its recursive term"))?;
        let width = open.rows.schema().fields().len();
        let columns = (0..width).map(ColumnInfo::unknown).collect();
        let rows = Lowered { columns, keys: Vec::new(), node: open.rows.clone() };
        Ok(Some(match &scan.projection {
            Some(columns) => project(rows, columns.iter().map(|index| column(*index)).collect())?,
            None => rows,
        }))
    }
}

/// A leaf for the rows of a node. Its columns are called as the node's are, for those who read EXPLAIN and errors.
fn hole(index: usize, node: &Node) -> Arc<Node> {
    let fields = node.schema().fields().iter().zip(column_labels(node));
    let fields = fields.map(|(field, label)| Field::new(label, field.data_type().clone(), true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    shared(Node::Hole(Hole { index, schema }))
}

fn reads(node: &Node, own: usize) -> bool {
    match node {
        Node::Hole(hole) => hole.index == own,
        node => node.inputs().into_iter().any(|input| reads(input, own)),
    }
}

/// Takes out of a recursive term what doesn't depend on the recursion, and brings the rest into a form that keeps recursions up to date.
///
/// With `UNION ALL` that is all that is linear in the recursion's rows. With `UNION` a row that comes must derive rows, and never
/// take any away, and a row that has lost one of several derivations must be known. Other terms are computed [in rounds](Cut::round).
struct Cut {
    /// The hole of the recursion's rows, as long as the plan isn't cut.
    own: usize,
    all: bool,
    outers: Vec<Outer>,
}

impl Cut {
    /// An input that doesn't depend on the recursion.
    fn outer(&mut self, node: &Arc<Node>, effect: Effect) -> Arc<Node> {
        let outer = Outer { node: node.clone(), effect };
        let position = self.outers.iter().position(|known| *known == outer).unwrap_or_else(|| {
            self.outers.push(outer);
            self.outers.len() - 1
        });
        hole(position + 1, node)
    }

    /// A recursive term of any form, of which each round is computed as a whole.
    fn round(&mut self, node: &Arc<Node>) -> Result<Arc<Node>> {
        if !reads(node, self.own) {
            return Ok(self.outer(node, Effect::Both));
        }
        match node.as_ref() {
            Node::Hole(_) => return Ok(hole(0, node)),
            Node::Window(window) if !window.watermark_of.is_empty() => return Err(refused(node)),
            node if node.follows_time() => return Err(refused(node)),
            _ => {}
        }
        let inputs = node.inputs().into_iter().map(|input| self.round(input)).collect::<Result<_>>()?;
        Ok(shared(node.with_inputs(inputs)))
    }

    /// An input of a node that depends on the recursion; `None` if it is of no form that can be followed row by row.
    fn input(&mut self, node: &Arc<Node>, effect: Effect) -> Result<Option<Arc<Node>>> {
        if reads(node, self.own) {
            return self.inner(node);
        }
        Ok(Some(self.outer(node, effect)))
    }

    /// A node that depends on the recursion.
    fn inner(&mut self, node: &Arc<Node>) -> Result<Option<Arc<Node>>> {
        let over = |input: Option<Arc<Node>>, node: &dyn Fn(Arc<Node>) -> Node| input.map(|input| shared(node(input)));
        Ok(match &**node {
            Node::Hole(_) => Some(hole(0, node)),
            Node::Map(map) => over(self.inner(&map.input)?, &|input| Node::Map(Map { input, ..map.clone() })),
            Node::Unnest(unnest) => {
                over(self.inner(&unnest.input)?, &|input| Node::Unnest(Unnest { input, ..unnest.clone() }))
            }
            // Of the recursion's rows no watermark is known, so that none is late.
            Node::Window(window) if window.watermark_of.is_empty() => {
                over(self.inner(&window.input)?, &|input| Node::Window(Window { input, ..window.clone() }))
            }
            Node::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.input(input, Effect::Adds));
                let inputs: Option<Vec<_>> = inputs.collect::<Result<Vec<_>>>()?.into_iter().collect();
                inputs.map(|inputs| shared(Node::Union(Union { inputs, ..union.clone() })))
            }
            // Each row comes once in any case.
            Node::Distinct(distinct) if !self.all => self.inner(&distinct.input)?,
            Node::Aggregate(group) if !self.all && group.calls.is_empty() && !group.keys.is_empty() => {
                over(self.inner(&group.input)?, &|input| {
                    Node::Map(Map {
                        input,
                        predicate: None,
                        expressions: group.keys.clone(),
                        on_error: group.on_error,
                        schema: group.schema.clone(),
                    })
                })
            }
            Node::Join(join) => self.join(join)?,
            _ => None,
        })
    }

    fn join(&mut self, join: &Join) -> Result<Option<Arc<Node>>> {
        let from_left = reads(&join.left, self.own);
        if from_left && reads(&join.right, self.own) {
            return Ok(None);
        }
        let (kept, outer) = match (join.kind, from_left) {
            (JoinKind::Inner, _) => (true, Effect::Adds),
            (JoinKind::LeftSemi, true) | (JoinKind::RightSemi, false) => (true, Effect::Adds),
            (JoinKind::LeftAnti, true) | (JoinKind::RightAnti, false) => (true, Effect::TakesAway),
            // A row that is filled up with NULL goes when a match comes.
            (JoinKind::Left, true) | (JoinKind::Right, false) => (self.all, Effect::Both),
            _ => return Ok(None),
        };
        if !kept {
            return self.outer_join(join, from_left);
        }
        let (of_left, of_right) = if from_left { (Effect::Adds, outer) } else { (outer, Effect::Adds) };
        let (left, right) = (self.input(&join.left, of_left)?, self.input(&join.right, of_right)?);
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        Ok(Some(shared(Node::Join(Join { left, right, left_expiry: None, right_expiry: None, ..join.clone() }))))
    }

    /// Matches and rows without a match apart: rows of the other side derive the ones and take the others away.
    fn outer_join(&mut self, join: &Join, from_left: bool) -> Result<Option<Arc<Node>>> {
        let pairs = self.join(&Join { kind: JoinKind::Inner, ..join.clone() })?;
        let (kind, kept, filled) = match from_left {
            true => (JoinKind::LeftAnti, &join.left, &join.right),
            false => (JoinKind::RightAnti, &join.right, &join.left),
        };
        let schema = numbered_schema(kept.schema().fields().iter().map(|field| field.data_type()));
        let alone = self.join(&Join { kind, schema, ..join.clone() })?;
        let (Some(pairs), Some(alone)) = (pairs, alone) else { return Ok(None) };
        let nulls = filled.schema().fields().iter().map(|field| ScalarValue::try_from(field.data_type()));
        let nulls = nulls.map(|null| Ok(Expr::Literal(null?, None))).collect::<Result<Vec<_>>>()?;
        let columns: Vec<Expr> = (0..kept.schema().fields().len()).map(column).collect();
        let filled_up = shared(Node::Map(Map {
            input: alone,
            predicate: None,
            expressions: if from_left { [columns, nulls].concat() } else { [nulls, columns].concat() },
            on_error: OnError::default(),
            schema: join.schema.clone(),
        }));
        Ok(Some(shared(Node::Union(Union { inputs: vec![pairs, filled_up], schema: join.schema.clone() }))))
    }
}

fn refused(node: &Node) -> Error {
    let what = match node {
        Node::Window(_) | Node::Session(_) => "a window of time",
        Node::TemporalFilter(_) => "a condition on now()",
        _ => "an operator that follows time",
    };
    Error::unsupported(format!("WITH RECURSIVE with {what} over its own rows in a materialized view"))
        .with_hint("In the recursive term, join the recursive reference to what is computed without it.")
}
