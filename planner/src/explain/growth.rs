//! Which operators of a view keep more and more for as long as rows come, and what would bound them.
//!
//! What grows begins with an input that is only ever added to, or a view of which it is known that it grows. Its columns may have ever new values, and
//! so may what is computed from them; a table's can't. An operator keeps more and more if it keeps rows of such an input, or something per key of which one grows, unless the
//! watermark, the clock or `state_ttl` takes it away again.

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use catalog::{Growth, ObjectId};
use datafusion::logical_expr::Expr;

use super::{Explain, list, partition};
use crate::fingerprint::join_name;
use crate::incremental::{Forgotten, Join, JoinKind, Node, Partition, PartitionRule, ViewPlan};

/// More operators than this aren't named.
const MOST: usize = 4;

/// A line for each operator whose state grows without bound: what it keeps of what, and what would bound it.
/// `of_view` says how views grow that are read.
pub fn growth(
    plan: &ViewPlan,
    relation_name: &dyn Fn(ObjectId) -> String,
    of_view: &dyn Fn(ObjectId) -> Option<Growth>,
) -> Vec<String> {
    let mut out = String::new();
    let explain = Explain { relation_name, known: &|_| None, out: &mut out };
    let growing = Growing { explain, views: Views(of_view) };
    let mut found = Vec::new();
    growing.add(&plan.root, &mut found);
    let others = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if others > 0 {
        found.push(format!("and {others} more, which EXPLAIN ANALYZE shows with their rows"));
    }
    found
}

/// Why the rows of a view with this plan are ever more, given how those grow that it reads.
pub(crate) fn growth_of_view(root: &Node, of_view: &dyn Fn(ObjectId) -> Option<Growth>) -> Option<Growth> {
    let views = Views(of_view);
    if !views.rows_grow(root) {
        return None;
    }
    let columns = views.growing_columns(root);
    let columns = columns.iter().enumerate().filter(|(_, grows)| **grows).map(|(column, _)| column).collect();
    let mut sources = BTreeSet::new();
    for input in views.growing_inputs(&[root]) {
        match of_view(input) {
            Some(growth) => sources.extend(growth.sources),
            None => sources.extend([input]),
        }
    }
    Some(Growth { sources: sources.into_iter().collect(), columns })
}

/// The lines as one notice.
pub(crate) fn growth_notice(lines: &[String]) -> Option<String> {
    (!lines.is_empty())
        .then(|| format!("the state of this view grows for as long as rows come\n  {}", lines.join("\n  ")))
}

/// What would bound an operator by keys.
const WINDOW: &str = "a window over a WATERMARK (TUMBLE, HOP, SESSION) among its keys";
const JOIN_WINDOW: &str = "a condition that puts their time within a window of the other side";
const OUTER_WINDOW: &str = "equal windows over a WATERMARK on both sides";
const TTL: &str = ", or state_ttl";

/// Finds what grows, and says it.
struct Growing<'a> {
    explain: Explain<'a>,
    views: Views<'a>,
}

