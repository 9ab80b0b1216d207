//! With an allocator that counts: codecs and operators ask for memory by the batch and not by the row, and those that do by the row don't more often than
//! they did.
//!
//! `cargo test --release -p bench --test allocations -- nexmark --queries q5` runs `millrace bench` with the same allocator instead, and shows allocations
//! per million events; `-- micro` shows them for each piece. (Times mean less than usual: the system's allocator is another one than the
//! server's, and threads share the counter.)

use std::process::ExitCode;

use clap::Parser;
use libtest_mimic::{Failed, Trial};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Allocations per row of a piece, at most. Buffers that double, hash tables, and a batch's arrays make some; one for each hundredth row is
/// more than those.
const MOST_PER_ROW: f64 = 0.01;

/// Pieces with more: what they were seen with, and a tenth. Fewer is better; more is a step back.
const MORE: &[(&str, f64)] = &[
    ("operator.aggregate", 0.4),
    ("operator.aggregate_changing", 0.7),
    ("operator.min_changing", 5.0),
    ("operator.count_distinct", 3.2),
    ("operator.avg_text_key", 2.1),
    ("operator.distinct", 2.1),
    ("operator.join", 2.1),
    ("operator.join_changing", 1.1),
    ("operator.left_join", 3.7),
    ("operator.semi_join", 0.5),
    ("operator.anti_join", 3.0),
    ("operator.first_of_each", 2.3),
    ("operator.top_ten_changing", 2.4),
    ("operator.tumble", 0.7),
    ("operator.hop", 2.0),
    ("operator.session", 7.8),
    ("operator.union", 0.3),
    ("operator.intersect", 0.6),
    ("operator.bag_view", 2.3),
    ("operator.keyed_view", 3.1),
];

/// Runs a benchmark and counts allocations.
#[derive(clap::Parser)]
struct Options {
    #[command(flatten)]
    bench: bench::Arguments,
}

fn count() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}

fn main() -> ExitCode {
    if matches!(std::env::args().nth(1).as_deref(), Some("nexmark" | "micro")) {
        return match bench::run_counting(Options::parse().bench, Some(count)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let trials = vec![Trial::test("no_more_is_allocated_for_each_row", no_more_is_allocated_for_each_row)];
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit_code()
}

fn no_more_is_allocated_for_each_row() -> Result<(), Failed> {
    let wanted = ["codec.", "operator."].map(str::to_owned);
    let mut wrong = String::new();
    for found in bench::allocations(count, &wanted)? {
        let known = MORE.iter().find(|(piece, _)| *piece == found.piece);
        let most = known.map_or(MOST_PER_ROW, |(_, most)| *most);
        if found.per_row > most {
            wrong += &format!("{}: {:.4} allocations a row, where {most} are allowed\n", found.piece, found.per_row);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into()) }
}
