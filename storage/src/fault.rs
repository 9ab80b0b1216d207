//! A store that fails on purpose: for tests and for the simulation of whole engines.
//!
//! Everything is decided by a seed and by the number of the commit, so a run can be repeated to the byte.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::memory::Contents;
use crate::store::{Durability, Snapshot, Store, StoreStats, Visit};
use crate::{BackupInfo, ChangeSet, Error, MemoryStore, Result};

/// Commits that a power cut can take at most; older ones count as durable, as if a memtable had been flushed.
const MAX_UNDURABLE_COMMITS: usize = 1024;

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full for this commit and the next ones, so many in all. Nothing is applied.
    Full(u32),
    /// The commit fails with [`Error::Uncertain`] without having been applied, and the store stops.
    FailBefore,
    /// The commit fails with [`Error::Uncertain`], but has been applied, and the store stops.
    FailAfter,
    /// The process dies before the commit: it isn't applied, and the store stops.
    CrashBefore,
    /// The process dies after the commit, before anyone learns of it, and the store stops.
    CrashAfter,
}

/// What a restart finds of the commits that were not on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them: only the process died.
    Nothing,
    /// All but the last so many, as far as they were not durable.
    Last(usize),
    /// The seed decides how many of the last ones are gone.
    Drawn,
}

/// When faults happen.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Faults of chosen commits, counted from 0 over all restarts.
    pub at: BTreeMap<u64, Fault>,
    /// Of 1,000 commits, so many meet a drawn fault.
    pub per_mille: u32,
    /// Of 1,000,000 reads, so many fail, times what [`FaultStore::let_reads_fail`] says.
    pub failing_reads: u32,
}

impl FaultPlan {
    /// No faults, but [`FaultStore::restart`] can still lose what wasn't durable.
    pub fn quiet(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Faults of all kinds, drawn from a seed.
    pub fn seeded(seed: u64, per_mille: u32) -> Self {
        Self { seed, per_mille, ..Self::default() }
    }

    /// As this, with a fault at one commit.
    #[must_use]
    pub fn with(mut self, commit: u64, fault: Fault) -> Self {
        self.at.insert(commit, fault);
        self
    }

    fn fault(&self, commit: u64) -> Option<Fault> {
        if let Some(fault) = self.at.get(&commit) {
            return Some(*fault);
        }
        let draw = random(self.seed, commit);
        if draw % 1000 >= u64::from(self.per_mille) {
            return None;
        }
        let draw = draw / 1000;
        Some(match draw % 5 {
            0 => Fault::Full(1 + (draw / 5 % 8) as u32),
            1 => Fault::FailBefore,
            2 => Fault::FailAfter,
            3 => Fault::CrashBefore,
            _ => Fault::CrashAfter,
        })
    }
}

/// How often what has happened, over all restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Commits that found the disk full.
    pub full: u64,
    /// Commits that failed without having been applied.
    pub failed_before: u64,
    /// Commits that failed although they had been applied.
    pub failed_after: u64,
    /// Deaths before a commit, and after one.
    pub crashes_at_commits: u64,
    /// Restarts.
    pub restarts: u64,
    /// Commits that power cuts took.
    pub lost_commits: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Starts from a copy that was made before.
    pub restored: u64,
}

/// What a store had after some commit: a backup.
#[derive(Clone)]
pub struct Copy(Contents);

impl Copy {
    /// What it holds.
    pub fn snapshot(&self) -> Arc<dyn Snapshot> {
        MemoryStore::with_contents(self.0.clone()).snapshot().expect("memory")
    }
}

/// A [`MemoryStore`] with faults.
///
/// After a fault that stops it, every call fails with [`Error::Stopped`], until [`FaultStore::restart`] gives the
/// store that the next start of the process finds.
pub struct FaultStore {
    plan: FaultPlan,
    state: Mutex<State>,
    reads: Arc<Reads>,
}

/// Counts the reads of all lives, so that it is decided by their number which fail.
#[derive(Default)]
struct Reads {
    /// How many times as often as planned.
    times: AtomicU32,
    asked: AtomicU64,
    failed: AtomicU64,
}

