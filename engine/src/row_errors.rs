//! Rows on which an expression of a view fails: whoever reads the view is told, until such a row is gone.

use std::collections::HashSet;

use catalog::{Catalog, ObjectId};
use dataflow::{PublishedView, RowError};
use storage::Snapshot;

use crate::coordinator::dataflow_error;
use crate::published::Published;
use crate::{Error, Result};

/// Fails if an expression fails, in one of these relations or in what they are made of.
pub(crate) fn check(reads: &[ObjectId], published: &Published) -> Result<()> {
    if published.errors.is_empty() {
        return Ok(());
    }
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let mut open: Vec<ObjectId> = reads.to_vec();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(object) = published.catalog.get(id) else { continue };
        if let Some(errors) = published.errors.get(&id)
            && let Some(first) = read(errors, &published.snapshot, 1)?.into_iter().next()
        {
            return Err(error(&first.0, &format!("In the {} \"{}\"", object.noun(), object.name)));
        }
        open.extend(&object.depends_on);
    }
    Ok(())
}

/// An error of a row as a client sees it.
pub(crate) fn error(found: &RowError, place: &str) -> Error {
    let row = if found.row.is_empty() { String::new() } else { format!(", for the row {}", found.row) };
    let error = planner::Error::new(found.kind, found.message.clone());
    let hint = match found.kind {
        // No row is to blame.
        planner::error::ErrorKind::LimitExceeded if found.row.is_empty() => {
            "Change or delete the rows that lead in a circle, give the recursive term a condition, or write UNION instead of UNION ALL."
        }
        planner::error::ErrorKind::OutOfMemory => {
            "Give the recursive term a condition, change or delete rows that lead to so many, or start the server with a larger --memory-budget; a query that isn't a view writes no state."
        }
        _ => {
            "mr_catalog.view_errors lists such rows. Change or delete them, or make the view WITH (on_error = 'null')."
        }
    };
    Error::from(error).with_detail(format!("{place}{row}.")).with_hint(hint)
}

/// Errors of a view, each with how often it is there; at most `limit`.
pub(crate) fn read(
    errors: &PublishedView,
    snapshot: &std::sync::Arc<dyn Snapshot>,
    limit: usize,
) -> Result<Vec<(RowError, i64)>> {
    let mut found: Vec<(RowError, i64)> = Vec::new();
    for batch in errors.scan(snapshot.clone(), None).map_err(dataflow_error)? {
        for error in RowError::read(&batch.map_err(dataflow_error)?).map_err(dataflow_error)? {
            // Equal ones stand together.
            if let Some((_, count)) = found.last_mut().filter(|(last, _)| *last == error) {
                *count += 1;
                continue;
            }
            if found.len() == limit {
                return Ok(found);
            }
            found.push((error, 1));
        }
    }
    Ok(found)
}

/// The relations with errors, by name.
pub(crate) fn of_all(published: &Published, limit: usize) -> Result<Vec<(ObjectId, RowError, i64)>> {
    let mut all = Vec::new();
    for id in ids_by_name(&published.catalog, published.errors.keys().copied()) {
        let Some(errors) = published.errors.get(&id) else { continue };
        let left = limit - all.len();
        all.extend(read(errors, &published.snapshot, left)?.into_iter().map(|(error, count)| (id, error, count)));
        if all.len() == limit {
            break;
        }
    }
    Ok(all)
}

fn ids_by_name(catalog: &Catalog, ids: impl Iterator<Item = ObjectId>) -> Vec<ObjectId> {
    let mut ids: Vec<ObjectId> = ids.filter(|id| catalog.get(*id).is_some()).collect();
    ids.sort_by_key(|id| catalog.get(*id).map(|object| object.name.clone()));
    ids
}
