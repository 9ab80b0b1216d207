//! Statements of the simple protocol that differ in their literals only: a client that sends `… WHERE id = 17`, then `… WHERE id = 18`
//! has each planned once, not each time.
//!
//! What is shared is narrow, so that a literal in the place of a parameter can't mean anything else: point queries whose literals are
//! all parts of the key, each an integer for an integer column or text for a text column. Everything else is parsed and planned as
//! it stands.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use planner::statement::plan::Plan;

use super::{Parameter, Prepared, ResultColumn, Session};
use crate::SqlType;

/// Shapes that a session keeps, at most: those of an application, but not those of a tool that writes ever new ones. When there are more,
/// all are forgotten.
const MOST_SHAPES: usize = 128;
/// Longer texts are no point queries.
const MOST_BYTES: usize = 4096;
/// More literals than any key has columns.
const MOST_LITERALS: usize = 16;

/// What is known of a shape.
pub(super) enum Known {
    /// It was seen once: a shape that comes once isn't worth a second plan.
    Seen,
    /// It can't be shared.
    Never,
    Shared(Arc<Prepared>),
}

/// By their texts.
pub(super) type Shapes = HashMap<String, Known>;

/// A text with `$1`, `$2`, … in the place of its literals.
#[derive(Debug, PartialEq)]
struct Shape {
    text: String,
    literals: Vec<Literal>,
}

#[derive(Debug, PartialEq)]
enum Literal {
    Integer(i64),
    Text(String),
}

impl Session {
    /// Runs a text if it is one point query of a shape that has been planned before; gives its columns and all its rows. `None`: it isn't,
    /// or something is in its way, and it is to be parsed and run as any text; nothing has happened yet.
    pub fn query_now(&mut self, text: &str) -> Option<(Arc<[ResultColumn]>, RecordBatch)> {
        // A block's own DDL is gone with it, plans stay.
        if !self.transaction.ddl().is_empty() {
            return None;
        }
        let shape = shape(text)?;
        let prepared = match self.shapes.get(&shape.text) {
            Some(Known::Shared(prepared)) => prepared.clone(),
            Some(Known::Never) => return None,
            Some(Known::Seen) => {
                let shared = self.plan_shape(&shape);
                let known = shared.clone().map_or(Known::Never, Known::Shared);
                self.shapes.insert(shape.text, known);
                shared?
            }
            None => {
                if self.shapes.len() >= MOST_SHAPES {
                    self.shapes.clear();
                }
                self.shapes.insert(shape.text, Known::Seen);
                return None;
            }
        };
        let typed = shape.literals.into_iter().zip(&prepared.parameter_types);
        let parameters = typed.map(|(literal, sql_type)| literal.typed(sql_type)).collect::<Option<Vec<_>>>()?;
        // An error is told by whoever runs the text as it stands: it knows the places in it.
        let rows = self.execute_now(&prepared, &parameters).ok()??;
        Some((prepared.columns.clone()?, rows))
    }

    /// The plan of a shape, if each of its literals is one part of a key.
    fn plan_shape(&self, shape: &Shape) -> Option<Arc<Prepared>> {
        let statements = sql::parse(&shape.text).ok()?;
        let [statement] = statements.as_slice() else { return None };
        let prepared = self.plan(statement, &[]).ok()?;
        let Plan::Query(query) = &prepared.plan else { return None };
        let lookup = query.point_lookup.as_ref()?;
        let mut parameters: Vec<&str> = lookup.key.iter().filter_map(parameter).collect();
        parameters.sort_unstable();
        parameters.dedup();
        let shared = parameters.len() == shape.literals.len()
            && lookup.key.len() == shape.literals.len()
            && prepared.parameter_types.len() == shape.literals.len()
            && lookup.residual.is_none()
            && lookup.columns.is_some();
        shared.then(|| Arc::new(prepared))
    }
}

/// The parameter that an expression is.
fn parameter(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Placeholder(placeholder) => Some(&placeholder.id),
        _ => None,
    }
}

impl Literal {
    /// As a parameter of that type, if PostgreSQL would compare it under that type.
    fn typed(self, sql_type: &SqlType) -> Option<Parameter> {
        match (self, sql_type) {
            (Self::Integer(value), SqlType::BigInt) => Some(ScalarValue::Int64(Some(value))),
            (Self::Integer(value), SqlType::Integer) => Some(ScalarValue::Int32(Some(i32::try_from(value).ok()?))),
            (Self::Integer(value), SqlType::SmallInt) => Some(ScalarValue::Int16(Some(i16::try_from(value).ok()?))),
            (Self::Text(value), SqlType::Text | SqlType::Varchar(_)) => Some(ScalarValue::Utf8View(Some(value))),
            _ => None,
        }
    }
}

