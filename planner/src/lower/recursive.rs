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
        // What an enclosing recursive term has of its own rows must not stand in this one.
        let enclosing = self.recursion.take();
        let lowered = self.recursion_alone(query);
        self.recursion = enclosing;
        lowered
    }

    fn recursion_alone(&mut self, query: &RecursiveQuery) -> Result<Lowered> {
        let base = cast_to(self.node(&query.static_term)?, &query.schema)?;
        let types = query.schema.fields().iter().map(|field| field.data_type());
        let schema = numbered_schema(types.clone());
        let all = !query.is_distinct;

        self.recursion = Some(Open { name: query.name.clone(), rows: hole(0, &base.node) });
        let step = self.node(&query.recursive_term);
        self.recursion = None;
        let step = cast_to(step?, &query.schema)?;

        let columns = (0..base.columns.len()).map(ColumnInfo::unknown).collect();
        let mut output = Lowered { columns, keys: Vec::new(), node: base.node.clone() };
        if !reads_itself(&step.node) {
            // The optimizer has found that it derives nothing.
            let inputs = vec![base.node, step.node];
            output.node = shared(Node::Union(Union { inputs, schema }));
            return if all { Ok(output) } else { distinct(output) };
        }
        let mut cut = Cut { all, outers: Vec::new() };
        let step = cut.inner(&step.node)?;
        if !all {
            output.set_keys(vec![(0..output.columns.len()).collect::<BTreeSet<_>>()]);
        }
        output.node = shared(Node::Recursive(Recursive { base: base.node, outers: cut.outers, step, all, schema }));
        Ok(output)
    }

    /// The rows of the recursion, if they are what is scanned.
    pub(super) fn work_table(&self, scan: &TableScan) -> Result<Option<Lowered>> {
        let source = scan.source.downcast_ref::<DefaultTableSource>();
        let Some(table) = source.and_then(|source| source.table_provider.downcast_ref::<CteWorkTable>()) else {
            return Ok(None);
        };
        let Some(open) = self.recursion.as_ref().filter(|open| open.name == table.name()) else {
            return Err(Error::unsupported(
                "WITH RECURSIVE inside of the recursive term that it reads, in a materialized view",
            ));
        };
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

fn reads_itself(node: &Node) -> bool {
    matches!(node, Node::Hole(_)) || node.inputs().into_iter().any(|input| reads_itself(input))
}

/// Takes out of a recursive term what doesn't depend on the recursion, and brings the rest into a form that keeps recursions up to date.
///
/// With `UNION ALL` that is all that is linear in the recursion's rows. With `UNION` a row that comes must derive rows, and never
/// take any away, and a row that has lost one of several derivations must be known.
struct Cut {
    all: bool,
    outers: Vec<Outer>,
}

impl Cut {
    /// An input of a node that depends on the recursion.
    fn input(&mut self, node: &Arc<Node>, effect: Effect) -> Result<Arc<Node>> {
        if reads_itself(node) {
            return self.inner(node);
        }
        let outer = Outer { node: node.clone(), effect };
        let position = self.outers.iter().position(|known| *known == outer).unwrap_or_else(|| {
            self.outers.push(outer);
            self.outers.len() - 1
        });
        Ok(hole(position + 1, node))
    }

    /// A node that depends on the recursion.
    fn inner(&mut self, node: &Arc<Node>) -> Result<Arc<Node>> {
        Ok(match &**node {
            Node::Hole(_) => node.clone(),
            Node::Map(map) => shared(Node::Map(Map { input: self.inner(&map.input)?, ..map.clone() })),
            Node::Unnest(unnest) => {
                shared(Node::Unnest(Unnest { input: self.inner(&unnest.input)?, ..unnest.clone() }))
            }
            // Of the recursion's rows no watermark is known, so that none is late.
            Node::Window(window) if window.watermark_of.is_empty() => {
                shared(Node::Window(Window { input: self.inner(&window.input)?, ..window.clone() }))
            }
            Node::Union(union) => {
                let inputs = union.inputs.iter().map(|input| self.input(input, Effect::Adds)).collect::<Result<_>>()?;
                shared(Node::Union(Union { inputs, ..union.clone() }))
            }
            // Each row comes once in any case.
            Node::Distinct(distinct) if !self.all => self.inner(&distinct.input)?,
            Node::Aggregate(group) if !self.all && group.calls.is_empty() && !group.keys.is_empty() => {
                shared(Node::Map(Map {
                    input: self.inner(&group.input)?,
                    predicate: None,
                    expressions: group.keys.clone(),
                    on_error: group.on_error,
                    schema: group.schema.clone(),
                }))
            }
            Node::Join(join) => self.join(join)?,
            other => return Err(refused(other)),
        })
    }

    fn join(&mut self, join: &Join) -> Result<Arc<Node>> {
        let from_left = reads_itself(&join.left);
        if from_left && reads_itself(&join.right) {
            return Err(refused(&Node::Join(join.clone())));
        }
        let (kept, outer) = match (join.kind, from_left) {
            (JoinKind::Inner, _) => (true, Effect::Adds),
            (JoinKind::LeftSemi, true) | (JoinKind::RightSemi, false) => (true, Effect::Adds),
            (JoinKind::LeftAnti, true) | (JoinKind::RightAnti, false) => (true, Effect::TakesAway),
            // A row that is filled up with NULL goes when a match comes.
            (JoinKind::Left, true) | (JoinKind::Right, false) => (self.all, Effect::Both),
            _ => return Err(refused(&Node::Join(join.clone()))),
        };
        if !kept {
            return self.outer_join(join, from_left);
        }
        let (of_left, of_right) = if from_left { (Effect::Adds, outer) } else { (outer, Effect::Adds) };
        let (left, right) = (self.input(&join.left, of_left)?, self.input(&join.right, of_right)?);
        Ok(shared(Node::Join(Join { left, right, left_expiry: None, right_expiry: None, ..join.clone() })))
    }

    /// Matches and rows without a match apart: rows of the other side derive the ones and take the others away.
    fn outer_join(&mut self, join: &Join, from_left: bool) -> Result<Arc<Node>> {
        let pairs = self.join(&Join { kind: JoinKind::Inner, ..join.clone() })?;
        let (kind, kept, filled) = match from_left {
            true => (JoinKind::LeftAnti, &join.left, &join.right),
            false => (JoinKind::RightAnti, &join.right, &join.left),
        };
        let schema = numbered_schema(kept.schema().fields().iter().map(|field| field.data_type()));
        let alone = self.join(&Join { kind, schema, ..join.clone() })?;
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
        Ok(shared(Node::Union(Union { inputs: vec![pairs, filled_up], schema: join.schema.clone() })))
    }
}

fn refused(node: &Node) -> Error {
    let what = match node {
        Node::Aggregate(_) | Node::Distinct(_) => "DISTINCT, GROUP BY or an aggregate",
        Node::Partition(_) => "a window function, LIMIT, DISTINCT ON or an aggregate",
        Node::Join(_) => "this form of join",
        Node::Window(_) | Node::Session(_) => "a window of time",
        Node::Recursive(_) => "another recursion",
        _ => "this construct",
    };
    Error::unsupported(format!("WITH RECURSIVE with {what} over its own rows in a materialized view"))
        .with_hint("In the recursive term, join the recursive reference to what is computed without it.")
}
