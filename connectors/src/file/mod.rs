//! Files of JSON lines or CSV: one, a directory, or those that a pattern matches; read once, or followed as they grow.
//!
//! A partition is a file. Its number is derived from its name, not from its place among the others, so that files which come and go
//! don't renumber the rest; a single file is partition 0. A position is a byte offset behind a line break.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::formats::Decoder;
use crate::options::FileOptions;
use crate::source::{BatchSender, Health, PartitionId, Positions, RunningSource, Source, SourceSpec, SourceStatus};

mod pattern;
mod reader;

/// The source of `connector = 'file'`.
pub struct FileSource {
    shared: Arc<Shared>,
}

/// What all reading threads share.
struct Shared {
    name: String,
    spec: SourceSpec,
    options: FileOptions,
}

impl FileSource {
    /// Checks the options and columns; looks at no file.
    pub fn open(spec: &SourceSpec) -> Result<Self> {
        let options = FileOptions::parse(&spec.options)?;
        if spec.upsert.is_some() {
            return Err(Error::Unsupported(
                "a file can't feed a table with a primary key; use CREATE SOURCE".to_owned(),
            ));
        }
        Decoder::new(&spec.columns, None, &options.decode)?;
        Ok(Self { shared: Arc::new(Shared { name: spec.name.clone(), spec: spec.clone(), options }) })
    }
}

impl Shared {
    /// The files there are now, by partition.
    fn files(&self) -> Result<BTreeMap<PartitionId, PathBuf>> {
        pattern::files(&self.options.path)
    }

    fn ends(&self) -> Result<Positions> {
        self.files()?.iter().map(|(partition, path)| Ok((*partition, reader::length(path)?))).collect()
    }
}

impl Source for FileSource {
    fn resolve_start(&self) -> Result<Positions> {
        let files = self.shared.files()?;
        // A pattern that matches nothing is a mistake, unless files are to come.
        if files.is_empty() && !(self.shared.options.follow && Path::new(&self.shared.options.path).is_dir()) {
            return Err(Error::NoFile(self.shared.options.path.clone()));
        }
        Ok(files.into_keys().map(|partition| (partition, 0)).collect())
    }

    fn end_positions(&self) -> Result<Positions> {
        self.shared.ends()
    }

    /// A line that isn't complete in a file that is followed is no record yet.
    fn past_end(&self) -> Result<Positions> {
        let files = self.shared.files()?;
        let end =
            |path: &Path| if self.shared.options.follow { reader::last_line_end(path) } else { reader::length(path) };
        files.iter().map(|(partition, path)| Ok((*partition, end(path)?))).collect()
    }

    fn run(&self, from: &Positions, until: Option<&Positions>, output: BatchSender) -> Result<Box<dyn RunningSource>> {
        let running = Arc::new(Running {
            shared: Arc::clone(&self.shared),
            stop: AtomicBool::new(false),
            skipped: AtomicU64::new(0),
            state: Mutex::new(State { from: from.clone(), until: until.cloned(), ..State::default() }),
        });
        running.find_files()?;
        let threads = match until {
            Some(until) => self.shared.options.threads.min(until.len()),
            None => self.shared.options.threads,
        };
        for thread in 0..threads {
            let (worker, output) = (Arc::clone(&running), output.clone());
            running.state.lock().working += 1;
            std::thread::Builder::new()
                .name(format!("file reader {thread}"))
                .spawn(move || worker.work(&output))
                .map_err(|error| Error::Io { path: "reader thread".into(), error })?;
        }
        Ok(Box::new(RunningFiles(running)))
    }
}

/// Reading threads and the files that wait for them.
struct Running {
    shared: Arc<Shared>,
    stop: AtomicBool,
    skipped: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    from: Positions,
    until: Option<Positions>,
    /// Files that no thread has at the moment, in the order of partitions or of their last turn.
    waiting: std::collections::VecDeque<reader::Reader>,
    /// Every file ever found.
    known: BTreeMap<PartitionId, PathBuf>,
    /// Threads that have not ended.
    working: usize,
    failure: Option<String>,
}

/// What a thread does next.
enum Turn {
    Read(Box<reader::Reader>),
    Wait,
    End,
}

impl Running {
    /// Adds files that weren't there before.
    fn find_files(&self) -> Result<()> {
        let files = self.shared.files()?;
        let mut state = self.state.lock();
        for (partition, path) in files {
            if state.known.contains_key(&partition) {
                continue;
            }
            let until = match &state.until {
                Some(until) => match until.get(&partition) {
                    Some(end) => Some(*end),
                    None => continue,
                },
                None => None,
            };
            let start = state.from.get(&partition).copied().unwrap_or(0);
            let follow = self.shared.options.follow && until.is_none();
            let reader = reader::Reader::new(
                &self.shared.spec,
                &self.shared.options,
                partition,
                path.clone(),
                start,
                until,
                follow,
            )?;
            state.known.insert(partition, path);
            state.waiting.push_back(reader);
        }
        if let Some(until) = &state.until
            && let Some(missing) =
                until.iter().find(|(partition, end)| **end > 0 && !state.known.contains_key(partition))
        {
            return Err(Error::NoFile(format!("{} (partition {} is gone)", self.shared.options.path, missing.0)));
        }
        Ok(())
    }

    /// A thread: takes a file, reads until it has no more for now, gives it back.
    fn work(&self, output: &BatchSender) {
        let result = self.read_files(output);
        let mut state = self.state.lock();
        state.working -= 1;
        if let Err(reason) = result {
            tracing::error!(source = self.shared.name, reason, "file source stopped");
            state.failure.get_or_insert(reason);
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn read_files(&self, output: &BatchSender) -> Result<(), String> {
        let follow = self.shared.options.follow && self.state.lock().until.is_none();
        loop {
            match self.turn() {
                Turn::End => return Ok(()),
                Turn::Wait => {
                    std::thread::sleep(self.shared.options.poll_interval);
                    self.find_files().map_err(|error| error.to_string())?;
                    let mut state = self.state.lock();
                    for reader in &mut state.waiting {
                        reader.look_again();
                    }
                }
                Turn::Read(mut reader) => {
                    let more = reader.read(output, &self.stop, &self.skipped)?;
                    if more || follow {
                        self.state.lock().waiting.push_back(*reader);
                    }
                }
            }
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.state.lock();
        if self.stop.load(Ordering::Relaxed) {
            return Turn::End;
        }
        if let Some(ready) = state.waiting.iter().position(|reader| !reader.idle()) {
            return state.waiting.remove(ready).map_or(Turn::End, |reader| Turn::Read(Box::new(reader)));
        }
        if self.shared.options.follow && state.until.is_none() { Turn::Wait } else { Turn::End }
    }
}

/// The handle.
struct RunningFiles(Arc<Running>);

impl RunningSource for RunningFiles {
    fn status(&self) -> SourceStatus {
        let state = self.0.state.lock();
        SourceStatus {
            health: state.failure.clone().map_or(Health::Running, Health::Failed),
            finished: state.working == 0 && state.failure.is_none(),
            skipped: self.0.skipped.load(Ordering::Relaxed),
            end_offsets: state
                .known
                .iter()
                .filter_map(|(partition, path)| Some((*partition, reader::length(path).ok()?)))
                .collect(),
        }
    }
}

impl Drop for RunningFiles {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
