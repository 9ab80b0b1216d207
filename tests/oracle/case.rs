//! One case: tables, views and changes from recorded choices, run on an engine and compared after every step.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::batch;
use super::model::{Model, TABLES};
use super::postgres::Postgres;
use super::sql::{Query, Relation};
use super::{query, recursion};
use crate::support::database::{Database, settings};
use crate::support::random::Random;

/// Views that a case begins with; later ones may read earlier ones.
const VIEWS: usize = 4;
/// Changes of a case.
const CHANGES: usize = 12;
/// Queries that are refused one after the other before that is a failure: most can be views.
const REFUSED: u64 = 8;
/// A memory budget in which nothing stays.
const TINY_BYTES: usize = 64 << 10;

/// What the views of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    Any,
    Recursive,
}

/// Where the choices of a part come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choices {
    /// They are still to be made.
    Seed(u64),
    Made(Vec<u64>),
}

/// A step of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    View(Choices),
    Change(Choices),
    /// The engine ends and is opened again.
    Restart,
    /// A change or restart that was taken out.
    Nothing,
    /// A view that was taken out: where others read it, they read a table.
    NoView,
}

/// What happens, and on which engine.
#[derive(Clone, Debug)]
pub struct Case {
    pub kind: Views,
    pub workers: usize,
    /// State exceeds the memory budget.
    pub tiny: bool,
    pub durable: bool,
    pub schema: Choices,
    pub steps: Vec<Step>,
}

/// A view that isn't what its query says, or a statement that should have worked.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure it is: a smaller case must fail in the same way.
    pub kind: String,
    pub message: String,
    /// The step behind which it was seen.
    pub step: usize,
    /// Everything that was run, to be run again by hand.
    pub script: Vec<String>,
}

/// How often something happened that is no failure of ours, for the last line of a run.
static COUNTS: Mutex<BTreeMap<String, (u64, String)>> = Mutex::new(BTreeMap::new());

/// Counts something, and keeps the first instance of it.
pub fn count(what: &str, instance: impl FnOnce() -> String) {
    let mut counts = COUNTS.lock().unwrap();
    counts.entry(what.to_owned()).or_insert_with(|| (0, instance())).0 += 1;
}

/// What was counted so far, a line each.
pub fn counts() -> String {
    let counts = COUNTS.lock().unwrap();
    let verbose = std::env::var_os("MILLRACE_TEST_VERBOSE").is_some();
    let line = |(what, (count, first)): (&String, &(u64, String))| match verbose {
        true => format!("  {count} {what}\n    first: {first}\n"),
        false => format!("  {count} {what}\n"),
    };
    counts.iter().map(line).collect()
}

impl Choices {
    fn random(&self) -> Random {
        match self {
            Self::Seed(seed) => Random::recording(*seed),
            Self::Made(choices) => Random::choosing(choices),
        }
    }
}

impl Case {
    /// Any seed gives a case. One and four workers, a tiny and a large memory budget, with a restart in the middle and without take turns.
    pub fn generate(seed: u64, kind: Views) -> Self {
        let mut random = Random::new(seed);
        let mut choices = || Choices::Seed(random.next());
        let schema = choices();
        let mut steps = Vec::new();
        let mut random = Random::new(seed ^ 0x5EED);
        // Some rows are there before the views are made, so that hydration is part of it.
        for _ in 0..random.below(3) {
            steps.push(Step::Change(choices()));
        }
        (0..VIEWS).for_each(|_| steps.push(Step::View(choices())));
        let durable = !seed.is_multiple_of(4);
        for change in 0..CHANGES {
            steps.push(Step::Change(choices()));
            if random.one_in(6) {
                // Over rows that are there, beside views that run.
                steps.push(Step::View(choices()));
            }
            if durable && change % 5 == 4 {
                steps.push(Step::Restart);
            }
        }
        let workers = if seed.is_multiple_of(2) { 1 } else { 4 };
        Self { kind, workers, tiny: (seed / 2).is_multiple_of(2), durable, schema, steps }
    }

    /// Runs it; what was random becomes recorded.
    pub fn run(&mut self) -> Result<(), Failure> {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(self.durable.then(|| directory.path().join("data")));
        settings.workers = self.workers;
        if self.tiny {
            settings.memory_budget_bytes = TINY_BYTES;
        }
        let mut random = self.schema.random();
        let model = Model::generate(&mut random);
        self.schema = Choices::Made(random.choices());
        let mut run = Run {
            kind: self.kind,
            db: Database::open(settings),
            postgres: Postgres::connect(),
            relations: model.relations(),
            model,
            views: Vec::new(),
            script: Vec::new(),
            step: 0,
        };
        for definition in run.model.definitions() {
            run.both(&definition)?;
        }
        for (number, step) in self.steps.iter_mut().enumerate() {
            run.step = number;
            match step {
                Step::Nothing => continue,
                Step::NoView => {
                    run.no_view();
                    continue;
                }
                Step::View(choices) => run.view(choices)?,
                Step::Change(choices) => {
                    let mut random = choices.random();
                    let statement = run.model.change(&mut random);
                    *choices = Choices::Made(random.choices());
                    run.both(&statement)?;
                }
                Step::Restart => {
                    run.script.push("-- restart".to_owned());
                    run.db.reopen();
                }
            }
            run.compare()?;
        }
        Ok(())
    }
}

/// A view with its query.
struct View {
    name: String,
    query: Query,
    /// PostgreSQL has it too.
    in_postgres: bool,
}

