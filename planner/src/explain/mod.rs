//! EXPLAIN of a view: its operators as a tree, with real column names and the state that each keeps. [`mod@logical`] is EXPLAIN of a query,
//! [`expression`] an expression in SQL, [`words`] what DataFusion has described itself.

mod expression;
mod growth;
mod logical;
mod words;

mod partition;

use std::fmt::Write;

use catalog::{LatePolicy, ObjectId};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;

pub(crate) use expression::sql;
pub use growth::growth;
pub(crate) use growth::{growth_notice, growth_of_view};
pub(crate) use logical::logical;
pub use words::sql_words;

use crate::fingerprint::join_name;
use crate::incremental::{
    AggregateCall, AsOf, Forgotten, GroupWindow, Hole, Join, JoinKind, Map, Node, OnError, Recursive, Session,
    TemporalJoin, ViewPlan, Window, WindowKind,
};

/// The plan as a tree, one operator per line, its inputs and state tables below it.
pub fn incremental(plan: &ViewPlan, relation_name: &dyn Fn(ObjectId) -> String) -> String {
    running(plan, relation_name, &|_| None)
}

/// As [`incremental`], with what is known about an operator behind its line.
pub fn running(
    plan: &ViewPlan,
    relation_name: &dyn Fn(ObjectId) -> String,
    known: &dyn Fn(&Node) -> Option<String>,
) -> String {
    let mut out = String::new();
    let names: Vec<&str> = plan.schema.fields().iter().map(|field| field.name().as_str()).collect();
    write(&mut out, format_args!("View ({})", names.join(", ")));
    if !plan.key.is_empty() {
        let key: Vec<&str> = plan.key.iter().map(|index| names[*index]).collect();
        write(&mut out, format_args!(" key ({})", key.join(", ")));
    }
    if plan.append_only {
        out.push_str(" append-only");
    }
    out.push('\n');
    Explain { relation_name, known, out: &mut out }.node(&plan.root, 1);
    out
}

/// One operator in a line, without its inputs: how system views name it.
pub fn operator(node: &Node, relation_name: &dyn Fn(ObjectId) -> String) -> String {
    let mut out = String::new();
    let explain = Explain { relation_name, known: &|_| None, out: &mut out };
    let names: Vec<Vec<String>> = node.inputs().iter().map(|input| explain.names(input)).collect();
    explain.describe(node, &names)
}

/// What a person calls the columns of a node's output: as in the relation that they come from, else by what computes them.
pub fn column_labels(node: &Node) -> Vec<String> {
    Explain { relation_name: &|_| String::new(), known: &|_| None, out: &mut String::new() }.names(node)
}

struct Explain<'a> {
    relation_name: &'a dyn Fn(ObjectId) -> String,
    known: &'a dyn Fn(&Node) -> Option<String>,
    out: &'a mut String,
}

