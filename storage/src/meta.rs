//! State 0: a few named values beside the data (catalog, offsets, watermarks), as JSON.
//!
//! They are written through the same [`ChangeSet`] as the rows of an epoch, so they are always of the same commit.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ChangeSet, Error, Result, Snapshot, StateId, Visit, state_key, state_prefix};

/// All named values are in one virtual node.
const VNODE: u8 = 0;

/// Sets a named value.
///
/// # Errors
/// [`Error::Value`] if the value can't be written as JSON (a map with keys that aren't strings).
pub fn put<T: Serialize + ?Sized>(changes: &mut ChangeSet, name: &str, value: &T) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|source| Error::Value { key: name.to_owned(), source })?;
    changes.put_parts(&[&state_prefix(StateId::META), &[VNODE], name.as_bytes()], &json);
    Ok(())
}

/// Removes a named value.
pub fn delete(changes: &mut ChangeSet, name: &str) {
    changes.delete_parts(&[&state_prefix(StateId::META), &[VNODE], name.as_bytes()]);
}

/// Reads a named value.
///
/// # Errors
/// [`Error::Value`] if it isn't a `T`.
pub fn get<T: DeserializeOwned>(snapshot: &dyn Snapshot, name: &str) -> Result<Option<T>> {
    let json = snapshot.get(&state_key(StateId::META, VNODE, name.as_bytes()))?;
    json.map(|json| parse(name, &json)).transpose()
}

/// Reads all values whose names begin with `prefix`, in the order of their names.
///
/// # Errors
/// [`Error::Value`] if one isn't a `T`.
pub fn list<T: DeserializeOwned>(snapshot: &dyn Snapshot, prefix: &str) -> Result<Vec<(String, T)>> {
    let start = state_key(StateId::META, VNODE, prefix.as_bytes());
    let end = [&state_prefix(StateId::META)[..], &[VNODE + 1]].concat();
    let mut values = Ok(Vec::new());
    snapshot.scan(&start, &end, &mut |key, json| {
        if !key.starts_with(&start) {
            return Visit::Stop;
        }
        let name = String::from_utf8_lossy(&key[5..]).into_owned();
        match (parse(&name, json), &mut values) {
            (Ok(value), Ok(values)) => {
                values.push((name, value));
                Visit::Continue
            }
            (Ok(_), Err(_)) => Visit::Stop,
            (Err(error), _) => {
                values = Err(error);
                Visit::Stop
            }
        }
    })?;
    values
}

fn parse<T: DeserializeOwned>(name: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|source| Error::Value { key: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Durability, MemoryStore, Store};

    #[test]
    fn named_values_come_back_in_order_of_their_names() {
        let store = MemoryStore::new();
        let mut changes = ChangeSet::new();
        put(&mut changes, "offsets/b", &2).unwrap();
        put(&mut changes, "offsets/a", &1).unwrap();
        put(&mut changes, "offsetz", &9).unwrap();
        put(&mut changes, "catalog", &vec!["t"]).unwrap();
        store.commit(changes, Durability::Disk).unwrap();

        let snapshot = store.snapshot().unwrap();
        assert_eq!(get::<Vec<String>>(&*snapshot, "catalog").unwrap().unwrap(), ["t"]);
        assert_eq!(get::<u32>(&*snapshot, "nothing").unwrap(), None);
        assert_eq!(list::<u32>(&*snapshot, "offsets/").unwrap(), [("offsets/a".into(), 1), ("offsets/b".into(), 2)]);

        let mut changes = ChangeSet::new();
        delete(&mut changes, "offsets/a");
        store.commit(changes, Durability::Disk).unwrap();
        assert_eq!(list::<u32>(&*store.snapshot().unwrap(), "offsets/").unwrap().len(), 1);
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_it() {
        let store = MemoryStore::new();
        let mut changes = ChangeSet::new();
        put(&mut changes, "offsets/a", "text").unwrap();
        store.commit(changes, Durability::Disk).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert!(get::<u32>(&*snapshot, "offsets/a").unwrap_err().to_string().contains("\"offsets/a\""));
        assert!(list::<u32>(&*snapshot, "offsets/").is_err());
    }
}