/// Takes a SELECT apart, if its literals are easily told: plain integers and plain strings. Comments, other kinds of literals, and
/// anything that could hide one, are `None`.
fn shape(text: &str) -> Option<Shape> {
    let text = text.trim();
    let text = text.strip_suffix(';').unwrap_or(text);
    let is_select = text.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"));
    if !is_select || text.len() > MOST_BYTES {
        return None;
    }
    let bytes = text.as_bytes();
    let mut shape = Shape { text: String::with_capacity(text.len()), literals: Vec::new() };
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        let end = match byte {
            b'\'' => {
                let end = at + 2 + text[at + 1..].find('\'')?;
                // Two quotes are one quote within; a word before it makes another kind of literal, one behind it is a mistake.
                let before = at.checked_sub(1).map(|before| bytes[before]);
                let touched =
                    before.is_some_and(|b| is_word(b) || b == b'&') || bytes.get(end).is_some_and(|b| is_word(*b));
                if touched || bytes.get(end) == Some(&b'\'') {
                    return None;
                }
                shape.push(Literal::Text(text[at + 1..end - 1].to_owned()))?;
                at = end;
                continue;
            }
            b'0'..=b'9' => {
                let end = at + bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
                let before = at.checked_sub(1).map(|before| bytes[before]);
                if before == Some(b'.') || bytes.get(end).is_some_and(|b| is_word(*b) || *b == b'.' || *b == b'\'') {
                    return None;
                }
                shape.push(Literal::Integer(text[at..end].parse().ok()?))?;
                at = end;
                continue;
            }
            b'"' => at + 2 + text[at + 1..].find('"')?,
            b'-' if next == Some(b'-') => return None,
            b'/' if next == Some(b'*') => return None,
            b';' | b'$' | b'\\' => return None,
            _ if is_word(byte) => at + bytes[at..].iter().take_while(|b| is_word(**b)).count(),
            _ => at + 1,
        };
        shape.text.push_str(text.get(at..end)?);
        at = end;
    }
    (!shape.literals.is_empty()).then_some(shape)
}

impl Shape {
    fn push(&mut self, literal: Literal) -> Option<()> {
        self.literals.push(literal);
        self.text.push_str(&format!("${}", self.literals.len()));
        (self.literals.len() <= MOST_LITERALS).then_some(())
    }
}

/// Whether a byte belongs to a word: letters, digits, `_`, `$` and everything beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Option<(String, Vec<Literal>)> {
        shape(text).map(|shape| (shape.text, shape.literals))
    }

    #[test]
    fn literals_are_told_from_what_looks_like_them() {
        let integer = Literal::Integer;
        assert_eq!(
            taken("SELECT a1 FROM t2 WHERE id=17;"),
            Some(("SELECT a1 FROM t2 WHERE id=$1".into(), vec![integer(17)]))
        );
        assert_eq!(
            taken("select \"a 1\" from t where a = 'é; --' and b = 2"),
            Some((
                "select \"a 1\" from t where a = $1 and b = $2".into(),
                vec![Literal::Text("é; --".into()), integer(2)]
            ))
        );
        let left_alone = [
            "SELECT a FROM t",
            "UPDATE t SET a = 1",
            "SELECT a FROM t WHERE id = 1.5",
            "SELECT a FROM t WHERE id = .5",
            "SELECT a FROM t WHERE id = 1e5",
            "SELECT a FROM t WHERE id = 0x10",
            "SELECT a FROM t WHERE id = 99999999999999999999",
            "SELECT a FROM t WHERE id = E'a'",
            "SELECT a FROM t WHERE id = U&'a'",
            "SELECT a FROM t WHERE id = 'it''s'",
            "SELECT a FROM t WHERE id = 'open",
            "SELECT a FROM t WHERE id = $1 AND b = 1",
            "SELECT a FROM t WHERE id = $$a$$ AND b = 1",
            "SELECT a FROM t WHERE id = 1 -- 2",
            "SELECT a FROM t /* 1 */ WHERE id = 1",
            "SELECT a FROM t WHERE id = 1; SELECT 2",
            "SELECT a FROM t WHERE \"id = 1",
        ];
        for text in left_alone {
            assert_eq!(taken(text), None, "{text}");
        }
    }
}
