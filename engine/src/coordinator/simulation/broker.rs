//! Where the simulated sinks write: one log a sink, with transactions, fencing, and answers that get lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use connectors::{Error, Health, Result, Sink, SinkRow};
use delta::Epoch;

use super::rows::{Bag, add};
use super::world::World;

/// What a sink has written.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Raised by each instance that recovers; an older one may not write any more.
    pub(super) generation: u64,
    /// Up to which epoch it is whole.
    pub(super) progress: Option<Epoch>,
    /// What the engine wrote with that.
    pub(super) note: Option<String>,
    /// The engine has asked for all this in this life.
    pub(super) is_known: bool,
    /// Another server has written to it since, and nobody of this life may do so any more.
    pub(super) taken_over: bool,
    /// The rows that its changes add up to.
    pub(super) contents: Bag,
}

/// All logs, by the sinks' identities.
pub(super) type Logs = BTreeMap<String, Log>;

/// What happens to a transaction.
pub(super) enum Outcome {
    Done,
    /// It isn't there, and the client is told so.
    Refused,
    /// It is there, but the answer was lost.
    AnswerLost,
    /// It isn't there, and nobody knows.
    NeverArrived,
    /// Another instance has come in between.
    TakenOver,
}

pub(super) struct SimulatedSink {
    pub(super) world: Arc<World>,
    pub(super) identity: String,
    pub(super) generation: u64,
    pub(super) found: Option<String>,
}

impl Sink for SimulatedSink {
    fn recover(&mut self) -> Result<Option<Epoch>> {
        self.world.with_broker(&self.identity, |log, broken| {
            if broken {
                return Err(away());
            }
            log.generation += 1;
            self.generation = log.generation;
            self.found.clone_from(&log.note);
            log.is_known = true;
            Ok(log.progress)
        })
    }

    fn read_up_to(&self) -> Option<&str> {
        self.found.as_deref()
    }

    fn deliver(&mut self, epochs: &[SinkRow]) -> Result<()> {
        let outcome = self.world.outcome();
        self.world.with_broker(&self.identity, |log, broken| {
            if broken {
                return Err(away());
            }
            if matches!(outcome, Outcome::TakenOver) {
                log.generation += 1;
            }
            if log.generation != self.generation {
                return Err(Error::Fenced { sink: self.identity.clone() });
            }
            if matches!(outcome, Outcome::Done | Outcome::AnswerLost) {
                for row in epochs {
                    assert!(
                        log.progress.is_none_or(|last| row.epoch > last || row.epoch == epochs[0].epoch),
                        "{}: epoch {} comes again after {:?}",
                        self.identity,
                        row.epoch.0,
                        log.progress
                    );
                    add(&mut log.contents, &row.delta);
                }
                let (first, last) = (epochs[0].epoch, epochs[epochs.len() - 1].epoch);
                assert!(log.progress.is_none_or(|before| first > before), "{}: {first:?} comes again", self.identity);
                assert!(epochs.is_sorted_by_key(|row| row.epoch), "{}: epochs are in order", self.identity);
                assert!(!log.taken_over, "4: {} is another server's", self.identity);
                log.progress = Some(last);
                log.note = epochs.last().map(|row| row.inputs.to_string());
            }
            match outcome {
                Outcome::Done => Ok(()),
                Outcome::AnswerLost | Outcome::NeverArrived => Err(failed("timed out")),
                Outcome::Refused | Outcome::TakenOver => Err(failed("aborted")),
            }
        })
    }

    fn health(&self) -> Health {
        Health::Running
    }
}

fn away() -> Error {
    Error::Unreachable { what: "the simulated broker".to_owned(), reason: "it is away".to_owned() }
}

fn failed(reason: &str) -> Error {
    Error::Kafka { operation: "commit a transaction".to_owned(), reason: reason.to_owned() }
}
