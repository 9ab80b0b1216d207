//! Measures Millrace: the queries of the public auction benchmark (Nexmark) as materialized views, state and views durable.
//!
//! It stands outside the pipeline and drives an engine in its own process through the same sessions as a server. A benchmark prints
//! figures and where they come from; it never passes or fails.
//!
//! Reading order: [`nexmark`] (what is run), [`topics`] (what it reads from Kafka), [`limits`] (what nothing can be faster than), [`latency`],
//! [`cost`] (what a change costs), [`windows`] (what it costs a window function), [`state`] (more of it than memory), [`views`] and
//! [`subscribers`] (many of them), [`micro`] (small pieces, to be counted),
//! [`sql`] (an engine in this process), [`process`] (what the process used), [`report`] (what is printed).

mod cost;
mod error;
mod latency;
mod limits;
mod micro;
mod nexmark;
mod process;
mod report;
mod sql;
mod state;
mod subscribers;
mod topics;
mod views;
mod windows;

pub use error::{Error, Result};
pub use micro::{Allocations, allocations};

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
    /// Fills topics with the auction benchmark's events, from files.
    Topics(topics::Options),
    /// Measures bare decoding and a bare consumer.
    Limits(limits::Options),
    /// Measures what one change costs views of each kind over small and large tables.
    Cost(cost::Options),
    /// Measures the time from producing a record until a view and a sink topic have it.
    Latency(latency::Options),
    /// Measures a view whose state grows far beyond the memory budget.
    State(state::Options),
    /// Measures what views cost when there are many.
    Views(views::Options),
    /// Measures how long a change takes until all subscribers of a view have it.
    Subscribers(subscribers::Options),
    /// Does small pieces of fixed work, to be counted by callgrind; see bench/instructions.py.
    Micro(micro::Options),
    /// Measures what a changed row costs a window function over a large partition.
    Windows(windows::Options),
}

/// Measures, and prints what came out.
pub fn run(arguments: Arguments) -> Result<()> {
    run_counting(arguments, None)
}

/// As [`run`]; `allocations` says how many there have been in this process, where the global allocator counts them.
pub fn run_counting(arguments: Arguments, allocations: Option<fn() -> u64>) -> Result<()> {
    match arguments.bench {
        Bench::Nexmark(options) => nexmark::run(&options, allocations),
        Bench::Topics(options) => topics::run(&options),
        Bench::Limits(options) => limits::run(&options),
        Bench::Cost(options) => cost::run(&options),
        Bench::Latency(options) => latency::run(&options),
        Bench::State(options) => state::run(&options),
        Bench::Views(options) => views::run(&options),
        Bench::Subscribers(options) => subscribers::run(&options),
        Bench::Micro(options) => micro::run(&options, allocations),
        Bench::Windows(options) => windows::run(&options),
    }
}
