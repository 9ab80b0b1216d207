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
    /// A sink whose outbox can't be read takes it for empty.
    OutboxTakenForEmpty,
    /// A restored server's sinks send again what they sent after the backup.
    RestoredSendsAgain,
    /// A restored server gives the numbers of epochs again that its sinks have seen.
    EpochsNumberedAgain,
    /// A restored server gives the numbers of objects again that were made after the backup.
    NumbersGivenAgain,
    /// A sink that another server has taken over goes on.
    TakenOverGoesOn,
    /// Of a transaction that changes the catalog the rows are lost.
    TransactionWithoutRows,
    /// Views and sinks over a view that gets another query aren't told how its rows differ.
    DifferenceNotTold,
    /// What a view's new query is isn't stored.
    AlterationNotStored,
    /// A subscriber that has fallen behind misses changes instead of being told.
    SubscriberSkips,
    /// Nothing happens only because time passes.
    DueForgotten,
    /// Time goes back when somebody sets the clock back.
    ClockFollowed,
    /// What a transaction does to several tables comes in several epochs.
    TransactionTorn,
}

#[cfg(test)]
impl Bug {
    /// All of them.
    pub(crate) const ALL: [Self; 26] = [
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
        Self::OutboxTakenForEmpty,
        Self::RestoredSendsAgain,
        Self::EpochsNumberedAgain,
        Self::NumbersGivenAgain,
        Self::TakenOverGoesOn,
        Self::TransactionWithoutRows,
        Self::DifferenceNotTold,
        Self::AlterationNotStored,
        Self::SubscriberSkips,
        Self::DueForgotten,
        Self::ClockFollowed,
        Self::TransactionTorn,
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
