//! Reads of a part of a view: by a value, by a range, the first rows in an order. Through a key, an index or neither, they are a part of the whole.

use super::case::sorted;
use super::expression::Kind;
use super::sql::Column;
use crate::support::database::Database;

/// Rows that a query for the first ones wants.
const FIRST: usize = 3;

/// A column whose values have one text each, by a number; `None`: there is none.
pub fn column(columns: &[Column], turn: usize) -> Option<usize> {
    let has_text = |kind: Kind| !matches!(kind, Kind::Float | Kind::Json | Kind::List | Kind::Interval);
    let candidates: Vec<usize> = (0..columns.len()).filter(|place| has_text(columns[*place].kind)).collect();
    (!candidates.is_empty()).then(|| candidates[turn % candidates.len()])
}

/// Reads parts of a view whose rows are known, other ones with each `turn`. What it says is what was wrong.
pub fn check(
    db: &mut Database,
    name: &str,
    columns: &[Column],
    rows: &[Vec<String>],
    turn: usize,
) -> Result<(), String> {
    let Some(place) = column(columns, turn) else { return Ok(()) };
    if rows.is_empty() {
        return Ok(());
    }
    let (by, value) = (&columns[place].name, &rows[turn % rows.len()][place]);
    let literal = format!("'{}'", value.replace('\'', "''"));
    let condition = if value == "NULL" { format!("{by} IS NULL") } else { format!("{by} = {literal}") };
    let expected = rows.iter().filter(|row| row[place] == *value).cloned().collect();
    same(db, &format!("SELECT * FROM {name} WHERE {condition}"), expected)?;
    if value == "NULL" {
        return Ok(());
    }
    let (direction, comparison) = if turn.is_multiple_of(2) { ("", "<=") } else { (" DESC", ">=") };
    let all = ask(db, &format!("SELECT {by} FROM {name} ORDER BY {by}{direction}"))?;
    let known: Vec<_> = all.into_iter().filter(|row| row[0] != "NULL").collect();
    // Up to the value, in order; of those the first.
    let end = known.iter().rposition(|row| row[0] == *value).map_or(0, |last| last + 1);
    let first = known[..end].iter().take(FIRST).cloned().collect();
    let tail = format!("WHERE {by} {comparison} {literal} ORDER BY {by}{direction} LIMIT {FIRST}");
    same(db, &format!("SELECT {by} FROM {name} {tail}"), first)
}

fn ask(db: &mut Database, query: &str) -> Result<Vec<Vec<String>>, String> {
    db.try_run(query).map(|answer| answer.rows).map_err(|error| format!("{error}\n{query}"))
}

fn same(db: &mut Database, query: &str, expected: Vec<Vec<String>>) -> Result<(), String> {
    let (found, expected) = (sorted(ask(db, query)?), sorted(expected));
    if found == expected { Ok(()) } else { Err(format!("{query}\nfound    {found:?}\nexpected {expected:?}")) }
}