impl Explain<'_> {
    fn node(&mut self, node: &Node, depth: usize) {
        let inputs = node.inputs();
        let names: Vec<Vec<String>> = inputs.iter().map(|input| self.names(input)).collect();
        let mut line = self.describe(node, &names);
        if node.on_error() == Some(OnError::Null) {
            line.push_str("; NULL on error");
        }
        if let Some(known) = (self.known)(node) {
            write(&mut line, format_args!(" ({known})"));
        }
        self.line(depth, &line);
        for table in node.state_tables() {
            let columns = &names[table.input];
            let key = table.key.map_or_else(|| columns.join(", "), |key| list(&key, columns));
            self.line(depth + 1, &format!("state {}: ({key}) -> {}", table.role, table.value));
        }
        if let Node::Recursive(recursive) = node {
            return self.recursion(recursive, depth + 1);
        }
        for input in inputs {
            self.node(input, depth + 1);
        }
    }

    /// What a recursion begins with, what it does over and over, and what that reads.
    fn recursion(&mut self, recursive: &Recursive, depth: usize) {
        self.line(depth, "begins with");
        self.node(&recursive.base, depth + 1);
        self.line(depth, "again and again, until nothing comes");
        self.node(&recursive.step, depth + 1);
        for (number, outer) in (1..).zip(&recursive.outers) {
            self.line(depth, &format!("where input {number} is"));
            self.node(&outer.node, depth + 1);
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        write(self.out, format_args!("{:width$}{text}\n", "", width = 2 * depth));
    }

    fn describe(&self, node: &Node, names: &[Vec<String>]) -> String {
        match node {
            Node::Input(input) => {
                let kind = if input.append_only { "append-only" } else { "changing" };
                format!("Input {} ({kind})", (self.relation_name)(input.relation))
            }
            Node::Map(map) => describe_map(map, &names[0]),
            Node::Window(window) => self.describe_window(window, &names[0]),
            Node::Session(session) => self.describe_session(session, &names[0]),
            Node::TemporalFilter(filter) => {
                let bound = |word: &str, columns: &[usize], between: &str| match columns {
                    [] => String::new(),
                    columns => {
                        let columns: Vec<&str> = columns.iter().map(|column| names[0][*column].as_str()).collect();
                        format!(" {word} {}", columns.join(between))
                    }
                };
                let (from, until) = (bound("from", &filter.from, " and "), bound("until", &filter.until, " or "));
                format!("TemporalFilter{from}{until}")
            }
            Node::Aggregate(aggregate) => {
                let calls: Vec<_> = aggregate.calls.iter().map(|call| describe_call(call, &names[0])).collect();
                let mut text = "Aggregate".to_owned();
                if !aggregate.keys.is_empty() {
                    write(&mut text, format_args!(" by {}", list(&aggregate.keys, &names[0])));
                }
                if !calls.is_empty() {
                    write(&mut text, format_args!(": {}", calls.join(", ")));
                }
                if let Some(window) = &aggregate.window {
                    text.push_str(&self.closed(window, &aggregate.keys, &names[0]));
                }
                text
            }
            Node::Join(join) => self.describe_join(join, names),
            Node::AsOf(join) => describe_as_of(join, names),
            Node::TemporalJoin(join) => describe_temporal_join(join, names),
            Node::Union(_) => "Union".to_owned(),
            Node::SetOperation(node) => format!("{:?} all", node.kind),
            Node::Unnest(node) => {
                let lists: Vec<&str> = node.lists.iter().map(|list| names[0][*list].as_str()).collect();
                let kept = if node.keeps_empty { "; kept if empty" } else { "" };
                format!("Unnest {}{kept}", lists.join(", "))
            }
            Node::Distinct(_) => format!("Distinct {}", names[0].join(", ")),
            Node::Partition(node) => {
                let mut text = partition::describe(node, &names[0]);
                if let Some(window) = &node.window {
                    text.push_str(&self.closed(window, &node.keys, &names[0]));
                }
                text
            }
            Node::Recursive(recursive) => {
                let union = if recursive.all { "union all" } else { "union" };
                let rounds = if recursive.rounds { "; all rounds anew by each change" } else { "" };
                format!("Recursive {union} {}{rounds}", names[0].join(", "))
            }
            Node::Hole(Hole { index: 0, .. }) => "Rows of the recursion".to_owned(),
            Node::Hole(hole) => format!("Input {} of the recursion", hole.index),
            Node::WindowClose(close) => {
                let end = with_offset(&names[0][close.end], close.offset_us);
                format!("WindowClose at {end} by {}", self.watermark(&close.watermark_of))
            }
            Node::Retention(node) => {
                let end = with_offset(&names[0][node.column], node.offset_us);
                let clock =
                    if node.watermark_of.is_empty() { "now()".to_owned() } else { self.watermark(&node.watermark_of) };
                let silent = if node.silent { "; silently" } else { "" };
                format!("Retention until {end} by {clock}{silent}")
            }
            Node::Idle(node) => format!("Idle {} for {}", names[0].join(", "), duration(node.ttl_us)),
            Node::Forgetful(node) => {
                let of_side = match node.forgotten {
                    Forgotten::Left => " on the left",
                    Forgotten::Right => " on the right",
                    Forgotten::Both | Forgotten::WithOutput => "",
                };
                format!("{}; inexact: forgets idle keys{of_side}", self.describe(&node.of, names))
            }
            Node::Constant(constant) => match constant.rows.as_slice() {
                [row] => format!("Constant {}", list(row, &[])),
                rows => format!("Constant of {} rows", rows.len()),
            },
        }
    }

    fn describe_join(&self, join: &Join, names: &[Vec<String>]) -> String {
        let equals = if join.null_equal { "is not distinct from" } else { "=" };
        let pair = |(l, r): &(Expr, Expr)| format!("{} {equals} {}", render(l, &names[0]), render(r, &names[1]));
        let pairs: Vec<_> = join.on.iter().map(pair).collect();
        let mut text = match pairs.as_slice() {
            [] => format!("Nested loop join {}", join_name(join.kind)),
            pairs => format!("Join {} on {}", join_name(join.kind), pairs.join(" and ")),
        };
        if let Some(residual) = &join.residual {
            let word = if pairs.is_empty() { "on" } else { "and" };
            write(&mut text, format_args!(" {word} {}", render(residual, &names_of_both(names))));
        }
        for (expiry, names) in [(&join.left_expiry, &names[0]), (&join.right_expiry, &names[1])] {
            if let Some(expiry) = expiry {
                let end = with_offset(&names[expiry.column], expiry.offset_us);
                write(&mut text, format_args!("; over at {end} by {}", self.watermark(&expiry.watermark_of)));
            }
        }
        text
    }

    /// When groups are complete.
    fn closed(&self, window: &GroupWindow, keys: &[Expr], names: &[String]) -> String {
        let end = with_offset(&render(&keys[window.end_key], names), window.offset_us);
        format!("; closed at {end} by {}", self.watermark(&window.watermark_of))
    }

    fn describe_window(&self, window: &Window, names: &[String]) -> String {
        let time = &names[window.time];
        let mut text = window_by(window.kind, time);
        text.push_str(&self.describe_late(&window.watermark_of, window.late));
        text
    }

    fn describe_session(&self, session: &Session, names: &[String]) -> String {
        let mut text = session_by(session, names);
        text.push_str(&self.describe_late(&session.watermark_of, session.late));
        text
    }

    /// What happens to late rows, if there are any.
    fn describe_late(&self, watermark_of: &[ObjectId], late: LatePolicy) -> String {
        if watermark_of.is_empty() {
            return String::new();
        }
        let late = match late {
            LatePolicy::Drop => "dropped",
            LatePolicy::DeadLetter => "dead letters",
        };
        format!("; late by {}: {late}", self.watermark(watermark_of))
    }

    fn watermark(&self, sources: &[ObjectId]) -> String {
        let names: Vec<_> = sources.iter().map(|id| (self.relation_name)(*id)).collect();
        format!("watermark({})", names.join(", "))
    }

    /// What the columns of a node's output are called: as in the relation that they come from, else by what computes them.
    fn names(&self, node: &Node) -> Vec<String> {
        let of = |input: &Node| self.names(input);
        match node {
            Node::Input(input) => input.schema.fields().iter().map(|field| field.name().clone()).collect(),
            Node::Map(map) => {
                let names = of(&map.input);
                map.expressions.iter().map(|expression| render(expression, &names)).collect()
            }
            Node::Window(window) => {
                let mut names = of(&window.input);
                names.extend(["window_start".to_owned(), "window_end".to_owned()]);
                names
            }
            Node::Session(session) => {
                [of(&session.input), vec!["window_start".to_owned(), "window_end".to_owned()]].concat()
            }
            Node::TemporalFilter(filter) => of(&filter.input),
            Node::Aggregate(aggregate) => {
                let names = of(&aggregate.input);
                let keys = aggregate.keys.iter().map(|key| render(key, &names));
                keys.chain(aggregate.calls.iter().map(|call| describe_call(call, &names))).collect()
            }
            Node::Join(join) => match join.kind {
                JoinKind::LeftSemi | JoinKind::LeftAnti => of(&join.left),
                JoinKind::RightSemi | JoinKind::RightAnti => of(&join.right),
                _ => [of(&join.left), of(&join.right)].concat(),
            },
            Node::AsOf(join) => [of(&join.left), of(&join.right)].concat(),
            Node::TemporalJoin(join) => [of(&join.left), of(&join.right)].concat(),
            Node::Union(union) => union.inputs.first().map(|input| of(input)).unwrap_or_default(),
            Node::SetOperation(node) => of(&node.left),
            Node::Unnest(node) => {
                let names = of(&node.input);
                let name = |column: &usize| match node.lists.contains(column) {
                    true => format!("unnest({})", names[*column]),
                    false => names[*column].clone(),
                };
                node.columns.iter().map(name).collect()
            }
            Node::Distinct(distinct) => of(&distinct.input),
            Node::Partition(node) => partition::column_names(node, of(&node.input)),
            Node::Recursive(recursive) => of(&recursive.base),
            Node::Hole(hole) => hole.schema.fields().iter().map(|field| field.name().clone()).collect(),
            Node::WindowClose(close) => of(&close.input),
            Node::Retention(node) => of(&node.input),
            Node::Idle(node) => of(&node.input),
            Node::Forgetful(node) => of(&node.of),
            Node::Constant(constant) => match constant.rows.as_slice() {
                [row] => row.iter().map(|value| render(value, &[])).collect(),
                _ => (1..=constant.schema.fields().len()).map(|index| format!("column{index}")).collect(),
            },
        }
    }
}

