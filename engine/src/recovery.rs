//! What a checkpoint keeps beside operator state, and how a restart finds it: the catalog, the epoch, positions, watermarks.

use std::sync::Arc;

use catalog::{Catalog, Counters, Object, ObjectId};
use delta::Epoch;
use serde::{Deserialize, Serialize};
use storage::{ChangeSet, Snapshot, meta};

use crate::coordinator::storage_error;
use crate::inputs::SavedInput;
use crate::planted::{Bug, is_planted};
use crate::{Error, Result};

const EPOCH: &str = "epoch";
const COUNTERS: &str = "catalog/counters";
const OBJECTS: &str = "catalog/object/";
const INPUTS: &str = "input/";
const HYDRATED: &str = "hydrated/";
const RESTORED: &str = "restored";

/// The last epoch that a checkpoint covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedEpoch {
    /// Its number.
    pub(crate) epoch: Epoch,
    /// Its timestamp, microseconds since 1970.
    pub(crate) timestamp_us: i64,
}

pub(crate) fn put_epoch(saved: &SavedEpoch, changes: &mut ChangeSet) -> Result<()> {
    meta::put(changes, EPOCH, saved).map_err(storage_error)
}

pub(crate) fn epoch(snapshot: &Arc<dyn Snapshot>) -> Result<SavedEpoch> {
    Ok(meta::get(&**snapshot, EPOCH).map_err(storage_error)?.unwrap_or_default())
}

pub(crate) fn put_counters(counters: &Counters, changes: &mut ChangeSet) -> Result<()> {
    meta::put(changes, COUNTERS, counters).map_err(storage_error)
}

pub(crate) fn put_object(object: &Object, changes: &mut ChangeSet) -> Result<()> {
    meta::put(changes, &numbered(OBJECTS, object.id), object).map_err(storage_error)
}

pub(crate) fn delete_object(id: ObjectId, changes: &mut ChangeSet) {
    meta::delete(changes, &numbered(OBJECTS, id));
    meta::delete(changes, &numbered(HYDRATED, id));
}

pub(crate) fn catalog(snapshot: &Arc<dyn Snapshot>) -> Result<Catalog> {
    let counters: Option<Counters> = meta::get(&**snapshot, COUNTERS).map_err(storage_error)?;
    let objects = meta::list::<Object>(&**snapshot, OBJECTS).map_err(storage_error)?;
    let objects = objects.into_iter().map(|(_, object)| object);
    Catalog::restore(counters.unwrap_or_default(), objects)
        .map_err(|e| Error::new(crate::ErrorKind::Storage, format!("the stored catalog can't be read: {e}")))
}

pub(crate) fn put_input(id: ObjectId, saved: &SavedInput, changes: &mut ChangeSet) -> Result<()> {
    meta::put(changes, &numbered(INPUTS, id), saved).map_err(storage_error)
}

pub(crate) fn delete_input(id: ObjectId, changes: &mut ChangeSet) {
    meta::delete(changes, &numbered(INPUTS, id));
}

pub(crate) fn input(id: ObjectId, snapshot: &Arc<dyn Snapshot>) -> Result<Option<SavedInput>> {
    meta::get(&**snapshot, &numbered(INPUTS, id)).map_err(storage_error)
}

/// A view's rows are whole: it joined the running graph.
pub(crate) fn put_hydrated(id: ObjectId, changes: &mut ChangeSet) -> Result<()> {
    meta::put(changes, &numbered(HYDRATED, id), &true).map_err(storage_error)
}

pub(crate) fn is_hydrated(id: ObjectId, snapshot: &Arc<dyn Snapshot>) -> Result<bool> {
    Ok(meta::get(&**snapshot, &numbered(HYDRATED, id)).map_err(storage_error)?.unwrap_or(false))
}

/// Numbers of objects that a restored server leaves out, times one more than what is drawn: objects that were made after the backup, or by
/// another server that continued it, have had some of them, and sinks are known outside by their numbers.
const NUMBERS_LEFT_OUT: u32 = 1 << 10;

/// Different draws.
const DRAWS: u32 = 1 << 10;

/// What makes of a backup's data those of a server that continues it; what is `drawn` is hardly ever the same.
pub(crate) fn restored(snapshot: &Arc<dyn Snapshot>, drawn: u32) -> Result<ChangeSet> {
    let mut changes = ChangeSet::new();
    let counters: Option<Counters> = meta::get(&**snapshot, COUNTERS).map_err(storage_error)?;
    if let Some(mut counters) = counters
        && !is_planted(Bug::NumbersGivenAgain)
    {
        counters.next_object = counters.next_object.saturating_add(NUMBERS_LEFT_OUT * (1 + drawn % DRAWS));
        put_counters(&counters, &mut changes)?;
    }
    put_restored(true, &mut changes)?;
    Ok(changes)
}

/// Whether the data come from a backup: its sinks may have sent more than it knows.
pub(crate) fn put_restored(restored: bool, changes: &mut ChangeSet) -> Result<()> {
    meta::put(changes, RESTORED, &restored).map_err(storage_error)
}

pub(crate) fn is_restored(snapshot: &Arc<dyn Snapshot>) -> Result<bool> {
    Ok(meta::get(&**snapshot, RESTORED).map_err(storage_error)?.unwrap_or(false))
}

fn numbered(prefix: &str, id: ObjectId) -> String {
    format!("{prefix}{:010}", id.0)
}