impl Growing<'_> {
    /// Adds the operators at and below a node, each once.
    fn add(&self, node: &Node, found: &mut Vec<String>) {
        let line = self.growth_of(node, &[]).map(|line| format!("{line}{}", self.retention(node)));
        if let Some(line) = line
            && !found.contains(&line)
        {
            found.push(line);
        }
        // What is idle is bounded, and what is forgotten is part of the operator.
        let inputs = match node {
            Node::Forgetful(node) => node.of.inputs(),
            node => node.inputs(),
        };
        inputs.into_iter().for_each(|input| self.add(input, found));
    }

    /// What grows in an operator, of which some sides are forgotten.
    fn growth_of(&self, node: &Node, forgotten: &[Side]) -> Option<String> {
        match node {
            Node::Forgetful(node) => {
                let sides: &[Side] = match node.forgotten {
                    Forgotten::WithOutput => return None,
                    Forgotten::Both => &[Side::Left, Side::Right],
                    Forgotten::Left => &[Side::Left],
                    Forgotten::Right => &[Side::Right],
                };
                self.growth_of(&node.of, sides)
            }
            Node::Aggregate(node) if node.window.is_none() => {
                let names = self.explain.names(&node.input);
                let columns = self.views.growing_columns(&node.input);
                let ttl = if node.input.append_only() { TTL } else { "" };
                let sources = self.sources(&[&node.input]);
                let keys = self.views.growing_keys(&node.input, &node.keys);
                if !keys.is_empty() {
                    let by = list(&keys, &names);
                    return Some(format!(
                        "Aggregate keeps a group for each {by} of {sources}: bounded by {WINDOW}{ttl}"
                    ));
                }
                let values = node.value_tables().into_iter().find(|table| grows(&table.argument, &columns))?;
                let value = super::render(&values.argument, &names);
                Some(format!("Aggregate keeps each value of {value} of {sources}: bounded by {WINDOW}"))
            }
            Node::Distinct(node) if self.views.rows_grow(&Node::Distinct(node.clone())) => {
                let ttl = if node.input.append_only() { TTL } else { "" };
                let sources = self.sources(&[&node.input]);
                Some(format!("Distinct keeps each row of {sources}: bounded by {WINDOW}{ttl}"))
            }
            Node::Partition(node) if node.window.is_none() => self.growth_of_partition(node),
            Node::Join(node) => self.growth_of_join(node, forgotten),
            Node::AsOf(node) if self.views.rows_grow(&node.left) || self.views.rows_grow(&node.right) => {
                let growing: Vec<&Node> =
                    [&*node.left, &*node.right].into_iter().filter(|side| self.views.rows_grow(side)).collect();
                let sources = self.sources(&growing);
                Some(format!(
                    "AsOf join keeps every row of {sources}, as a late row may be the nearest: bounded by reading tables, or FOR SYSTEM_TIME AS OF PROCTIME()"
                ))
            }
            Node::TemporalJoin(node) if self.views.rows_grow(&node.right) => {
                let sources = self.sources(&[&node.right]);
                Some(format!("Temporal join keeps every row of {sources}: bounded by a right side whose keys are"))
            }
            Node::SetOperation(node) if self.views.rows_grow(&node.left) || self.views.rows_grow(&node.right) => {
                let sources = self.sources(&[&node.left, &node.right]);
                Some(format!(
                    "{:?} all counts each row of {sources}: bounded by INTERSECT or EXCEPT over a window's rows",
                    node.kind
                ))
            }
            Node::Session(node) if node.watermark_of.is_empty() && self.views.rows_grow(&node.input) => {
                let sources = self.sources(&[&node.input]);
                Some(format!(
                    "Session keeps all rows of {sources}: bounded by a WATERMARK for {}",
                    self.explain.names(&node.input)[node.time]
                ))
            }
            Node::Recursive(node) if self.views.rows_grow(&Node::Recursive(node.clone())) => {
                let inputs: Vec<&Node> = node.outers.iter().map(|outer| &*outer.node).chain([&*node.base]).collect();
                Some(format!(
                    "Recursive keeps each row that {} lead to: bounded by reading tables, or views that are bounded",
                    self.sources(&inputs)
                ))
            }
            _ => None,
        }
    }

    fn growth_of_partition(&self, node: &Partition) -> Option<String> {
        let names = self.explain.names(&node.input);
        let sources = self.sources(&[&node.input]);
        let title = partition::title(node);
        let ttl = if node.input.append_only() && !node.keys.is_empty() { TTL } else { "" };
        if !node.keeps_only_top() {
            return self.views.rows_grow(&node.input).then(|| {
                let first = match (&node.rule, node.input.append_only()) {
                    (PartitionRule::Windows(_), true) => ", by the first rows only (row_number() <= n, LIMIT)",
                    _ => "",
                };
                format!("{title} keeps every row of {sources}: bounded by {WINDOW}{first}{ttl}")
            });
        }
        let keys = self.views.growing_keys(&node.input, &node.keys);
        (!keys.is_empty()).then(|| {
            let by = list(&keys, &names);
            format!("{title} keeps the first rows for each {by} of {sources}: bounded by {WINDOW}{ttl}")
        })
    }

    fn growth_of_join(&self, join: &Join, forgotten: &[Side]) -> Option<String> {
        let sides = [(Side::Left, &join.left, &join.left_expiry), (Side::Right, &join.right, &join.right_expiry)];
        let growing: Vec<&Node> = sides
            .into_iter()
            .filter(|(side, input, expiry)| {
                expiry.is_none() && !forgotten.contains(side) && self.views.rows_grow(input)
            })
            .map(|(_, input, _)| &**input)
            .collect();
        if growing.is_empty() {
            return None;
        }
        let sources = self.sources(&growing);
        let name = join_name(join.kind);
        if join.on.is_empty() {
            return Some(format!(
                "Nested loop join {name} keeps every row of {sources}: bounded by an equality between both sides, such as of a window's end"
            ));
        }
        let ttl = if growing.iter().all(|input| input.append_only()) { TTL } else { "" };
        let window = if join.kind == JoinKind::Inner { JOIN_WINDOW } else { OUTER_WINDOW };
        Some(format!("Join {name} keeps every row of {sources}: bounded by {window}{ttl}"))
    }

    /// The relations that grow below some nodes, views with what makes them grow.
    fn sources(&self, nodes: &[&Node]) -> String {
        let name = |id: ObjectId| (self.explain.relation_name)(id);
        let names = |ids: &[ObjectId]| ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(" and ");
        let described = |id: ObjectId| match (self.views.0)(id) {
            Some(growth) => format!("{} (which grows with {})", name(id), names(&growth.sources)),
            None => name(id),
        };
        let found: Vec<String> = self.views.growing_inputs(nodes).into_iter().map(described).collect();
        found.join(" and ")
    }

    /// What bounds the views that an operator keeps rows of.
    fn retention(&self, node: &Node) -> String {
        let views = self.views.growing_inputs(&[node]).into_iter().filter(|id| (self.views.0)(*id).is_some());
        let names: Vec<String> = views.map(|id| (self.explain.relation_name)(id)).collect();
        if names.is_empty() { String::new() } else { format!(", or a retention of {}", names.join(" and ")) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Whether an expression has ever new values, given which columns have.
fn grows(expression: &Expr, columns: &[bool]) -> bool {
    let mut counts = vec![0; columns.len()];
    if crate::lower::count_columns(expression, &mut counts).is_err() {
        return true;
    }
    counts.iter().zip(columns).any(|(count, grows)| *count > 0 && *grows)
}

fn windowed(mut columns: Vec<bool>, time: usize) -> Vec<bool> {
    let grows = columns[time];
    columns.extend([grows, grows]);
    columns
}

/// What is known of views that are read: how they grow.
struct Views<'a>(&'a dyn Fn(ObjectId) -> Option<Growth>);

impl Views<'_> {
    /// The relations below some nodes of which there are ever more rows.
    fn growing_inputs(&self, nodes: &[&Node]) -> Vec<ObjectId> {
        fn collect(views: &Views<'_>, node: &Node, found: &mut BTreeSet<ObjectId>) {
            if let Node::Input(input) = node
                && views.rows_grow(node)
            {
                found.insert(input.relation);
            }
            node.inputs().into_iter().for_each(|input| collect(views, input, found));
        }
        let mut found = BTreeSet::new();
        nodes.iter().for_each(|node| collect(self, node, &mut found));
        found.into_iter().collect()
    }

    /// The keys that have ever new values: there are but two of a boolean.
    fn growing_keys(&self, input: &Node, keys: &[Expr]) -> Vec<Expr> {
        let columns = self.growing_columns(input);
        let types = crate::lower::types_over(input, keys).unwrap_or_default();
        let is_boolean = |place: usize| types.get(place) == Some(&DataType::Boolean);
        let growing = keys.iter().enumerate().filter(|(place, key)| !is_boolean(*place) && grows(key, &columns));
        growing.map(|(_, key)| key.clone()).collect()
    }

    /// Which columns have ever new values.
    fn growing_columns(&self, node: &Node) -> Vec<bool> {
        let columns = match node {
            Node::Input(node) => {
                let mut columns = vec![node.append_only; node.schema.fields().len()];
                let growth = self.0(node.relation).filter(|_| !node.append_only);
                growth.into_iter().flat_map(|growth| growth.columns).for_each(|column| columns[column] = true);
                columns
            }
            Node::Map(node) => {
                let columns = self.growing_columns(&node.input);
                node.expressions.iter().map(|expression| grows(expression, &columns)).collect()
            }
            Node::Window(node) => windowed(self.growing_columns(&node.input), node.time),
            Node::Session(node) => windowed(self.growing_columns(&node.input), node.time),
            // As many rows as there are at a time.
            Node::TemporalFilter(filter) if !filter.until.is_empty() => vec![false; node.schema().fields().len()],
            Node::TemporalFilter(node) => self.growing_columns(&node.input),
            Node::Aggregate(aggregate) => self.grouped(&aggregate.input, &aggregate.keys, node),
            Node::Partition(partition) => match &partition.rule {
                PartitionRule::Aggregates(_) => self.grouped(&partition.input, &partition.keys, node),
                PartitionRule::Windows(_) | PartitionRule::Top(_) => {
                    let mut columns = self.growing_columns(&partition.input);
                    columns.resize(node.schema().fields().len(), self.rows_grow(&partition.input));
                    columns
                }
            },
            Node::Join(join) => {
                let (left, right) = (self.growing_columns(&join.left), self.growing_columns(&join.right));
                match join.kind {
                    JoinKind::LeftSemi | JoinKind::LeftAnti => left,
                    JoinKind::RightSemi | JoinKind::RightAnti => right,
                    _ => [left, right].concat(),
                }
            }
            Node::AsOf(join) => [self.growing_columns(&join.left), self.growing_columns(&join.right)].concat(),
            Node::TemporalJoin(join) => [self.growing_columns(&join.left), self.growing_columns(&join.right)].concat(),
            Node::Union(union) => {
                let either = |a: Vec<bool>, b: Vec<bool>| a.into_iter().zip(b).map(|(a, b)| a || b).collect();
                union.inputs.iter().map(|input| self.growing_columns(input)).reduce(either).unwrap_or_default()
            }
            Node::SetOperation(node) => self.growing_columns(&node.left),
            Node::Unnest(node) => {
                let columns = self.growing_columns(&node.input);
                node.columns.iter().map(|column| columns[*column]).collect()
            }
            Node::Distinct(node) => self.growing_columns(&node.input),
            Node::WindowClose(node) => self.growing_columns(&node.input),
            Node::Retention(node) => self.growing_columns(&node.input),
            Node::Recursive(_) => vec![self.rows_grow(node); node.schema().fields().len()],
            Node::Forgetful(forgetful) => match forgetful.forgotten {
                Forgotten::WithOutput => vec![false; node.schema().fields().len()],
                Forgotten::Left | Forgotten::Right | Forgotten::Both => self.growing_columns(&forgetful.of),
            },
            Node::Idle(_) | Node::Hole(_) | Node::Constant(_) => vec![false; node.schema().fields().len()],
        };
        let types = node.schema().fields().iter().map(|field| field.data_type());
        columns.into_iter().zip(types).map(|(grows, data_type)| grows && *data_type != DataType::Boolean).collect()
    }

    /// Of keys and what is computed per group.
    fn grouped(&self, input: &Node, keys: &[Expr], node: &Node) -> Vec<bool> {
        let columns = self.growing_columns(input);
        let mut grouped: Vec<bool> = keys.iter().map(|key| grows(key, &columns)).collect();
        grouped.resize(node.schema().fields().len(), self.rows_grow(input));
        grouped
    }

    /// Whether there are ever more rows.
    fn rows_grow(&self, node: &Node) -> bool {
        let any_key = |input: &Node, keys: &[Expr]| !self.growing_keys(input, keys).is_empty();
        match node {
            Node::Input(node) => node.append_only || self.0(node.relation).is_some(),
            Node::Map(node) => self.rows_grow(&node.input),
            Node::Window(node) => self.rows_grow(&node.input),
            Node::Session(node) => self.rows_grow(&node.input),
            Node::TemporalFilter(node) => node.until.is_empty() && self.rows_grow(&node.input),
            Node::Aggregate(node) => any_key(&node.input, &node.keys),
            Node::Partition(node) => match &node.rule {
                PartitionRule::Aggregates(_) => any_key(&node.input, &node.keys),
                PartitionRule::Top(top) if top.fetch.is_some() => any_key(&node.input, &node.keys),
                PartitionRule::Top(_) | PartitionRule::Windows(_) => self.rows_grow(&node.input),
            },
            Node::Join(node) => match node.kind {
                JoinKind::LeftSemi | JoinKind::LeftAnti => self.rows_grow(&node.left),
                JoinKind::RightSemi | JoinKind::RightAnti => self.rows_grow(&node.right),
                _ => self.rows_grow(&node.left) || self.rows_grow(&node.right),
            },
            Node::AsOf(node) => self.rows_grow(&node.left),
            Node::TemporalJoin(node) => self.rows_grow(&node.left),
            Node::Union(node) => node.inputs.iter().any(|input| self.rows_grow(input)),
            Node::SetOperation(node) => self.rows_grow(&node.left),
            Node::Unnest(node) => self.rows_grow(&node.input),
            Node::Distinct(node) => self.rows_grow(&node.input) && self.growing_columns(&node.input).contains(&true),
            Node::WindowClose(node) => self.rows_grow(&node.input),
            // Rows go, unless nobody is told.
            Node::Retention(node) => node.silent && self.rows_grow(&node.input),
            Node::Recursive(node) => {
                self.rows_grow(&node.base) || node.outers.iter().any(|outer| self.rows_grow(&outer.node))
            }
            Node::Forgetful(node) => node.forgotten != Forgotten::WithOutput && self.rows_grow(&node.of),
            Node::Idle(_) | Node::Hole(_) | Node::Constant(_) => false,
        }
    }
}