/// The columns of both inputs. A name that both have says on which side it is.
fn names_of_both(names: &[Vec<String>]) -> Vec<String> {
    let qualified = |side: &str, own: &[String], other: &[String]| -> Vec<String> {
        let of = |name: &String| if other.contains(name) { format!("{side}.{name}") } else { name.clone() };
        own.iter().map(of).collect()
    };
    [qualified("left", &names[0], &names[1]), qualified("right", &names[1], &names[0])].concat()
}

fn equalities(on: &[(Expr, Expr)], names: &[Vec<String>]) -> Vec<String> {
    on.iter().map(|(l, r)| format!("{} = {}", render(l, &names[0]), render(r, &names[1]))).collect()
}

fn describe_as_of(join: &AsOf, names: &[Vec<String>]) -> String {
    let kind = if join.outer { "left" } else { "inner" };
    let (left, right) = (render(&join.times.0, &names[0]), render(&join.times.1, &names[1]));
    let mut text = format!("AsOf join {kind} on nearest {left} {} {right}", join.nearest.operator());
    for pair in equalities(&join.on, names) {
        write(&mut text, format_args!(" and {pair}"));
    }
    text
}

fn describe_temporal_join(join: &TemporalJoin, names: &[Vec<String>]) -> String {
    let kind = if join.outer { "left" } else { "inner" };
    let mut text = format!("Temporal join {kind} on {}", equalities(&join.on, names).join(" and "));
    if let Some(residual) = &join.residual {
        write(&mut text, format_args!(" and {}", render(residual, &names_of_both(names))));
    }
    text
}

