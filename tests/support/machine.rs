//! An engine over a store that fails on purpose, to be killed and started again.

use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, ErrorKind, Session, Settings};
use storage::fault::{FaultStore, Loss};

use super::database::{Answer, Failure, parameters, run};

/// A statement that takes longer hangs.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

/// An engine and its store.
pub struct Machine {
    runtime: tokio::runtime::Runtime,
    pub store: Arc<FaultStore>,
    settings: Settings,
    running: Option<(Engine, Session)>,
}

impl Machine {
    pub fn start(store: FaultStore, settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut machine = Self { runtime, store: Arc::new(store), settings, running: None };
        machine.open(Loss::Drawn);
        machine
    }

    /// Opens an engine on the store; a fault during recovery is one more death.
    fn open(&mut self, loss: Loss) {
        loop {
            let _entered = self.runtime.enter();
            match Engine::open_on(self.settings.clone(), self.store.clone()) {
                Ok(engine) => {
                    let session = engine.session(parameters()).unwrap();
                    self.running = Some((engine, session));
                    return;
                }
                // The first start of all writes something; it says so when there is no room.
                Err(error) if error.kind == ErrorKind::DiskFull => {}
                Err(error) => {
                    assert!(self.store.is_stopped(), "a store that works can be opened: {error}");
                    self.store = Arc::new(self.store.restart(loss));
                }
            }
        }
    }

    /// Dies, and starts again with what the store still has.
    pub fn restart(&mut self, loss: Loss) {
        // First the store: whatever the old engine still does is lost.
        let next = Arc::new(self.store.restart(loss));
        if let Some((engine, session)) = self.running.take() {
            drop(session);
            // An engine whose store has gone away can't end in good order.
            drop(self.runtime.block_on(engine.shutdown()));
        }
        self.store = next;
        self.open(loss);
    }

    pub fn try_run(&mut self, sql: &str) -> Result<Answer, Failure> {
        let session = &mut self.running.as_mut().expect("it runs between restarts").1;
        let limited = async { tokio::time::timeout(STATEMENT_LIMIT, run(session, sql)).await };
        self.runtime.block_on(limited).unwrap_or_else(|_| panic!("{sql} hangs"))
    }

    /// A session of its own.
    pub fn session(&self) -> Session {
        self.running.as_ref().expect("it runs between restarts").0.session(parameters()).unwrap()
    }

    /// Runs a statement that may be repeated, over as many deaths as it takes.
    pub fn insist(&mut self, sql: &str, loss: Loss) -> Answer {
        loop {
            match self.try_run(sql) {
                Ok(answer) => return answer,
                // Nothing happened: there was no room.
                Err(failure) if failure.state() == "53100" && !self.store.is_stopped() => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(failure) => {
                    assert!(self.store.is_stopped(), "{failure}\n{sql}");
                    self.restart(loss);
                }
            }
        }
    }

    /// A query's rows as sorted lines; deaths meanwhile only delay it.
    pub fn lines(&mut self, sql: &str, loss: Loss) -> Vec<String> {
        // Readers of an engine that has lost its store still see its last epoch.
        if self.store.is_stopped() {
            self.restart(loss);
        }
        let mut lines: Vec<_> = self.insist(sql, loss).rows.into_iter().map(|row| row.join("|")).collect();
        lines.sort();
        lines
    }
}

/// The threads of this process whose names begin so; the kernel keeps 15 bytes.
pub fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.starts_with(name)).count()
}
