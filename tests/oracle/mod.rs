//! The oracle: whatever a view's query is, and whatever happens to its inputs, the view holds what DataFusion answers
//! to the same SQL over the rows that are there now. Checked after every change.
//!
//! Queries come from a grammar ([`query`], [`expression`]), changes from a model of the tables ([`model`]); all of it from a seed, which a
//! failure prints. MILLRACE_TEST_SEED=N begins there (with MILLRACE_TEST_CASES=1 in the first group it repeats the case of a failure),
//! MILLRACE_TEST_CASES runs more.

mod as_of;
mod expression;
mod model;
mod partition;
mod query;
mod recursion;
mod rows;

use libtest_mimic::Trial;

use crate::support::database::{Database, settings};
use crate::support::random::Random;
use crate::support::trial;
use model::Model;
use query::{Query, Relation};

/// Groups of cases, so that they share the machine's cores.
const GROUPS: u64 = 6;
/// Cases of a group.
const CASES: u64 = 8;
/// Views of a case; later ones may read earlier ones.
const VIEWS: usize = 4;
/// Changes of a case.
const CHANGES: usize = 12;
/// Queries that are refused one after the other before that is a failure: most can be views.
const REFUSED: usize = 6;

pub fn trials() -> Vec<Trial> {
    let cases = std::env::var("MILLRACE_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let first = Random::seed(1);
    let group = |group: u64| {
        let name = format!("oracle::random_queries_{group}");
        trial(&name, move || (0..cases).for_each(|case| run_case(first + group * 1_000 + case, Views::Any)))
    };
    let recursions = |group: u64| {
        let name = format!("oracle::random_recursions_{group}");
        let seeds = first + (GROUPS + group) * 1_000..;
        trial(&name, move || seeds.take(2 * cases as usize).for_each(|seed| run_case(seed, Views::Recursive)))
    };
    (0..GROUPS).map(group).chain((0..2).map(recursions)).collect()
}

/// What the views of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Views {
    Any,
    Recursive,
}

fn run_case(seed: u64, kind: Views) {
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let durable = random.one_in(2);
    let mut settings = settings(durable.then(|| directory.path().join("data")));
    settings.workers = 1 + random.below(3) as usize;
    if durable && random.one_in(2) {
        settings.memory_budget_bytes = 64 << 10;
    }
    let mut db = Database::open(settings);
    let mut model = Model::default();
    let mut history = Vec::new();
    for table in model.definitions() {
        db.run(&table);
    }
    // Some rows are there before the views are made, so that hydration is part of it.
    for _ in 0..random.below(3) {
        change(&mut db, &mut model, &mut random, &mut history);
    }
    let mut views: Vec<(String, Query)> = Vec::new();
    for _ in 0..VIEWS {
        make_view(&mut db, &mut views, &mut random, kind, seed);
    }
    compare(&mut db, &model, &views, seed, &history);
    for step in 0..CHANGES {
        change(&mut db, &mut model, &mut random, &mut history);
        if random.one_in(6) {
            // Over rows that are there, beside views that run.
            make_view(&mut db, &mut views, &mut random, kind, seed);
            history.push(format!("-- v{} is made", views.len() - 1));
        }
        if durable && step % 5 == 4 {
            history.push("-- restart".to_owned());
            db.reopen();
        }
        compare(&mut db, &model, &views, seed, &history);
    }
}

/// One more view, over tables and the views that are there.
fn make_view(db: &mut Database, views: &mut Vec<(String, Query)>, random: &mut Random, kind: Views, seed: u64) {
    let name = format!("v{}", views.len());
    let mut relations = Relation::tables();
    relations.extend(views.iter().map(|(name, query)| query.as_relation(name)));
    for _ in 0..REFUSED {
        let query = match kind {
            Views::Any => Query::generate(random, &relations, 2),
            Views::Recursive => recursion::generate(random, &relations),
        };
        let statement = format!("CREATE MATERIALIZED VIEW {name} AS {}", query.sql);
        match db.try_run(&statement) {
            Ok(_) => return views.push((name, query)),
            Err(error) if error.state() == "0A000" => {}
            Err(error) => panic!("seed {seed}: {error}\n{statement}"),
        }
    }
    panic!("seed {seed}: {REFUSED} queries in a row were refused as views");
}

/// One statement, on both sides.
fn change(db: &mut Database, model: &mut Model, random: &mut Random, history: &mut Vec<String>) {
    let statement = model.change(random);
    history.push(statement.clone());
    db.run(&statement);
}

fn compare(db: &mut Database, model: &Model, views: &[(String, Query)], seed: u64, history: &[String]) {
    let contexts = model.contexts();
    for (name, query) in views {
        let found = sorted(db.rows(&format!("SELECT * FROM {name}")));
        let answer = |context| db.runtime.block_on(model::answer(context, &query.oracle)).map(sorted);
        let answers: Vec<_> = contexts.iter().map(answer).collect();
        assert!(
            answers.iter().flatten().any(|expected| *expected == found),
            "seed {seed}: {name} is not what its query says\n{}\nfound    {found:?}\nexpected {answers:?}\nviews:\n{}\nafter:\n{}",
            query.sql,
            views.iter().map(|(name, query)| format!("{name}: {}", query.sql)).collect::<Vec<_>>().join("\n"),
            history.join("\n")
        );
    }
}

fn sorted(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<_>> = rows.into_iter().map(|row| row.into_iter().map(canonical).collect()).collect();
    rows.sort();
    rows
}

/// One text for one value, whatever type carries it: numbers to six digits, truth as `true` and `false`.
fn canonical(text: String) -> String {
    match text.as_str() {
        "t" => "true".to_owned(),
        "f" => "false".to_owned(),
        _ => match text.parse::<f64>() {
            // -0 and 0 are one number.
            Ok(number) => format!("{:.6}", number + 0.0),
            // DataFusion writes times with a T.
            Err(_) if text.len() >= 19 && text.as_bytes()[10] == b'T' => text.replacen('T', " ", 1),
            Err(_) => text,
        },
    }
}
