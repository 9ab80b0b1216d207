//! Bugs planted on purpose, so that the simulation can show that it would find them.
//!
//! They exist in this crate's own tests only: everywhere else [`is_planted`] is the constant `false`, and what depends on it is not even
//! compiled into the binary. Which one is planted belongs to a thread; a simulation hands it on to the threads that it starts.

/// A bug that can be planted, named by what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A checkpoint forgets how far sources were read: records come twice after a restart.
    OffsetsForgotten,
    /// What a sink has confirmed stays in its outbox.
    OutboxNotDeleted,
    /// A watermark is ahead by a microsecond.
    WatermarkAhead,
    /// A view that is built takes what it is handed over twice.
    TappedTwice,
    /// A write is acknowledged although a power cut could still take it.
    WriteNotSynced,
    /// Of the records that can't be decoded, the last one of a checkpoint is lost.
    DeadLetterDropped,
    /// Readers get the snapshot before the last commit.
    StaleSnapshot,
    /// Of the views that an epoch changes, readers see one only when it changes again.
    DependentPublishedLate,
    /// After a failed delivery a sink doesn't look up what has arrived.
    ProgressNotChecked,
    /// A view that is built misses the last record of each partition.
    HydrationShort,
    /// A dropped view's build goes on writing.
    BuildNotStopped,
    /// What a sink sends isn't on stable storage before.
    SentBeforeDurable,
    /// How far each partition's event time has come isn't kept over a restart.
    WatermarkForgotten,
    /// A conflicting write isn't refused.
    ConflictOverlooked,
}

#[cfg(test)]
impl Bug {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::OffsetsForgotten,
        Self::OutboxNotDeleted,
        Self::WatermarkAhead,
        Self::TappedTwice,
        Self::WriteNotSynced,
        Self::DeadLetterDropped,
        Self::StaleSnapshot,
        Self::DependentPublishedLate,
        Self::ProgressNotChecked,
        Self::HydrationShort,
        Self::BuildNotStopped,
        Self::SentBeforeDurable,
        Self::WatermarkForgotten,
        Self::ConflictOverlooked,
    ];
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug on this thread, or none.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// What is planted on this thread.
#[cfg(test)]
pub(crate) fn planted() -> Option<Bug> {
    PLANTED.get()
}

/// Whether this bug is planted here.
#[cfg(test)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted here: never.
#[cfg(not(test))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