/// A case that runs.
struct Run {
    kind: Views,
    db: Database,
    postgres: Option<Postgres>,
    model: Model,
    /// Tables, then views.
    relations: Vec<Relation>,
    views: Vec<View>,
    script: Vec<String>,
    step: usize,
}

type Rows = Vec<Vec<String>>;

impl Run {
    fn fail(&self, kind: &str, message: String) -> Failure {
        Failure { kind: kind.to_owned(), message, step: self.step, script: self.script.clone() }
    }

    /// One statement, on both sides.
    fn both(&mut self, statement: &str) -> Result<(), Failure> {
        self.script.push(format!("{statement};"));
        self.db.try_run(statement).map_err(|error| self.fail(error.state(), format!("{error}\n{statement}")))?;
        if let Some(postgres) = &self.postgres {
            postgres.run(statement).map_err(|error| self.fail("PostgreSQL", format!("{error}\n{statement}")))?;
        }
        Ok(())
    }

    /// One more view, over tables and the views that are there.
    fn view(&mut self, choices: &mut Choices) -> Result<(), Failure> {
        let name = format!("v{}", self.relations.len() - TABLES.len());
        let attempts = match choices {
            Choices::Seed(seed) => (0..REFUSED).map(|attempt| Choices::Seed(seed.wrapping_add(attempt))).collect(),
            Choices::Made(_) => vec![choices.clone()],
        };
        let is_new = attempts.len() > 1;
        for attempt in attempts {
            let mut random = attempt.random();
            let query = match self.kind {
                Views::Any => query::generate(&mut random, &self.relations, 2),
                Views::Recursive => recursion::generate(&mut random, &self.relations),
            };
            let statement = format!("CREATE MATERIALIZED VIEW {name} AS {}", query.sql.view);
            match self.db.try_run(&statement) {
                Ok(_) => {
                    *choices = Choices::Made(random.choices());
                    self.script.push(format!("{statement};"));
                    self.add(name, query);
                    return Ok(());
                }
                Err(error) if error.state() == "0A000" => {
                    count(&format!("refused: {}", error.0.message), || statement.clone());
                }
                Err(error) => return Err(self.fail(error.state(), format!("{error}\n{statement}"))),
            }
        }
        match is_new {
            true => Err(self.fail("refused", format!("{REFUSED} queries in a row were refused as views"))),
            // A smaller query that is no view any more.
            false => {
                self.no_view();
                Ok(())
            }
        }
    }

    /// Views keep their numbers.
    fn no_view(&mut self) {
        let table = self.relations[0].clone();
        self.relations.push(table);
    }

    fn add(&mut self, name: String, query: Query) {
        let created = self.postgres.as_ref().map(|postgres| {
            postgres.run(&format!("CREATE VIEW {name} AS {}", query.sql.postgres)).map_err(|error| {
                count(&format!("not asked of PostgreSQL: {}", error.lines().next().unwrap_or_default()), || {
                    query.sql.postgres.clone()
                });
            })
        });
        self.relations.push(query.as_view(&name));
        self.views.push(View { name, query, in_postgres: matches!(created, Some(Ok(()))) });
    }

    /// Every view against its query.
    fn compare(&mut self) -> Result<(), Failure> {
        let contexts = batch::contexts(&self.model);
        for index in 0..self.views.len() {
            let View { name, query, in_postgres } = &self.views[index];
            let select = format!("SELECT * FROM {name}");
            let found = self.db.try_run(&select).map(|answer| sorted(answer.rows));
            let found = found.map_err(|error| format!("{error}"));
            let differs = |expected: &dyn std::fmt::Debug| {
                let text = &query.sql.view;
                format!("{name} is not what its query says\n{text}\nfound    {found:?}\nexpected {expected:?}")
            };
            if let (Some(postgres), true) = (&self.postgres, in_postgres) {
                match postgres.rows(&select).map(sorted) {
                    Ok(expected) if found.as_ref().ok() == Some(&expected) => {}
                    Ok(expected) => return Err(self.fail("differs", differs(&expected))),
                    // Both find an error in a row.
                    Err(error) if error.starts_with("22") && found.is_err() => {}
                    Err(error) if error.starts_with("57014") => {
                        count("queries that PostgreSQL didn't end", || select.clone())
                    }
                    Err(error) => return Err(self.fail("differs", differs(&error))),
                }
                count("answers that PostgreSQL gave too", String::new);
                continue;
            }
            if let Some(text) = &query.sql.batch {
                let answer = |context| self.db.runtime.block_on(batch::answer(context, text)).map(sorted);
                let answers: Vec<_> = contexts.iter().map(answer).collect();
                if answers.iter().all(Result::is_err) {
                    count("queries over which DataFusion itself fails", || format!("{answers:?}\n{text}"));
                } else if !answers.iter().flatten().any(|expected| found.as_ref().ok() == Some(expected)) {
                    return Err(self.fail("differs", differs(&answers)));
                } else {
                    count("answers that DataFusion gave too", String::new);
                    continue;
                }
            }
            let text = query.sql.view.clone();
            match self.db.try_run(&text).map(|answer| sorted(answer.rows)) {
                Ok(expected) if found.as_ref().ok() != Some(&expected) => {
                    return Err(self.fail("differs", differs(&expected)));
                }
                Ok(_) => count("answers that the engine gave too when asked at once", String::new),
                Err(error) => {
                    count("queries that the engine can hold but not answer at once", || format!("{error}\n{text}"))
                }
            }
        }
        Ok(())
    }
}

fn sorted(rows: Rows) -> Rows {
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