struct State {
    store: MemoryStore,
    /// What would be left after a power cut: the contents after each commit that may be lost, oldest first, and
    /// before them those of the last durable commit.
    durable: Contents,
    undurable: VecDeque<Contents>,
    /// Commits tried so far, over all restarts.
    tried: u64,
    injected: Injected,
    full_for: u32,
    stopped: bool,
}

impl FaultStore {
    /// An empty store.
    pub fn new(plan: FaultPlan) -> Self {
        Self::with(plan, Contents::new(), 0, Injected::default(), Arc::default())
    }

    fn with(plan: FaultPlan, contents: Contents, tried: u64, injected: Injected, reads: Arc<Reads>) -> Self {
        let state = State {
            store: MemoryStore::with_contents(contents.clone()),
            durable: contents,
            undurable: VecDeque::new(),
            tried,
            injected,
            full_for: 0,
            stopped: false,
        };
        Self { plan, state: Mutex::new(state), reads }
    }

    /// How many times as often as planned reads fail from now on, also those of snapshots that were taken before. At first none does.
    pub fn let_reads_fail(&self, times: u32) {
        self.reads.times.store(times, Ordering::Relaxed);
    }

    /// The disk is full from now on, for so many commits.
    pub fn fill(&self, commits: u32) {
        self.state.lock().full_for = commits;
    }

    /// What the last commit left, which is durable from now on: a backup writes what is only in the log to files.
    pub fn copy(&self) -> Copy {
        let mut state = self.state.lock();
        state.durable = state.store.contents();
        state.undurable.clear();
        Copy(state.durable.clone())
    }

    /// Stops this store and gives one that has what was copied, and `changes`, on stable storage.
    #[must_use]
    pub fn restore(&self, copy: &Copy, changes: ChangeSet) -> Self {
        let mut state = self.state.lock();
        state.stopped = true;
        let store = MemoryStore::with_contents(copy.0.clone());
        store.commit(changes, Durability::Disk).expect("memory");
        let mut injected = state.injected;
        injected.restarts += 1;
        injected.restored += 1;
        Self::with(self.plan.clone(), store.contents(), state.tried, injected, self.reads.clone())
    }

    /// Commits tried so far, over all restarts; the next one has this number.
    pub fn tried(&self) -> u64 {
        self.state.lock().tried
    }

    /// What has happened so far.
    pub fn injected(&self) -> Injected {
        Injected { failed_reads: self.reads.failed.load(Ordering::Relaxed), ..self.state.lock().injected }
    }

    /// As [`FaultStore::restart`], after which so many of 1,000 commits, and of 1,000,000 reads, meet a drawn fault.
    #[must_use]
    pub fn restart_with(&self, loss: Loss, per_mille: u32, failing_reads: u32) -> Self {
        let mut next = self.restart(loss);
        next.plan.per_mille = per_mille;
        next.plan.failing_reads = failing_reads;
        next
    }

    /// Whether a fault has stopped the store.
    pub fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// What a power cut could leave at worst, as `read` sees it.
    pub fn durable_oldest<T>(&self, read: impl FnOnce(&Arc<dyn Snapshot>) -> T) -> T {
        let contents = self.state.lock().durable.clone();
        let snapshot = MemoryStore::with_contents(contents).snapshot().expect("memory");
        read(&snapshot)
    }

    /// Commits that a power cut now could take.
    pub fn undurable(&self) -> usize {
        self.state.lock().undurable.len()
    }

    /// Stops this store and gives the one that the next start finds.
    #[must_use]
    pub fn restart(&self, loss: Loss) -> Self {
        let mut state = self.state.lock();
        state.stopped = true;
        let survivors = state.undurable.len();
        let lost = match loss {
            Loss::Nothing => 0,
            Loss::Last(commits) => commits.min(survivors),
            Loss::Drawn => (random(!self.plan.seed, state.injected.restarts) % (survivors as u64 + 1)) as usize,
        };
        let contents = match survivors - lost {
            0 => state.durable.clone(),
            kept => state.undurable[kept - 1].clone(),
        };
        let mut injected = state.injected;
        injected.restarts += 1;
        injected.lost_commits += lost as u64;
        Self::with(self.plan.clone(), contents, state.tried, injected, self.reads.clone())
    }
}

/// A snapshot whose reads fail now and then.
struct FaultSnapshot {
    inner: Arc<dyn Snapshot>,
    reads: Arc<Reads>,
    seed: u64,
    per_million: u32,
}

