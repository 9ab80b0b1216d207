//! jsonb values made of others: `||`, `-`, `#-`, `jsonb_set`, `jsonb_insert`, `jsonb_strip_nulls`.

use datafusion::common::Result;

use super::value::Json;
use crate::error::{DataError, ErrorKind};
use crate::functions::definition::invalid;

fn fails<T>(kind: ErrorKind, message: String) -> Result<T> {
    Err(crate::Error::new(kind, message).into())
}

/// `left || right`: members of both objects; otherwise the elements of both, what is no array counting as one element.
pub(super) fn concatenated(left: Json, right: Json) -> Json {
    match (left, right) {
        (Json::Object(mut left), Json::Object(right)) => {
            left.extend(right);
            Json::object(left)
        }
        (left, right) => {
            let elements = |json| match json {
                Json::Array(elements) => elements,
                other => vec![other],
            };
            let mut all = elements(left);
            all.extend(elements(right));
            Json::Array(all)
        }
    }
}

/// `json - name`: without the members, or the string elements, of that name.
pub(super) fn without_names(json: Json, names: &[&str]) -> Result<Json> {
    Ok(match json {
        Json::Object(members) => {
            Json::Object(members.into_iter().filter(|(name, _)| !names.contains(&name.as_str())).collect())
        }
        Json::Array(elements) => Json::Array(
            elements
                .into_iter()
                .filter(|element| !matches!(element, Json::String(text) if names.contains(&text.as_str())))
                .collect(),
        ),
        _ => return invalid("cannot delete from scalar".to_owned()),
    })
}

/// `json - index`: without an element; from the end if the index is negative.
pub(super) fn without_element(json: Json, index: i64) -> Result<Json> {
    match json {
        Json::Array(mut elements) => {
            if let Some(at) = position(index, elements.len()) {
                elements.remove(at);
            }
            Ok(Json::Array(elements))
        }
        Json::Object(_) => invalid("cannot delete from object using integer index".to_owned()),
        _ => invalid("cannot delete from scalar".to_owned()),
    }
}

/// `json #- path`.
pub(super) fn without_path(json: &mut Json, path: &[Option<String>]) -> Result<()> {
    if json.is_scalar() {
        return invalid("cannot delete path in scalar".to_owned());
    }
    if path.is_empty() {
        return Ok(());
    }
    change(json, path, 0, &mut |container, step| {
        match (container, step) {
            (Json::Object(members), Step::Name(name)) => members.retain(|(known, _)| known != name),
            (Json::Array(elements), Step::Index(index)) => {
                if let Some(at) = position(index, elements.len()) {
                    elements.remove(at);
                }
            }
            _ => {}
        }
        Ok(())
    })
}

/// `jsonb_set(json, path, new, create)`.
pub(super) fn set(json: &mut Json, path: &[Option<String>], new: &Json, create: bool) -> Result<()> {
    if json.is_scalar() {
        return invalid("cannot set path in scalar".to_owned());
    }
    if path.is_empty() || is_empty(json) && !create {
        return Ok(());
    }
    change(json, path, 0, &mut |container, step| {
        match (container, step) {
            (Json::Object(members), Step::Name(name)) => match members.iter_mut().find(|(known, _)| known == name) {
                Some((_, value)) => *value = new.clone(),
                None if create => {
                    members.push((name.to_owned(), new.clone()));
                    let all = std::mem::take(members);
                    if let Json::Object(sorted) = Json::object(all) {
                        *members = sorted;
                    }
                }
                None => {}
            },
            (Json::Array(elements), Step::Index(index)) => match position(index, elements.len()) {
                Some(at) => elements[at] = new.clone(),
                None if create && index < 0 => elements.insert(0, new.clone()),
                None if create => elements.push(new.clone()),
                None => {}
            },
            _ => {}
        }
        Ok(())
    })
}

/// `jsonb_insert(json, path, new, after)`.
pub(super) fn insert(json: &mut Json, path: &[Option<String>], new: &Json, after: bool) -> Result<()> {
    if json.is_scalar() {
        return invalid("cannot set path in scalar".to_owned());
    }
    if path.is_empty() {
        return Ok(());
    }
    change(json, path, 0, &mut |container, step| {
        match (container, step) {
            (Json::Object(members), Step::Name(name)) => {
                if members.iter().any(|(known, _)| known == name) {
                    let error = crate::Error::new(ErrorKind::InvalidParameterValue, "cannot replace existing key");
                    let hint = "Try using the function jsonb_set to replace key value.";
                    return Err(error.with_hint(hint).into());
                }
                members.push((name.to_owned(), new.clone()));
                if let Json::Object(sorted) = Json::object(std::mem::take(members)) {
                    *members = sorted;
                }
            }
            (Json::Array(elements), Step::Index(index)) => match position(index, elements.len()) {
                Some(at) => elements.insert(at + usize::from(after), new.clone()),
                None if index < 0 => elements.insert(0, new.clone()),
                None => elements.push(new.clone()),
            },
            _ => {}
        }
        Ok(())
    })
}

/// Without members that are null, at any depth.
pub(super) fn stripped(json: Json) -> Json {
    match json {
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(name, value)| (name, stripped(value))).collect())
        }
        Json::Array(elements) => Json::Array(elements.into_iter().map(stripped).collect()),
        other => other,
    }
}

/// Over several lines, four blanks a level.
pub(super) fn pretty(json: &Json, level: usize, out: &mut String) {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"    ".repeat(level));
    };
    match json {
        Json::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                pretty(element, level + 1, out);
            }
            line(level, out);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                line(level + 1, out);
                super::value::write_string(name, out);
                out.push_str(": ");
                pretty(value, level + 1, out);
            }
            line(level, out);
            out.push('}');
        }
        other => other.write(out),
    }
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Object(members) => members.is_empty(),
        Json::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

/// Where in an array an index points; negative ones count from its end.
fn position(index: i64, length: usize) -> Option<usize> {
    let at = if index < 0 { index + length as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// A step of a path, as what it goes into takes it.
enum Step<'a> {
    Name(&'a str),
    Index(i64),
}

/// Follows a path to its last step, and does something to what that one goes into; nothing if the path leads nowhere.
fn change(
    json: &mut Json,
    path: &[Option<String>],
    level: usize,
    edit: &mut dyn FnMut(&mut Json, Step<'_>) -> Result<()>,
) -> Result<()> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    let Some(name) = first else {
        return fails(ErrorKind::Data(DataError::NullValue), format!("path element at position {} is null", level + 1));
    };
    let step = match json {
        Json::Object(_) => Step::Name(name),
        Json::Array(_) => match name.trim().parse() {
            Ok(index) => Step::Index(index),
            Err(_) => {
                let message = format!("path element at position {} is not an integer: \"{name}\"", level + 1);
                return fails(ErrorKind::InvalidText, message);
            }
        },
        _ => return Ok(()),
    };
    if rest.is_empty() {
        return edit(json, step);
    }
    let next = match (&mut *json, &step) {
        (Json::Object(members), Step::Name(name)) => {
            members.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
        }
        (Json::Array(elements), Step::Index(index)) => {
            position(*index, elements.len()).and_then(|at| elements.get_mut(at))
        }
        _ => None,
    };
    match next {
        Some(next) => change(next, rest, level + 1, edit),
        None => Ok(()),
    }
}
