//! A panic on the epoch thread, provoked by a store that panics when operators read from it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::Engine;
use storage::{BackupInfo, ChangeSet, Durability, MemoryStore, Result, Snapshot, Store, StoreStats, Visit};

use crate::support::database::{parameters, run, settings};

#[derive(Default)]
struct Panicking {
    store: MemoryStore,
    panics: Arc<AtomicBool>,
}

struct PanickingSnapshot(Arc<dyn Snapshot>, Arc<AtomicBool>);

impl PanickingSnapshot {
    fn check(&self) {
        let epochs = std::thread::current().name() == Some("epochs");
        assert!(!(epochs && self.1.load(Ordering::SeqCst)), "a bug in an operator");
    }
}

impl Store for Panicking {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(PanickingSnapshot(self.store.snapshot()?, self.panics.clone())))
    }

    fn commit(&self, changes: ChangeSet, durability: Durability) -> Result<()> {
        self.store.commit(changes, durability)
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    fn backup(&self, directory: &Path) -> Result<BackupInfo> {
        self.store.backup(directory)
    }
}

impl Snapshot for PanickingSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>> {
        self.check();
        self.0.get(key)
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<bytes::Bytes>>> {
        self.check();
        self.0.multi_get(keys)
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.check();
        self.0.scan(start, end, visit)
    }

    fn scan_back(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.check();
        self.0.scan_back(start, end, visit)
    }
}

pub fn a_panic_ends_the_engine_and_not_its_readers() {
    let store = Arc::new(Panicking::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut settings = settings(None);
    // Operators keep nothing in memory, and read.
    settings.memory_budget_bytes = 1 << 20;
    let engine = Engine::open_on(settings.clone(), store.clone()).unwrap();
    let mut session = engine.session(parameters()).unwrap();
    runtime.block_on(async {
        run(&mut session, "CREATE TABLE t (id int PRIMARY KEY, k int)").await.unwrap();
        run(&mut session, "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM t GROUP BY k").await.unwrap();
        run(&mut session, "INSERT INTO t SELECT n, n % 9 FROM generate_series(1, 500) AS g (n)").await.unwrap();
        let before = run(&mut session, "SELECT sum(n) FROM v").await.unwrap().rows;
        assert_eq!(before, [["500"]]);

        store.panics.store(true, Ordering::SeqCst);
        let failure = run(&mut session, "UPDATE t SET k = k + 1").await.unwrap_err();
        assert_eq!(failure.state(), "XX000", "{failure}");
        assert!(failure.to_string().contains("panicked: a bug in an operator"), "{failure}");
        assert!(!engine.is_ready(), "an orchestrator is told");
        let mut other = engine.session(parameters()).unwrap();
        assert_eq!(run(&mut other, "SELECT sum(n) FROM v").await.unwrap().rows, [["500"]], "readers go on");
        let refused = run(&mut other, "INSERT INTO t VALUES (0, 0)").await.unwrap_err();
        assert!(refused.to_string().contains("a bug in an operator"), "writers are told why: {refused}");
        drop((session, other));
        drop(engine.shutdown().await);
        drop(engine);

        // The next start has what was committed, and goes on.
        store.panics.store(false, Ordering::SeqCst);
        let engine = Engine::open_on(settings, store.clone()).unwrap();
        let mut session = engine.session(parameters()).unwrap();
        assert_eq!(run(&mut session, "SELECT sum(n) FROM v").await.unwrap().rows, [["500"]]);
        run(&mut session, "UPDATE t SET k = k + 1").await.unwrap();
        assert_eq!(run(&mut session, "SELECT min(k), max(k) FROM v").await.unwrap().rows, [["1", "9"]]);
        drop(session);
        engine.shutdown().await.unwrap();
    });
}