impl FaultSnapshot {
    /// What is drawn for a read that fails.
    fn fault(&self) -> Option<u64> {
        let per_million = u64::from(self.per_million) * u64::from(self.reads.times.load(Ordering::Relaxed));
        if per_million == 0 {
            return None;
        }
        let asked = self.reads.asked.fetch_add(1, Ordering::Relaxed);
        let draw = random(self.seed ^ 0x0072_6561_6473, asked);
        let fails = draw % 1_000_000 < per_million;
        fails.then(|| {
            self.reads.failed.fetch_add(1, Ordering::Relaxed);
            draw / 1_000_000
        })
    }

    /// A scan that fails has visited some entries before.
    fn visit(
        &self,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
        scan: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()>,
    ) -> Result<()> {
        let Some(draw) = self.fault() else { return scan(visit) };
        let mut left = draw % 4;
        scan(&mut |key, value| {
            if left == 0 {
                return Visit::Stop;
            }
            left -= 1;
            visit(key, value)
        })?;
        Err(unreadable())
    }
}

fn unreadable() -> Error {
    Error::Io { path: "simulated".into(), source: std::io::Error::other("the simulated disk can't be read") }
}

impl Snapshot for FaultSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.fault() {
            None => self.inner.get(key),
            Some(_) => Err(unreadable()),
        }
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        match self.fault() {
            None => self.inner.multi_get(keys),
            Some(_) => Err(unreadable()),
        }
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.visit(visit, |visit| self.inner.scan(start, end, visit))
    }

    fn scan_back(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.visit(visit, |visit| self.inner.scan_back(start, end, visit))
    }
}

impl State {
    fn apply(&mut self, changes: ChangeSet, durability: Durability) -> Result<()> {
        self.store.commit(changes, durability)?;
        let contents = self.store.contents();
        match durability {
            Durability::Disk => {
                self.undurable.clear();
                self.durable = contents;
            }
            Durability::Process => self.undurable.push_back(contents),
        }
        if self.undurable.len() > MAX_UNDURABLE_COMMITS {
            self.durable = self.undurable.pop_front().expect("it is longer than its bound");
        }
        Ok(())
    }

    fn running(&self) -> Result<()> {
        if self.stopped { Err(Error::Stopped) } else { Ok(()) }
    }
}

impl Store for FaultStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        let state = self.state.lock();
        state.running()?;
        let inner = state.store.snapshot()?;
        if self.plan.failing_reads == 0 {
            return Ok(inner);
        }
        let (seed, per_million) = (self.plan.seed, self.plan.failing_reads);
        Ok(Arc::new(FaultSnapshot { inner, reads: self.reads.clone(), seed, per_million }))
    }

    fn commit(&self, changes: ChangeSet, durability: Durability) -> Result<()> {
        let mut state = self.state.lock();
        state.running()?;
        let fault = self.plan.fault(state.tried);
        state.tried += 1;
        if let Some(Fault::Full(commits)) = fault {
            state.full_for = state.full_for.max(commits);
        }
        if state.full_for > 0 {
            state.full_for -= 1;
            state.injected.full += 1;
            return Err(Error::Full { detail: "the simulated disk".to_owned() });
        }
        if matches!(fault, None | Some(Fault::FailAfter | Fault::CrashAfter)) {
            state.apply(changes, durability)?;
        }
        match fault {
            Some(Fault::FailBefore) => state.injected.failed_before += 1,
            Some(Fault::FailAfter) => state.injected.failed_after += 1,
            Some(_) => state.injected.crashes_at_commits += 1,
            None => {}
        }
        state.stopped = fault.is_some();
        match fault {
            None => Ok(()),
            Some(Fault::FailBefore | Fault::FailAfter) => {
                Err(Error::Uncertain { detail: "the simulated disk failed".to_owned() })
            }
            Some(_) => Err(Error::Stopped),
        }
    }

    fn stats(&self) -> StoreStats {
        self.state.lock().store.stats()
    }

    fn backup(&self, directory: &Path) -> Result<BackupInfo> {
        let state = self.state.lock();
        state.running()?;
        state.store.backup(directory)
    }
}

/// A number that looks random (SplitMix64), the same for the same seed and position.
fn random(seed: u64, position: u64) -> u64 {
    let mut x = seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
