//! Follows a path into a value.

use std::cmp::Ordering;

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use datafusion::common::Result;

use super::number::{apply, json_of};
use super::{Comparison, Method, Node, Path, Step};
use crate::error::{DataError, ErrorKind};
use crate::functions::definition::invalid;
use crate::functions::jsonb::value::Json;
use crate::functions::pattern::{self, Pattern};

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    fn of(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }

    fn item(self) -> Json {
        match self {
            Self::True => Json::Bool(true),
            Self::False => Json::Bool(false),
            Self::Unknown => Json::Null,
        }
    }
}

/// A path over a value.
pub(crate) struct Evaluation<'a> {
    pub(crate) path: &'a Path,
    pub(crate) root: &'a Json,
    /// An object: the values of `$name`.
    pub(crate) variables: &'a Json,
}

/// Where an expression is evaluated.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// `@`
    current: &'a Json,
    /// `last`: the length of the innermost array that is subscribed.
    length: Option<usize>,
    /// Whether what isn't there is no mistake, though the path is strict: behind `.**`.
    lenient: bool,
}

/// `Err` for a mistake that `silent` leaves out.
fn fails<T>(error: DataError, message: impl Into<String>) -> Result<T> {
    Err(crate::Error::new(ErrorKind::Data(error), message).into())
}

/// Whether an error is one of following a path, not of the path itself.
pub(crate) fn is_suppressible(error: &crate::Error) -> bool {
    matches!(error.kind, ErrorKind::Data(_) | ErrorKind::DivisionByZero | ErrorKind::OutOfRange)
}

