//! How a [`Partition`] and its parts are written.

use std::fmt::Write;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition};

use super::{describe_call, list, render};
use crate::functions::by_row::ByRow;
use crate::functions::excluding::Excluding;
use crate::incremental::{OrderKey, OrderedCall, Partition, PartitionRule, Place, Top, WindowCall};

/// The operator in a line.
pub(super) fn describe(partition: &Partition, names: &[String]) -> String {
    let calls = |calls: Vec<String>| format!(": {}", calls.join(", "));
    let rest = match &partition.rule {
        PartitionRule::Windows(windows) => calls(windows.iter().map(|call| window_call(call, names)).collect()),
        PartitionRule::Top(top) => describe_top(top, names),
        PartitionRule::Aggregates(aggregates) => {
            calls(aggregates.iter().map(|call| ordered_call(call, names)).collect())
        }
    };
    let title = title(partition);
    let by = if partition.keys.is_empty() { String::new() } else { format!(" by {}", list(&partition.keys, names)) };
    format!("{title}{by}{rest}{}", reach(partition))
}

/// What a change costs where it is more than what it reaches.
fn reach(partition: &Partition) -> &'static str {
    match (&partition.rule, partition.reach()) {
        (PartitionRule::Windows(_), None) if partition.window.is_none() => "; a change computes its partition anew",
        (_, Some(reach)) if reach.ranks_all() => "; a row more or less ranks its partition anew",
        _ => "",
    }
}

/// Its name.
pub(super) fn title(partition: &Partition) -> &'static str {
    match &partition.rule {
        PartitionRule::Windows(_) => "Windows",
        PartitionRule::Top(_) => "Top",
        PartitionRule::Aggregates(_) => "Aggregate rows",
    }
}

/// What the columns of its output are called.
pub(super) fn column_names(partition: &Partition, names: Vec<String>) -> Vec<String> {
    let added: Vec<String> = match &partition.rule {
        PartitionRule::Windows(calls) => calls.iter().map(|call| window_call(call, &names)).collect(),
        PartitionRule::Top(top) => top.place.map(place_name).map(str::to_owned).into_iter().collect(),
        PartitionRule::Aggregates(calls) => {
            let keys = partition.keys.iter().map(|key| render(key, &names));
            return keys.chain(calls.iter().map(|call| ordered_call(call, &names))).collect();
        }
    };
    names.into_iter().chain(added).collect()
}

fn place_name(place: Place) -> &'static str {
    match place {
        Place::Row => "row_number()",
        Place::Rank => "rank()",
        Place::DenseRank => "dense_rank()",
    }
}

fn describe_top(top: &Top, names: &[String]) -> String {
    let mut text = String::new();
    if !top.order.is_empty() {
        write!(text, " order by {}", order(&top.order, names)).expect("a string takes any text");
    }
    if top.offset > 0 {
        write!(text, " offset {}", top.offset).expect("a string takes any text");
    }
    if let Some(fetch) = top.fetch {
        let ties = if top.ties { " with ties" } else { "" };
        write!(text, " limit {fetch}{ties}").expect("a string takes any text");
    }
    if let Some(place) = top.place {
        write!(text, ", {}", place_name(place)).expect("a string takes any text");
    }
    text
}

fn window_call(call: &WindowCall, names: &[String]) -> String {
    let excluding = match &call.function {
        WindowFunctionDefinition::WindowUDF(function) => Excluding::of(function),
        WindowFunctionDefinition::AggregateUDF(_) => None,
    };
    let (name, args, filter) = match excluding {
        None => (written_name(&call.function), &call.args[..], call.filter.as_ref()),
        Some(excluding) => {
            let (args, filter) = excluding.inputs(&call.args);
            (excluding.function(), args, filter)
        }
    };
    let args = if args.is_empty() { String::new() } else { list(args, names) };
    let mut text = format!("{name}({args})");
    if call.ignore_nulls || excluding.is_some_and(Excluding::ignores_nulls) {
        text.push_str(" ignore nulls");
    }
    if let Some(filter) = filter {
        write!(text, " filter ({})", render(filter, names)).expect("a string takes any text");
    }
    let order = (!call.order.is_empty()).then(|| format!("order by {}", order(&call.order, names)));
    let exclusion = excluding.map(|excluding| format!("exclude {}", excluding.exclusion()));
    let frame = match excluding {
        None => frame(&call.frame),
        Some(_) => Some(bounds(&call.frame)),
    };
    let parts: Vec<String> = order.into_iter().chain(frame).chain(exclusion).collect();
    write!(text, " over ({})", parts.join(" ")).expect("a string takes any text");
    text
}

fn written_name(function: &WindowFunctionDefinition) -> &str {
    match function {
        WindowFunctionDefinition::WindowUDF(window) => match ByRow::of(window) {
            Some(by_row) => by_row.function(),
            None => window.name(),
        },
        WindowFunctionDefinition::AggregateUDF(aggregate) => aggregate.name(),
    }
}

/// The frame, unless it is what SQL takes without one: up to the current row's peers.
fn frame(frame: &WindowFrame) -> Option<String> {
    let start = matches!(&frame.start_bound, WindowFrameBound::Preceding(value) if value.is_null());
    let usual = frame.units == WindowFrameUnits::Range && start && frame.end_bound == WindowFrameBound::CurrentRow;
    let end = matches!(&frame.end_bound, WindowFrameBound::Following(value) if value.is_null());
    let whole = start && end;
    (!usual && !whole).then(|| bounds(frame))
}

/// The frame from bound to bound.
fn bounds(frame: &WindowFrame) -> String {
    let distance = |by: &ScalarValue| match by.is_null() {
        true => "unbounded".to_owned(),
        false => render(&Expr::Literal(by.clone(), None), &[]),
    };
    let bound = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(by) => format!("{} preceding", distance(by)),
        WindowFrameBound::CurrentRow => "current row".to_owned(),
        WindowFrameBound::Following(by) => format!("{} following", distance(by)),
    };
    let units = frame.units.to_string().to_lowercase();
    format!("{units} between {} and {}", bound(&frame.start_bound), bound(&frame.end_bound))
}

fn ordered_call(ordered: &OrderedCall, names: &[String]) -> String {
    let mut text = describe_call(&ordered.call, names);
    if ordered.ignore_nulls {
        text.push_str(" ignore nulls");
    }
    if !ordered.order.is_empty() {
        write!(text, " order by {}", order(&ordered.order, names)).expect("a string takes any text");
    }
    text
}

/// `ORDER BY`, in as few words as PostgreSQL needs.
fn order(keys: &[OrderKey], names: &[String]) -> String {
    let item = |key: &OrderKey| {
        let mut text = render(&key.expression, names);
        if key.descending {
            text.push_str(" desc");
        }
        if key.nulls_first != key.descending {
            text.push_str(if key.nulls_first { " nulls first" } else { " nulls last" });
        }
        text
    };
    keys.iter().map(item).collect::<Vec<_>>().join(", ")
}