fn describe_map(map: &Map, names: &[String]) -> String {
    let mut text = format!("Map {}", list(&map.expressions, names));
    if let Some(predicate) = &map.predicate {
        write(&mut text, format_args!(" where {}", render(predicate, names)));
    }
    text
}

fn describe_call(call: &AggregateCall, names: &[String]) -> String {
    let distinct = if call.distinct { "distinct " } else { "" };
    let args = if call.args.is_empty() { "*".to_owned() } else { list(&call.args, names) };
    let mut text = format!("{}({distinct}{args})", call.function.name());
    if let Some(filter) = &call.filter {
        write(&mut text, format_args!(" filter ({})", render(filter, names)));
    }
    text
}

fn list(expressions: &[Expr], names: &[String]) -> String {
    let rendered: Vec<_> = expressions.iter().map(|expression| render(expression, names)).collect();
    rendered.join(", ")
}

/// An expression with names instead of numbers.
fn render(expression: &Expr, names: &[String]) -> String {
    let named = expression.clone().transform_up(|expression| match crate::lower::column_index(&expression) {
        Some(index) if index < names.len() => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(names[index].clone()))))
        }
        _ => Ok(Transformed::no(expression)),
    });
    match named {
        Ok(named) => sql(&named.data),
        Err(_) => sql(expression),
    }
}

fn with_offset(column: &str, offset_us: i64) -> String {
    if offset_us == 0 { column.to_owned() } else { format!("{column} + {}", duration(offset_us)) }
}

/// Windows as a plan names them: `Tumble ordered_at size 1m`.
pub fn window_by(kind: WindowKind, time: &str) -> String {
    match kind {
        WindowKind::Tumble { size_us } => format!("Tumble {time} size {}", duration(size_us)),
        WindowKind::Hop { slide_us, size_us } => {
            format!("Hop {time} slide {} size {}", duration(slide_us), duration(size_us))
        }
        WindowKind::Cumulate { step_us, size_us } => {
            format!("Cumulate {time} step {} size {}", duration(step_us), duration(size_us))
        }
    }
}

/// Sessions as a plan names them: `Session at gap 5m by customer`.
pub fn session_by(session: &Session, names: &[String]) -> String {
    let mut text = format!("Session {} gap {}", names[session.time], duration(session.gap_us));
    if !session.keys.is_empty() {
        let keys: Vec<&str> = session.keys.iter().map(|key| names[*key].as_str()).collect();
        write(&mut text, format_args!(" by {}", keys.join(", ")));
    }
    text
}

/// A length of time in the largest unit that says it exactly.
fn duration(us: i64) -> String {
    const UNITS: [(i64, &str); 5] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1000, "ms")];
    match UNITS.iter().find(|(unit, _)| us % unit == 0) {
        Some((unit, name)) => format!("{}{name}", us / unit),
        None => format!("{us}us"),
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}
