//! The state tables that an operator keeps in the store: what EXPLAIN prints, and what `dataflow` makes.

use datafusion::logical_expr::Expr;

use crate::incremental::{Aggregate, Node, PartitionRule};

/// A state table of an operator that holds an entry per group and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueTable {
    /// Its name among the operator's tables.
    pub role: String,
    /// What is counted.
    pub kind: ValueTableKind,
    /// The argument whose values are counted.
    pub argument: Expr,
}

/// See [`ValueTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueTableKind {
    /// How often each value came, once per filter: for all `DISTINCT` calls on the argument.
    Distinct {
        /// The filters of those calls, each once.
        filters: Vec<Option<Expr>>,
    },
    /// How often each value came, in order: for `min` and `max` with this filter, where rows may be taken away.
    Ordered {
        /// The filter.
        filter: Option<Expr>,
    },
}

impl Aggregate {
    /// The tables with an entry per group and value, in order of the calls that need them first.
    pub fn value_tables(&self) -> Vec<ValueTable> {
        let mut tables: Vec<ValueTable> = Vec::new();
        let append_only = self.input.append_only();
        for call in &self.calls {
            let Some(argument) = call.args.first() else { continue };
            if call.distinct {
                let same = tables.iter_mut().find_map(|table| match &mut table.kind {
                    ValueTableKind::Distinct { filters } if table.argument == *argument => Some(filters),
                    _ => None,
                });
                match same {
                    Some(filters) if filters.contains(&call.filter) => {}
                    Some(filters) => filters.push(call.filter.clone()),
                    None => tables.push(ValueTable {
                        role: format!("distinct {}", tables.len()),
                        kind: ValueTableKind::Distinct { filters: vec![call.filter.clone()] },
                        argument: argument.clone(),
                    }),
                }
            } else if matches!(call.function.name(), "min" | "max") && !append_only {
                let kind = ValueTableKind::Ordered { filter: call.filter.clone() };
                if !tables.iter().any(|table| table.kind == kind && table.argument == *argument) {
                    tables.push(ValueTable {
                        role: format!("ordered {}", tables.len()),
                        kind,
                        argument: argument.clone(),
                    });
                }
            }
        }
        tables
    }
}

/// A state table of any operator, for people.
#[derive(Clone, Debug)]
pub struct StateTable {
    /// Its name among the operator's tables.
    pub role: String,
    /// The expressions that make its key, over the columns of the operator's input (of [`StateTable::input`]); `None`: the whole row.
    pub key: Option<Vec<Expr>>,
    /// Which of the operator's inputs the key's expressions are over.
    pub input: usize,
    /// What is kept per key.
    pub value: &'static str,
}

impl Node {
    /// The state tables of this operator.
    pub fn state_tables(&self) -> Vec<StateTable> {
        let table = |role: &str, key, input, value| StateTable { role: role.to_owned(), key, input, value };
        match self {
            Self::Input(_) | Self::Map(_) | Self::Window(_) | Self::Union(_) | Self::Unnest(_) => Vec::new(),
            Self::Constant(_) | Self::Hole(_) => Vec::new(),
            Self::Session(node) => {
                let keys = || node.keys.iter().map(|key| crate::lower::column(*key));
                let ends = std::iter::once(crate::lower::column(node.time)).chain(keys()).collect();
                let rows = table("rows", Some(keys().collect()), 0, "rows of open sessions");
                if node.watermark_of.is_empty() {
                    vec![rows]
                } else {
                    vec![rows, table("ends", Some(ends), 0, "that a session ends")]
                }
            }
            Self::TemporalFilter(_) => vec![table("waiting", None, 0, "weight, by when the row comes or goes")],
            Self::Recursive(node) if node.rounds => {
                let inputs = (0..=node.outers.len())
                    .map(|input| table(&format!("input {input}"), None, input, "weight, to compute all of it again"));
                let out = [table("rows", None, 0, "weight of what has come out"), table("errors", None, 0, "weight")];
                out.into_iter().chain(inputs).collect()
            }
            Self::Recursive(node) => {
                let rows = (!node.all).then(|| table("rows", None, 0, "derivations"));
                let waiting = (0..=node.outers.len())
                    .map(|input| table(&format!("waiting {input}"), None, input, "weight, while there is no end"));
                rows.into_iter().chain(waiting).collect()
            }
            Self::Aggregate(node) => {
                let mut tables = vec![table("groups", Some(node.keys.clone()), 0, "accumulators")];
                for values in node.value_tables() {
                    let key = node.keys.iter().cloned().chain([values.argument]).collect();
                    tables.push(table(&values.role, Some(key), 0, "count"));
                }
                tables
            }
            Self::Join(node) if node.on.is_empty() => {
                vec![table("left", None, 0, "weight, matches"), table("right", None, 1, "weight, matches")]
            }
            Self::Join(node) if node.is_with_itself() => {
                vec![table(
                    "left",
                    Some(node.on.iter().map(|(left, _)| left.clone()).collect()),
                    0,
                    "rows, for both sides",
                )]
            }
            Self::Join(node) => {
                let (left, right) = node.on.iter().cloned().unzip();
                vec![table("left", Some(left), 0, "rows"), table("right", Some(right), 1, "rows")]
            }
            Self::AsOf(node) => {
                let (left, right): (Vec<_>, Vec<_>) = node.on.iter().chain([&node.times]).cloned().unzip();
                vec![
                    table("left", Some(left), 0, "weight, in order"),
                    table("right", Some(right), 1, "weight, in order"),
                ]
            }
            Self::TemporalJoin(node) => {
                vec![table("right", Some(node.on.iter().map(|(_, right)| right.clone()).collect()), 1, "rows")]
            }
            Self::SetOperation(_) => vec![table("rows", None, 0, "count on each side")],
            Self::Distinct(_) => vec![table("rows", None, 0, "count")],
            Self::Partition(node) => {
                let kept = if node.keeps_only_top() { "first rows" } else { "rows" };
                let mut tables = vec![table("partitions", Some(node.keys.clone()), 0, kept)];
                if node.keys.is_empty() && matches!(node.rule, PartitionRule::Aggregates(_)) {
                    tables.push(table("begun", Some(vec![]), 0, "that the row has come out"));
                }
                tables
            }
            Self::Idle(_) => vec![
                table("last", None, 0, "when it will be idle"),
                table("waiting", None, 0, "that it is there, by that time"),
            ],
            // A join that forgets keeps its sides apart, also one with itself.
            Self::Forgetful(node) => match node.of.as_ref() {
                Self::Join(join) => {
                    let (left, right) = join.on.iter().cloned().unzip();
                    vec![table("left", Some(left), 0, "rows"), table("right", Some(right), 1, "rows")]
                }
                of => of.state_tables(),
            },
            Self::Retention(_) => vec![table("kept", None, 0, "weight, by the row's time")],
            Self::WindowClose(_) => vec![table("pending", None, 0, "rows of open windows")],
        }
    }
}
