//! `millrace bench`, with an allocator that counts: `bench nexmark` shows allocations per million events.
//!
//! Times mean less than usual: the system's allocator is another one than the server's, and threads share the counter.

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Runs a benchmark and counts allocations.
#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    bench: bench::Arguments,
}

fn allocations() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}

fn main() {
    if let Err(error) = bench::run_counting(Options::parse().bench, Some(allocations)) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
