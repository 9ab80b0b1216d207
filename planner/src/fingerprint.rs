//! The name of an operator's state over restarts: a hash of what the operator and all below it compute.

use std::fmt::Write;

use datafusion::logical_expr::Expr;
use xxhash_rust::xxh3::xxh3_128;

use crate::incremental::{AggregateCall, JoinKind, Node, OnError, OrderKey, Partition, PartitionRule};

impl Node {
    /// Equal for equal nodes, different for different ones, the same after a restart: 32 hexadecimal digits.
    ///
    /// Hashed is a text of the node with the fingerprints of its inputs, in which expressions stand as DataFusion prints them. (A version
    /// of DataFusion that prints them differently would give other names; the state is then built anew.)
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        self.write_canonical(&mut text);
        for input in self.inputs() {
            text.push('\n');
            text.push_str(&input.fingerprint());
        }
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }

    /// What this node computes from its inputs, in one line per part.
    fn write_canonical(&self, out: &mut String) {
        let written = match self {
            Self::Input(node) => write!(out, "input {} append_only={}", node.relation.0, node.append_only),
            Self::Map(node) => {
                out.push_str("map");
                write_expressions(out, "where", node.predicate.iter());
                write_expressions(out, "select", node.expressions.iter());
                Ok(())
            }
            Self::Window(node) => write!(
                out,
                "window {:?} time={} watermark_of={:?} late={:?}",
                node.kind, node.time, node.watermark_of, node.late
            ),
            Self::Session(node) => write!(
                out,
                "session {} time={} keys={:?} watermark_of={:?} late={:?}",
                node.gap_us, node.time, node.keys, node.watermark_of, node.late
            ),
            Self::TemporalFilter(node) => write!(out, "temporal from={:?} until={:?}", node.from, node.until),
            Self::Aggregate(node) => write!(out, "aggregate window={:?}", node.window).map(|()| {
                write_expressions(out, "key", node.keys.iter());
                node.calls.iter().for_each(|call| write_call(out, call));
            }),
            Self::Join(node) => {
                let expiry = (&node.left_expiry, &node.right_expiry);
                write!(out, "join {} null_equal={} expiry={expiry:?}", join_name(node.kind), node.null_equal).map(
                    |()| {
                        write_expressions(out, "left", node.on.iter().map(|(left, _)| left));
                        write_expressions(out, "right", node.on.iter().map(|(_, right)| right));
                        write_expressions(out, "residual", node.residual.iter());
                    },
                )
            }
            Self::AsOf(node) => write!(out, "asof {} outer={}", node.nearest.operator(), node.outer).map(|()| {
                let (left, right) = &node.times;
                write_expressions(out, "left", node.on.iter().map(|(left, _)| left).chain([left]));
                write_expressions(out, "right", node.on.iter().map(|(_, right)| right).chain([right]));
            }),
            Self::TemporalJoin(node) => write!(out, "temporal join outer={}", node.outer).map(|()| {
                write_expressions(out, "left", node.on.iter().map(|(left, _)| left));
                write_expressions(out, "right", node.on.iter().map(|(_, right)| right));
                write_expressions(out, "residual", node.residual.iter());
            }),
            Self::Union(_) => write!(out, "union"),
            Self::SetOperation(node) => write!(out, "{:?} all", node.kind),
            Self::Unnest(node) => {
                let (lists, columns) = (&node.lists, &node.columns);
                write!(out, "unnest lists={lists:?} columns={columns:?} keeps_empty={}", node.keeps_empty)
            }
            Self::Distinct(_) => write!(out, "distinct"),
            Self::Partition(node) => {
                write_partition(out, node);
                Ok(())
            }
            Self::Recursive(node) => {
                let effects: Vec<_> = node.outers.iter().map(|outer| outer.effect).collect();
                let rounds = if node.rounds { " rounds" } else { "" };
                write!(out, "recursive{rounds} all={} outers={effects:?} step={}", node.all, node.step.fingerprint())
            }
            Self::Hole(node) => write!(out, "hole {}", node.index),
            Self::WindowClose(node) => write!(
                out,
                "window_close end={} offset={} watermark_of={:?}",
                node.end, node.offset_us, node.watermark_of
            ),
            Self::Retention(node) => write!(
                out,
                "retention column={} offset={} watermark_of={:?} silent={}",
                node.column, node.offset_us, node.watermark_of, node.silent
            ),
            Self::Idle(node) => write!(out, "idle {}", node.ttl_us),
            Self::Forgetful(node) => {
                node.of.write_canonical(out);
                write!(out, "\nforgets {:?}", node.forgotten)
            }
            Self::Constant(node) => {
                out.push_str("constant");
                node.rows.iter().for_each(|row| write_expressions(out, "row", row.iter()));
                Ok(())
            }
        };
        written.expect("a string takes any text");
        if self.on_error() == Some(OnError::Null) {
            out.push_str("\non_error null");
        }
        for field in self.schema().fields() {
            write!(out, "\n{}", field.data_type()).expect("a string takes any text");
        }
    }
}

fn write_call(out: &mut String, call: &AggregateCall) {
    out.push_str(if call.distinct { "\ndistinct " } else { "\ncall " });
    out.push_str(call.function.name());
    write_expressions(out, "argument", call.args.iter());
    write_expressions(out, "filter", call.filter.iter());
}

fn write_partition(out: &mut String, node: &Partition) {
    let Partition { keys, rule, window, .. } = node;
    let written = write!(out, "partition window={window:?} keeps_only_top={}", node.keeps_only_top()).and_then(|()| {
        write_expressions(out, "key", keys.iter());
        match rule {
            PartitionRule::Windows(calls) => calls.iter().try_for_each(|call| {
                write!(out, "\nwindow {} ignore_nulls={} {}", call.function.name(), call.ignore_nulls, call.frame)?;
                write_expressions(out, "argument", call.args.iter());
                write_expressions(out, "filter", call.filter.iter());
                write_order(out, &call.order)
            }),
            PartitionRule::Top(top) => {
                let (offset, fetch) = (top.offset, top.fetch);
                write!(out, "\ntop offset={offset} fetch={fetch:?} ties={} place={:?}", top.ties, top.place)?;
                write_order(out, &top.order)
            }
            PartitionRule::Aggregates(calls) => calls.iter().try_for_each(|call| {
                write_call(out, &call.call);
                write!(out, "\nignore_nulls={}", call.ignore_nulls)?;
                write_order(out, &call.order)
            }),
        }
    });
    written.expect("a string takes any text");
}

fn write_order(out: &mut String, order: &[OrderKey]) -> std::fmt::Result {
    order.iter().try_for_each(|key| {
        write!(out, "\norder {} descending={} nulls_first={}", key.expression, key.descending, key.nulls_first)
    })
}

fn write_expressions<'a>(out: &mut String, role: &str, expressions: impl Iterator<Item = &'a Expr>) {
    for expression in expressions {
        write!(out, "\n{role} {expression}").expect("a string takes any text");
    }
}

/// The name of a kind of join in SQL.
pub(crate) fn join_name(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "inner",
        JoinKind::Left => "left",
        JoinKind::Right => "right",
        JoinKind::Full => "full",
        JoinKind::LeftSemi => "left semi",
        JoinKind::LeftAnti => "left anti",
        JoinKind::RightSemi => "right semi",
        JoinKind::RightAnti => "right anti",
    }
}
