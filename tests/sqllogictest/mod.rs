//! One set of `.slt` files, run in six ways.
//!
//! Expected rows are PostgreSQL's: scripts/slt_against_postgres.sh runs the same files against a real one. A file says what
//! a query returns; a way says how the rows get there, and the answer may not depend on it:
//!
//! | way | what happens |
//! |---|---|
//! | `adhoc` | the file as it stands |
//! | `before` | each query becomes a materialized view over tables that are filled, is compared, and goes |
//! | `after` | all views are made first, over empty tables; then rows come, each in an epoch of its own |
//! | `restart` | as `before`, from a data directory, and the engine is opened anew before every statement |
//! | `workers` | as `after`, with four workers |
//! | `tiny` | as `after`, from a data directory, with a memory budget so small that everything spills |
//!
//! A file that makes views of its own and says what becomes of them line by line keeps its order: a line `# as written: restart workers tiny` has it run
//! so in these ways too, with nothing made a view and with what is `onlyif adhoc`.
//!
//! A file whose statements change what views read says in a line `# ways: adhoc restart` in which ways it is run: those that make all views
//! first would change their meaning.
//!
//! `skipif mv` is for queries that a view can't hold yet (GROUPING SETS, …); `onlyif adhoc` for statements whose place
//! in the file matters, such as DROP.

mod database;
mod records;

use std::fmt;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use sqllogictest::Runner;

use database::Connection;

/// How the rows get to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    AdHoc,
    Before,
    After,
    Restart,
    Workers,
    Tiny,
}

impl Way {
    const ALL: [Self; 6] = [Self::AdHoc, Self::Before, Self::After, Self::Restart, Self::Workers, Self::Tiny];

    /// Queries become materialized views.
    fn materializes(self) -> bool {
        self != Self::AdHoc
    }

    /// Views are made before there is data.
    fn views_first(self) -> bool {
        matches!(self, Self::After | Self::Workers | Self::Tiny)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdHoc => "adhoc",
            Self::Before => "before",
            Self::After => "after",
            Self::Restart => "restart",
            Self::Workers => "workers",
            Self::Tiny => "tiny",
        })
    }
}

/// One trial for each file and way.
pub fn trials() -> Vec<Trial> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sqllogictest");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty(), "no .slt files in {}", folder.display());
    let mut trials = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let only = text.lines().find_map(|line| line.strip_prefix("# ways:"));
        for way in Way::ALL {
            if only.is_some_and(|ways| !ways.split_whitespace().any(|only| only == way.to_string())) {
                continue;
            }
            let name = format!("sqllogictest::{}::{way}", file.file_stem().unwrap().to_string_lossy());
            let file = file.clone();
            trials.push(Trial::test(name, move || run(&file, way, false)));
        }
        let as_written = text.lines().find_map(|line| line.strip_prefix("# as written:")).unwrap_or_default();
        for word in as_written.split_whitespace() {
            let way = Way::ALL.into_iter().find(|way| way.to_string() == word);
            let way = way.unwrap_or_else(|| panic!("{}: {word} is no way", file.display()));
            let name = format!("sqllogictest::{}::{way}_as_written", file.file_stem().unwrap().to_string_lossy());
            let file = file.clone();
            trials.push(Trial::test(name, move || run(&file, way, true)));
        }
    }
    trials
}

/// `as_written`: in the file's order, whatever the way.
fn run(file: &Path, way: Way, as_written: bool) -> Result<(), Failed> {
    let arrangement = if as_written { Way::AdHoc } else { way };
    let records = records::arranged(sqllogictest::parse_file(file)?, arrangement);
    let directory = tempfile::tempdir()?;
    let data_dir = directory.path().join("data");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut connection = Some(Connection::open(way, data_dir));
    let mut runner = Runner::new(move || {
        let connection = connection.take().expect("one connection is all that these files ask for");
        async move { Ok(connection) }
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    runner.add_label("millrace");
    runner.add_label(&arrangement.to_string());
    if arrangement.materializes() {
        runner.add_label("mv");
        runner.with_validator(records::same_rows);
    }
    // All failures of a file are shown, not only the first: a change often breaks several records for one reason.
    let mut failures = Vec::new();
    runtime.block_on(async {
        for record in records {
            if let Err(error) = runner.run_async(record).await {
                failures.push(error.display(false).to_string());
            }
        }
        runner.shutdown_async().await;
    });
    if failures.is_empty() { Ok(()) } else { Err(Failed::from(failures.join("\n\n"))) }
}