impl Evaluation<'_> {
    /// All that the path finds.
    pub(crate) fn items(&self) -> Result<Vec<Json>> {
        self.node(&self.path.root, Scope { current: self.root, length: None, lenient: self.path.lax })
    }

    fn node(&self, node: &Node, scope: Scope<'_>) -> Result<Vec<Json>> {
        Ok(match node {
            Node::Root => vec![self.root.clone()],
            Node::Current => vec![scope.current.clone()],
            Node::Last => match scope.length {
                Some(length) => vec![Json::Number((length as i64 - 1).to_string())],
                None => {
                    let message = "LAST is allowed only in array subscripts";
                    return Err(crate::Error::new(ErrorKind::Syntax, message).into());
                }
            },
            Node::Variable(name) => match self.variables.member(name) {
                Some(value) => vec![value.clone()],
                None => {
                    let message = format!("could not find jsonpath variable \"{name}\"");
                    return Err(crate::Error::new(ErrorKind::UndefinedObject, message).into());
                }
            },
            Node::Literal(value) => vec![value.clone()],
            Node::Step(inner, step) => {
                let below = matches!(&**inner, Node::Step(_, Step::Below(..)));
                let scope_of_step = Scope { lenient: scope.lenient || below, ..scope };
                let mut found = Vec::new();
                for item in self.node(inner, scope)? {
                    self.step(step, &item, scope_of_step, &mut found)?;
                }
                found
            }
            Node::Arithmetic(op, left, right) => {
                let side = |node: &Node, name: &str| -> Result<BigDecimal> {
                    let items = self.unwrapped(node, scope)?;
                    match items.as_slice() {
                        [item] if item.number().is_some() => Ok(item.number().unwrap_or_default()),
                        _ => fails(
                            DataError::JsonSingleton,
                            format!(
                                "{name} operand of jsonpath operator {} is not a single numeric value",
                                op.symbol()
                            ),
                        ),
                    }
                };
                match apply(*op, &side(left, "left")?, &side(right, "right")?) {
                    Some(number) => vec![json_of(&number)],
                    None => return Err(crate::Error::new(ErrorKind::DivisionByZero, "division by zero").into()),
                }
            }
            Node::Sign(minus, inner) => {
                let signed = |item: Json| match item.number() {
                    Some(number) => Ok(json_of(&if *minus { -number } else { number })),
                    None => fails(
                        DataError::JsonNumber,
                        format!(
                            "operand of unary jsonpath operator {} is not a numeric value",
                            if *minus { '-' } else { '+' }
                        ),
                    ),
                };
                self.unwrapped(inner, scope)?.into_iter().map(signed).collect::<Result<_>>()?
            }
            predicate => vec![self.truth(predicate, scope)?.item()],
        })
    }

    /// Items, with arrays taken apart in lax mode.
    fn unwrapped(&self, node: &Node, scope: Scope<'_>) -> Result<Vec<Json>> {
        let items = self.node(node, scope)?;
        if !self.path.lax {
            return Ok(items);
        }
        Ok(items
            .into_iter()
            .flat_map(|item| match item {
                Json::Array(elements) => elements,
                other => vec![other],
            })
            .collect())
    }

    fn step(&self, step: &Step, item: &Json, scope: Scope<'_>, found: &mut Vec<Json>) -> Result<()> {
        // In lax mode these go into the elements of an array.
        let goes_into = matches!(step, Step::Member(_) | Step::Members | Step::Filter(_))
            || matches!(
                step,
                Step::Method(Method::Double | Method::Ceiling | Method::Floor | Method::Abs | Method::KeyValue)
            );
        if let (Json::Array(elements), true, true) = (item, goes_into, self.path.lax) {
            return elements.iter().try_for_each(|element| self.picked(step, element, scope, found));
        }
        self.picked(step, item, scope, found)
    }

    fn picked(&self, step: &Step, item: &Json, scope: Scope<'_>, found: &mut Vec<Json>) -> Result<()> {
        match step {
            Step::Member(name) => match (item, item.member(name)) {
                (_, Some(value)) => found.push(value.clone()),
                (Json::Object(_), None) if !scope.lenient => {
                    return fails(DataError::JsonMember, format!("JSON object does not contain key \"{name}\""));
                }
                (Json::Object(_), None) => {}
                _ if !scope.lenient => {
                    return fails(DataError::JsonMember, "jsonpath member accessor can only be applied to an object");
                }
                _ => {}
            },
            Step::Members => match item {
                Json::Object(members) => found.extend(members.iter().map(|(_, value)| value.clone())),
                _ if !scope.lenient => {
                    let message = "jsonpath wildcard member accessor can only be applied to an object";
                    return fails(DataError::JsonObject, message);
                }
                _ => {}
            },
            Step::Below(from, until) => below(item, 0, (*from, *until), found),
            Step::AllElements => match item {
                Json::Array(elements) => found.extend(elements.iter().cloned()),
                other if scope.lenient => found.push(other.clone()),
                _ => {
                    let message = "jsonpath wildcard array accessor can only be applied to an array";
                    return fails(DataError::JsonArray, message);
                }
            },
            Step::Elements(ranges) => self.elements(ranges, item, scope, found)?,
            Step::Filter(condition) => {
                if self.truth(condition, Scope { current: item, ..scope })? == Truth::True {
                    found.push(item.clone());
                }
            }
            Step::Method(method) => self.method(*method, item, found)?,
        }
        Ok(())
    }

    fn elements(
        &self,
        ranges: &[(Node, Option<Node>)],
        item: &Json,
        scope: Scope<'_>,
        found: &mut Vec<Json>,
    ) -> Result<()> {
        let elements = match item {
            Json::Array(elements) => elements.as_slice(),
            other if scope.lenient => std::slice::from_ref(other),
            _ => return fails(DataError::JsonArray, "jsonpath array accessor can only be applied to an array"),
        };
        let inner = Scope { length: Some(elements.len()), ..scope };
        for (from, until) in ranges {
            let first = self.subscript(from, inner)?;
            let last = until.as_ref().map_or(Ok(first), |until| self.subscript(until, inner))?;
            if !scope.lenient && (first < 0 || first > last || last >= elements.len() as i64) {
                return fails(DataError::JsonSubscript, "jsonpath array subscript is out of bounds");
            }
            let range = first.max(0)..=last.min(elements.len() as i64 - 1);
            found.extend(range.filter_map(|index| elements.get(index as usize).cloned()));
        }
        Ok(())
    }

    fn subscript(&self, node: &Node, scope: Scope<'_>) -> Result<i64> {
        match self.node(node, scope)?.as_slice() {
            [item] if item.number().is_some() => {
                let number = item.number().unwrap_or_default().with_scale_round(0, RoundingMode::Down);
                match number.to_i32() {
                    Some(index) => Ok(i64::from(index)),
                    None => fails(DataError::JsonSubscript, "jsonpath array subscript is out of integer range"),
                }
            }
            _ => fails(DataError::JsonSubscript, "jsonpath array subscript is not a single numeric value"),
        }
    }

    fn method(&self, method: Method, item: &Json, found: &mut Vec<Json>) -> Result<()> {
        let name = method.name();
        let rounded = |mode: RoundingMode| match item.number() {
            Some(number) => Ok(json_of(&number.with_scale_round(0, mode))),
            None => fails(
                DataError::JsonNonNumeric,
                format!("jsonpath item method .{name}() can only be applied to a numeric value"),
            ),
        };
        match method {
            Method::Type => found.push(Json::String(item.kind().to_owned())),
            Method::Size => match item {
                Json::Array(elements) => found.push(Json::Number(elements.len().to_string())),
                _ if self.path.lax => found.push(Json::Number("1".to_owned())),
                _ => {
                    return fails(DataError::JsonArray, "jsonpath item method .size() can only be applied to an array");
                }
            },
            Method::Ceiling => found.push(rounded(RoundingMode::Ceiling)?),
            Method::Floor => found.push(rounded(RoundingMode::Floor)?),
            Method::Abs => match item.number() {
                Some(number) => found.push(json_of(&number.abs())),
                None => return rounded(RoundingMode::Down).map(|_| ()),
            },
            Method::Double => found.push(double(item)?),
            Method::KeyValue => match item {
                Json::Object(members) => {
                    for (key, value) in members {
                        found.push(Json::object(vec![
                            ("id".to_owned(), Json::Number("0".to_owned())),
                            ("key".to_owned(), Json::String(key.clone())),
                            ("value".to_owned(), value.clone()),
                        ]));
                    }
                }
                _ => {
                    let message = "jsonpath item method .keyvalue() can only be applied to an object";
                    return fails(DataError::JsonObject, message);
                }
            },
        }
        Ok(())
    }

    /// What a condition says. A mistake within it makes it unknown.
    fn truth(&self, node: &Node, scope: Scope<'_>) -> Result<Truth> {
        Ok(match node {
            Node::And(left, right) => match self.truth(left, scope)? {
                Truth::False => Truth::False,
                left => match (left, self.truth(right, scope)?) {
                    (_, Truth::False) => Truth::False,
                    (Truth::True, Truth::True) => Truth::True,
                    _ => Truth::Unknown,
                },
            },
            Node::Or(left, right) => match self.truth(left, scope)? {
                Truth::True => Truth::True,
                left => match (left, self.truth(right, scope)?) {
                    (_, Truth::True) => Truth::True,
                    (Truth::False, Truth::False) => Truth::False,
                    _ => Truth::Unknown,
                },
            },
            Node::Not(inner) => match self.truth(inner, scope)? {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            },
            Node::IsUnknown(inner) => Truth::of(self.truth(inner, scope)? == Truth::Unknown),
            Node::Exists(inner) => match tried(self.node(inner, scope))? {
                Some(items) => Truth::of(!items.is_empty()),
                None => Truth::Unknown,
            },
            Node::Compare(comparison, left, right) => {
                self.pairs(left, Some(right), scope, |left, right| compared(*comparison, left, right))?
            }
            Node::StartsWith(inner, prefix) => {
                self.pairs(inner, Some(prefix), scope, |text, prefix| match (text, prefix) {
                    (Json::String(text), Json::String(prefix)) => Truth::of(text.starts_with(prefix)),
                    _ => Truth::Unknown,
                })?
            }
            Node::LikeRegex(inner, pattern, flags) => {
                let pattern = like_regex(pattern, flags)?;
                self.pairs(inner, None, scope, |text, _| match text {
                    Json::String(text) => pattern.is_match(text).map_or(Truth::Unknown, Truth::of),
                    _ => Truth::Unknown,
                })?
            }
            other => match self.node(other, scope)?.as_slice() {
                [Json::Bool(value)] => Truth::of(*value),
                _ => Truth::Unknown,
            },
        })
    }

    /// Holds if it does for some pair of items: in lax mode the first one that says something decides, in strict mode a mistake makes it unknown.
    fn pairs(
        &self,
        left: &Node,
        right: Option<&Node>,
        scope: Scope<'_>,
        holds: impl Fn(&Json, &Json) -> Truth,
    ) -> Result<Truth> {
        let Some(lefts) = tried(self.unwrapped(left, scope))? else { return Ok(Truth::Unknown) };
        let rights = match right {
            None => vec![Json::Null],
            Some(right) => match tried(self.unwrapped(right, scope))? {
                Some(items) => items,
                None => return Ok(Truth::Unknown),
            },
        };
        let (mut holding, mut unknown) = (false, false);
        for left in &lefts {
            for right in &rights {
                match holds(left, right) {
                    Truth::Unknown if !self.path.lax => return Ok(Truth::Unknown),
                    Truth::Unknown => unknown = true,
                    Truth::True if self.path.lax => return Ok(Truth::True),
                    Truth::True => holding = true,
                    Truth::False => {}
                }
            }
        }
        Ok(match (holding, unknown) {
            (true, _) => Truth::True,
            (_, true) => Truth::Unknown,
            _ => Truth::False,
        })
    }
}

