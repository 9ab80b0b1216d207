//! `millrace`, the one binary: a server, a demo, and the tools around them.
//!
//! The last crate of the pipeline: it sees the server and the engine, and reads what only a process may read: flags, environment
//! and config file. This file only dispatches; each command has a file of its own.
//!
//! Reading order: [`config`] (every setting, once), [`server`], [`demo`], [`run`], [`check`], [`mod@bench`], [`backup`] and [`control`].

mod backup;
mod bench;
mod check;
mod config;
mod control;
mod demo;
mod error;
mod logging;
mod run;
mod script;
mod server;
mod table;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Failure;

/// Many short-lived buffers of a few sizes, allocated on one thread and freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A SQL streaming database that speaks PostgreSQL's protocol.
#[derive(Parser)]
#[command(name = "millrace", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is logged to stderr: error, warn, info, debug, trace, or a filter such as `info,rdkafka=debug`
    #[arg(long, global = true, env = "MILLRACE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Logs as JSON, one object a line
    #[arg(long, global = true, env = "MILLRACE_LOG_JSON")]
    log_json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server until SIGTERM or SIGINT
    Server(config::ServerArguments),
    /// Shows the whole path with nothing installed: a Kafka in this process, sources, views, a sink
    Demo(demo::Arguments),
    /// Checks SQL files without running them: parse, bind, plan
    Check(check::Arguments),
    /// Runs a SQL script in an engine of its own, in memory, and prints the results
    Run(run::Arguments),
    /// Measures
    Bench(bench::Arguments),
    /// Copies a data directory, whole and consistent, while its server runs or not
    Backup(backup::BackupArguments),
    /// Puts a backup into an empty data directory
    Restore(backup::RestoreArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = logging::start(arguments.log.as_deref(), arguments.log_json).and_then(|()| match arguments.command {
        Command::Server(arguments) => server::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("millrace: {failure}");
            ExitCode::FAILURE
        }
    }
}
