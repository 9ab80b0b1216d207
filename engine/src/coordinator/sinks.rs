//! Sinks begin with what is there, get what each epoch changes, and go.

use catalog::{Connector, Object, ObjectId};
use delta::{Delta, Epoch};
use storage::StateId;

use super::ddl::Installed;
use super::{Coordinator, dataflow_error};
use crate::sinks::{RunningSink, sink_spec};
use crate::{Error, Result};

impl Coordinator {
    pub(super) fn start_sink(
        &mut self,
        object: &Object,
        connector: &Connector,
        from: &Object,
        state: StateId,
        how: Installed,
    ) -> Result<()> {
        if self.settings.offline {
            return Ok(());
        }
        let spec = sink_spec(object, connector, from, &self.server_id);
        let durable = if how == Installed::Recovered { self.epoch } else { Epoch(0) };
        let sink =
            RunningSink::start(spec, from.id, state, self.store.clone(), durable, self.bell.clone(), &self.outside)?;
        self.sinks.insert(object.id, sink);
        if how == Installed::New { self.emit_contents(object.id) } else { Ok(()) }
    }

    /// A sink begins with what is there, as if it came in the next epoch: the last one may have been delivered.
    pub(super) fn emit_contents(&mut self, sink: ObjectId) -> Result<()> {
        let inputs = self.read_up_to()?;
        let Some(sink) = self.sinks.get_mut(&sink) else { return Ok(()) };
        let (Some(view), Some(from)) = (self.relations.get(&sink.from), self.catalog.get(sink.from)) else {
            return Ok(());
        };
        for batch in view.scan(self.snapshot.clone(), None).map_err(dataflow_error)? {
            let batch = batch.map_err(dataflow_error)?;
            let batch = crate::query::named(&batch, &from.schema());
            let batch = batch.map_err(|e| Error::internal(format!("{} can't be emitted: {e}", from.name)))?;
            sink.outbox.add(self.epoch.next(), &Delta::inserts(batch), &inputs, &mut self.pending.changes)?;
        }
        self.pending.durable = true;
        self.pending.dirty = true;
        self.pending.outbox_since.get_or_insert_with(|| self.outside.now());
        self.wants_step = true;
        Ok(())
    }

    /// Ends a sink. Its thread may be waiting for a broker: nobody here waits for it.
    pub(super) fn drop_sink(&mut self, id: ObjectId) {
        if let Some(thread) = self.sinks.remove(&id).and_then(|mut sink| sink.end()) {
            self.end_later(thread);
        }
    }
}
