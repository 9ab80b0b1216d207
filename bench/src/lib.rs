//! Measures Millrace: the queries of the public auction benchmark (Nexmark) as materialized views, state and views durable.
//!
//! It stands outside the pipeline and drives an engine in its own process through the same sessions as a server. A benchmark prints
//! figures and where they come from; it never passes or fails.
//!
//! Reading order: [`nexmark`] (what is run), [`process`] (what the process used), [`report`] (what is printed).

mod error;
mod nexmark;
mod process;
mod report;

pub use error::{Error, Result};

/// `millrace bench …`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// Runs queries of the auction benchmark as materialized views.
    Nexmark(nexmark::Options),
}

/// Measures, and prints what came out.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.bench {
        Bench::Nexmark(options) => nexmark::run(&options),
    }
}
