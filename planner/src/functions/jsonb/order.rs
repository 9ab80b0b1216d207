//! jsonb values in PostgreSQL's order, as bytes that compare like the values: objects above arrays, booleans, numbers, strings and null; the shorter
//! array or object first; numbers by value, whatever their digits.

use std::sync::Arc;

use arrow::array::BinaryViewBuilder;
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::value::Json;
use crate::functions::definition::{Definition, arrays, columnar};
use crate::functions::text::as_views;

pub(super) fn functions() -> Vec<Definition> {
    vec![Definition::new("jsonb_sort_key", Signature::any(1, Volatility::Immutable), |_| Ok(SqlType::Bytea), sort_keys)]
}

fn sort_keys(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = BinaryViewBuilder::new();
    let mut key = Vec::new();
    for json in &as_views(&columns[0])? {
        match json {
            None => builder.append_null(),
            Some(text) => {
                key.clear();
                match Json::parse(text)? {
                    // PostgreSQL has the empty array below everything, if it is the whole value.
                    Json::Array(elements) if elements.is_empty() => key.push(0),
                    json => push(&json, &mut key),
                }
                builder.append_value(&key);
            }
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn push(json: &Json, key: &mut Vec<u8>) {
    match json {
        Json::Null => key.push(1),
        Json::String(text) => {
            key.push(2);
            push_text(text, key);
        }
        Json::Number(digits) => {
            key.push(3);
            push_number(digits, key);
        }
        Json::Bool(value) => key.extend([4, u8::from(*value)]),
        Json::Array(elements) => {
            key.push(5);
            key.extend((elements.len() as u32).to_be_bytes());
            elements.iter().for_each(|element| push(element, key));
        }
        Json::Object(members) => {
            key.push(6);
            key.extend((members.len() as u32).to_be_bytes());
            for (name, value) in members {
                push_text(name, key);
                push(value, key);
            }
        }
    }
}

/// A text and its end: a zero byte within is told from the end by what follows.
fn push_text(text: &str, key: &mut Vec<u8>) {
    for byte in text.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend([0, 0]);
}

/// Sign, number of digits before the point, digits. Of a negative number everything is turned around.
fn push_number(digits: &str, key: &mut Vec<u8>) {
    let (negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        key.push(1);
        return;
    }
    let exponent = whole.len() as i64 - (all.len() - significant.len()) as i64;
    key.push(if negative { 0 } else { 2 });
    let start = key.len();
    // Far from its bounds on either side: a number has some hundred thousand digits at most.
    key.extend(((exponent + (1 << 31)) as u32).to_be_bytes());
    key.extend(significant.trim_end_matches('0').bytes());
    key.push(0);
    if negative {
        key[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_the_values() {
        let key = |text: &str| {
            let mut key = Vec::new();
            push(&Json::parse(text).unwrap(), &mut key);
            key
        };
        let sorted = [
            "null",
            "\"\"",
            "\"a\"",
            "\"ab\"",
            "-100",
            "-2.5",
            "-2",
            "-0.05",
            "0",
            "0.001",
            "0.5",
            "1",
            "9",
            "10",
            "100.5",
            "false",
            "true",
            "[3]",
            "[1, 2]",
            "[1, 3]",
            "{}",
            "{\"a\": 1}",
            "{\"a\": 2}",
            "{\"b\": 0}",
        ];
        for pair in sorted.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
        assert_eq!(key("1"), key("1.00"));
        assert_eq!(key("{\"a\": 10}"), key("{\"a\": 1e1}"));
    }
}