/// `None` for a mistake that a condition takes for unknown.
fn tried(items: Result<Vec<Json>>) -> Result<Option<Vec<Json>>> {
    match items {
        Ok(items) => Ok(Some(items)),
        Err(error) => {
            let error = crate::Error::from(error);
            if is_suppressible(&error) { Ok(None) } else { Err(error.into()) }
        }
    }
}

fn below(item: &Json, level: u32, (from, until): (Option<u32>, Option<u32>), found: &mut Vec<Json>) {
    let children: Vec<&Json> = match item {
        Json::Array(elements) => elements.iter().collect(),
        Json::Object(members) => members.iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    };
    // `{last}` is where there is nothing below.
    let within = match from {
        Some(from) => level >= from,
        None => children.is_empty(),
    };
    if within && until.is_none_or(|until| level <= until) {
        found.push(item.clone());
    }
    if until.is_none_or(|until| level < until) {
        for child in children {
            below(child, level + 1, (from, until), found);
        }
    }
}

fn double(item: &Json) -> Result<Json> {
    match item {
        Json::Number(digits) => match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(item.clone()),
            _ => fails(
                DataError::JsonNonNumeric,
                "numeric argument of jsonpath item method .double() is out of range for type double precision",
            ),
        },
        Json::String(text) => {
            let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
            match value.and_then(|value| value.to_string().parse::<BigDecimal>().ok()) {
                Some(number) => Ok(json_of(&number)),
                None => fails(
                    DataError::JsonNonNumeric,
                    "string argument of jsonpath item method .double() is not a valid representation of a double precision number",
                ),
            }
        }
        _ => fails(
            DataError::JsonNonNumeric,
            "jsonpath item method .double() can only be applied to a string or numeric value",
        ),
    }
}

