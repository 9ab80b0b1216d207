//! SQL/JSON paths: `$.a[*] ? (@ > 1)`. [`parse`] reads one, [`eval`] follows it into a value.
//!
//! Items are copied as they are found: values are small, and a path is read once for a batch where it is a constant.

mod eval;
mod number;
mod parse;

use super::value::Json;

pub(crate) use eval::{Evaluation, is_suppressible};

/// A path, ready to be followed.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// In lax mode arrays are taken apart where an element is wanted, and what isn't there is no mistake.
    pub(super) lax: bool,
    pub(super) root: Node,
}

/// An expression; each gives a sequence of items. A predicate gives one: true, false, or null for unknown.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// `$`
    Root,
    /// `@`
    Current,
    /// `last`, within a subscript.
    Last,
    /// `$name`
    Variable(String),
    Literal(Json),
    /// An expression and what is picked from its items.
    Step(Box<Node>, Step),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    /// `+x` and `-x`; true for minus.
    Sign(bool, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    IsUnknown(Box<Node>),
    Exists(Box<Node>),
    /// A pattern and its flags.
    LikeRegex(Box<Node>, String, String),
    StartsWith(Box<Node>, Box<Node>),
}

impl Node {
    /// Whether it is a condition.
    pub(super) fn is_predicate(&self) -> bool {
        matches!(
            self,
            Self::Compare(..)
                | Self::And(..)
                | Self::Or(..)
                | Self::Not(..)
                | Self::IsUnknown(..)
                | Self::Exists(..)
                | Self::LikeRegex(..)
                | Self::StartsWith(..)
        )
    }
}

/// What is picked from an item.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// `.name`
    Member(String),
    /// `.*`
    Members,
    /// `.**{from to until}`: levels below the item, 0 the item itself; `None` for the last level.
    Below(Option<u32>, Option<u32>),
    /// `[i, j to k]`
    Elements(Vec<(Node, Option<Node>)>),
    /// `[*]`
    AllElements,
    /// `? (condition)`
    Filter(Box<Node>),
    /// `.type()` and its like.
    Method(Method),
}

/// A method without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Size => "size",
            Self::Double => "double",
            Self::Ceiling => "ceiling",
            Self::Floor => "floor",
            Self::Abs => "abs",
            Self::KeyValue => "keyvalue",
        }
    }
}

/// An operator between two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Arithmetic {
    pub(super) fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Modulo => '%',
        }
    }
}

/// A comparison of two items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a path finds, or what is wrong.
    fn found(json: &str, path: &str) -> String {
        let json = Json::parse(json).unwrap();
        let found = Path::parse(path).and_then(|path| {
            let none = Json::Object(Vec::new());
            Evaluation { path: &path, root: &json, variables: &none }.items()
        });
        match found {
            Ok(items) => Json::Array(items).text(),
            Err(error) => crate::Error::from(error).message,
        }
    }

    #[test]
    fn paths_find_what_postgresql_finds() {
        for (json, path, expected) in [
            (r#"{"a":[1,2,3]}"#, "$.a[*] ? (@ > 1)", "[2, 3]"),
            (r#"{"a":[1,2,3]}"#, "$.a[last, 0 to 1]", "[3, 1, 2]"),
            (r#"{"a":{"b":1},"c":{"b":2}}"#, "$.**.b", "[1, 2]"),
            (r#"{"a":{"b":1}}"#, "$.**{1 to 2}", "[{\"b\": 1}, 1]"),
            (r#"{"a":7}"#, "$.a / 2", "[3.5000000000000000]"),
            (r#"{"a":7}"#, "-$.a + 2 * 3", "[-1]"),
            (r#"{"a":7}"#, "$.a > \"x\"", "[null]"),
            (r#"["abc","x"]"#, "$[*] ? (@ starts with \"ab\" || @ like_regex \"^X\" flag \"i\")", "[\"abc\", \"x\"]"),
            (r#"[1,"x"]"#, "$[*] ? ((@ > 1) is unknown)", "[\"x\"]"),
            (r#"{"a":1}"#, "strict $.b", "JSON object does not contain key \"b\""),
            (r#"{"a":1}"#, "lax $.a[0].b", "[]"),
            (r#"[1]"#, "strict $[5]", "jsonpath array subscript is out of bounds"),
            (r#"{"a":1}"#, "$.keyvalue().key", "[\"a\"]"),
            (r#"[1,2.5,-3.7]"#, "$[*].floor()", "[1, 2, -4]"),
            (r#"{"a":1}"#, "$[", "syntax error at end of jsonpath input"),
            (r#"[[1,2],[3]]"#, "$[*][*] ? (@ != 2)", "[1, 3]"),
            (r#"{"x":[{"y":1},{"y":2}]}"#, "$.x.y", "[1, 2]"),
        ] {
            assert_eq!(found(json, path), expected, "{path}");
        }
    }
}
