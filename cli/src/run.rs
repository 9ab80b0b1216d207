//! `millrace run`: a script in an engine of its own, in memory, with its results on stdout.

use std::path::PathBuf;

use clap::Args;
use engine::{Engine, ResultColumn, Settings};

use crate::error::Failure;
use crate::script::{self, Output};
use crate::server::{own_session, runtime};
use crate::table::table;

/// `millrace run FILE.sql`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The script
    #[arg(value_name = "FILE.sql")]
    file: PathBuf,
    /// Keeps what the script makes here instead of in memory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs the script; the first error ends it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let engine = Engine::open(Settings { data_dir: arguments.data_dir.clone(), ..Settings::default() })?;
    runtime.block_on(async {
        let mut session = own_session(&engine)?;
        let outcome = script::run_file(&mut session, &arguments.file, &mut Print).await;
        drop(session);
        engine.shutdown().await?;
        outcome
    })
}

/// Prints as psql does.
struct Print;

impl Output for Print {
    fn rows(&mut self, columns: &[ResultColumn], rows: &[Vec<Option<String>>]) {
        println!("{}", table(columns, rows));
    }

    fn tag(&mut self, tag: &str) {
        println!("{tag}");
    }

    fn notice(&mut self, severity: &str, message: &str) {
        eprintln!("{severity}: {message}");
    }
}
