//! Everything that needs the whole engine, as one binary: it links some 150 MB, so there is one of it.
//!
//! A filter picks by name, as with any Rust test: `cargo test -p tests --test suite -- sqllogictest::joins`.
//! What a machine lacks (Java for a real Kafka, psql, Python) makes tests `ignored`, and the reason is printed first.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

mod clients;
mod engine;
mod isolation;
mod kafka;
mod load;
mod nexmark;
mod operations;
mod oracle;
mod simulation;
mod sqllogictest;
mod support;
mod tpch;
mod watermarks;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(oracle::trials());
    trials.extend(simulation::trials());
    trials.extend(engine::trials());
    trials.extend(isolation::trials());
    trials.extend(load::trials());
    trials.extend(operations::trials());
    trials.extend(sqllogictest::trials());
    trials.extend(tpch::trials());
    trials.extend(nexmark::trials());
    trials.extend(watermarks::trials());
    trials.extend(clients::trials());
    trials.extend(kafka::trials());
    let conclusion = libtest_mimic::run(&arguments, trials);
    kafka::broker::stop_shared();
    conclusion.exit();
}
