//! The oracle: whatever a view's query is, and whatever happens to its inputs, the view holds what its query answers over the rows that are
//! there now. Checked after every change against DataFusion in one batch ([`batch`]), or a real PostgreSQL where there is one ([`postgres`]),
//! and, for what neither can be asked, against the same query asked at once.
//!
//! Queries come from a grammar ([`query`], [`expression`] and the files beside them), tables and changes from a model ([`model`]); all of it from
//! a seed, which a failure prints beside the smallest case that still fails ([`shrink`]). MILLRACE_TEST_SEED=N begins there (with
//! MILLRACE_TEST_CASES=1 in the first group it repeats the case of a failure), MILLRACE_TEST_CASES runs more. What DataFusion itself fails on is counted, and
//! MILLRACE_TEST_VERBOSE=1 shows an instance of each such thing.

mod as_of;
mod batch;
mod case;
mod coverage;
mod definition;
mod expression;
mod follower;
mod forms;
mod model;
mod partition;
mod postgres;
mod query;
mod reads;
mod recursion;
mod rows;
mod shrink;
mod sql;
mod subquery;
mod window;

use std::collections::BTreeMap;

use libtest_mimic::Trial;

use crate::support::random::Random;
use crate::support::trial;
pub use case::sorted as canonical_rows;
use case::{Case, Views};
use definition::Definition;
use model::Model;
pub use postgres::Postgres;

/// Groups of cases, so that they share the machine's cores.
const GROUPS: u64 = 6;
/// Cases of a group.
const CASES: u64 = 8;

pub fn trials() -> Vec<Trial> {
    let cases = std::env::var("MILLRACE_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let first = Random::seed(1);
    let group = move |group: u64| {
        let name = format!("oracle::random_queries_{group}");
        trial(&name, move || run_all(first + group * 1_000, cases, Views::Any))
    };
    let recursions = move |group: u64| {
        let name = format!("oracle::random_recursions_{group}");
        trial(&name, move || run_all(first + (GROUPS + group) * 1_000, 2 * cases, Views::Recursive))
    };
    let grammar = trial("oracle::the_grammar_has_every_construct", the_grammar_has_every_construct);
    (0..GROUPS).map(group).chain((0..2).map(recursions)).chain([grammar]).collect()
}

/// Definitions that are drawn, of which each construct is in a few.
const DRAWN: u64 = 4_000;
/// The fewest of them that may have a construct.
const FEWEST: u64 = 4;

/// What the grammar has lost is no longer shown by any seed.
fn the_grammar_has_every_construct() {
    let mut seen: BTreeMap<&str, u64> = coverage::all().map(|name| (name, 0)).collect();
    for seed in 0..DRAWN {
        let mut random = Random::new(seed);
        let mut relations = Model::generate(&mut random, Some("log.jsonl".into())).relations();
        relations.push(definition::generate(&mut random, &relations, 1).query.as_view("view0"));
        let Definition { with, query, emit, .. } = definition::generate(&mut random, &relations, 2);
        for name in coverage::constructs(&format!("{with} AS {}{emit}", query.sql.view)) {
            *seen.entry(name).or_default() += 1;
        }
    }
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < FEWEST).collect();
    assert!(rare.is_empty(), "of {DRAWN} definitions these are in few: {rare:?}");
}

/// Cases from a seed on. With MILLRACE_TEST_KEEP_GOING=1 all failures are printed before the run fails.
fn run_all(first: u64, cases: u64, kind: Views) {
    let keeps_going = std::env::var_os("MILLRACE_TEST_KEEP_GOING").is_some();
    let mut failed = Vec::new();
    for seed in first..first + cases {
        if let Err(report) = run_case(seed, kind) {
            assert!(keeps_going, "{report}");
            eprintln!("{report}\n");
            failed.push(seed);
        }
    }
    eprintln!("seeds {first} to {}, all groups so far:\n{}", first + cases - 1, case::counts() + &coverage::report());
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
}

fn run_case(seed: u64, kind: Views) -> Result<(), String> {
    let mut case = Case::generate(seed, kind);
    let Err(failure) = case.run() else { return Ok(()) };
    let first = failure.message.clone();
    let (case, failure) = shrink::shrink(case, failure);
    Err(format!(
        "seed {seed} ({kind:?}): {first}\n\nas small as it got, with {} workers{}{}{}:\n{}\n\n{}",
        case.workers,
        if case.tiny { ", little memory" } else { "" },
        if case.durable { ", on disk" } else { "" },
        if case.stream { ", with a source" } else { "" },
        failure.script.join("\n"),
        failure.message,
    ))
}