fn compared(comparison: Comparison, left: &Json, right: &Json) -> Truth {
    let order = match (left, right) {
        (Json::Null, Json::Null) => Ordering::Equal,
        // Null is unequal to everything else, and neither above nor below it.
        (Json::Null, _) | (_, Json::Null) => return Truth::of(comparison == Comparison::NotEqual),
        (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
        (Json::String(left), Json::String(right)) => left.cmp(right),
        (Json::Number(_), Json::Number(_)) => match (left.number(), right.number()) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => return Truth::Unknown,
        },
        _ => return Truth::Unknown,
    };
    Truth::of(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterEqual => order != Ordering::Less,
    })
}

/// The pattern of `like_regex`: without the flag `s` a point matches no line break.
pub(super) fn like_regex(pattern: &str, flags: &str) -> Result<Pattern> {
    let mut ours = String::new();
    let (mut dot_all, mut lines) = (false, false);
    for flag in flags.chars() {
        match flag {
            'i' | 'q' => ours.push(flag),
            's' => dot_all = true,
            'm' => lines = true,
            'x' => {
                let message = "XQuery \"x\" flag (expanded regular expressions) is not implemented";
                return Err(crate::Error::new(ErrorKind::Unsupported, message).into());
            }
            other => return invalid(format!("unrecognized flag character \"{other}\" in LIKE_REGEX predicate")),
        }
    }
    match (dot_all, lines) {
        (false, false) => ours.push('p'),
        (false, true) => ours.push('n'),
        (true, true) => ours.push('w'),
        (true, false) => {}
    }
    pattern::compile(pattern, &ours)
}
