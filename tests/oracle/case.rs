//! One case: tables, views and changes from recorded choices, run on an engine and compared after every step.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;

use super::definition::{Definition, Met};
use super::follower::{Follower, Told};
use super::model::{Change, Model, TABLES};
use super::postgres::Postgres;
use super::sql::{CLOCK, LOCAL_CLOCK, Query, Relation, Sql};
use super::{batch, coverage, definition, query, reads, recursion};
use crate::support::database::{Database, settings};
use crate::support::random::Random;

/// Views that a case begins with; later ones may read earlier ones.
const VIEWS: usize = 4;
/// Changes of a case.
const CHANGES: usize = 12;
/// Queries that are refused one after the other before that is a failure: most can be views.
const REFUSED: u64 = 8;
/// What comes for the source is seen by then.
const ARRIVAL: Duration = Duration::from_secs(30);
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
    /// A view gets another query.
    Alter(Choices),
    /// Time passes.
    Tick(Choices),
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
    /// The table that only grows is a source.
    pub stream: bool,
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
            if random.one_in(6) {
                steps.push(Step::Alter(choices()));
            }
            if random.one_in(3) {
                steps.push(Step::Tick(choices()));
            }
            if durable && change % 5 == 4 {
                steps.push(Step::Restart);
            }
        }
        let workers = if seed.is_multiple_of(2) { 1 } else { 4 };
        let stream = (seed / 3).is_multiple_of(2);
        Self { kind, workers, tiny: (seed / 2).is_multiple_of(2), durable, stream, schema, steps }
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
        let file = self.stream.then(|| directory.path().join("log.jsonl"));
        if let Some(path) = &file {
            File::create(path).unwrap();
        }
        let model = Model::generate(&mut random, file);
        self.schema = Choices::Made(random.choices());
        let clock = Arc::new(AtomicI64::new(model.clock_us()));
        let mut run = Run {
            kind: self.kind,
            db: Database::with_clock(settings, clock.clone()),
            clock,
            postgres: Postgres::connect(),
            relations: model.relations(),
            model,
            views: Vec::new(),
            pairs: Vec::new(),
            followers: BTreeMap::new(),
            script: Vec::new(),
            step: 0,
        };
        run.begin()?;
        for (number, step) in self.steps.iter_mut().enumerate() {
            run.step = number;
            match step {
                Step::Nothing => continue,
                Step::NoView => {
                    run.no_view();
                    continue;
                }
                Step::View(choices) => run.view(choices)?,
                Step::Alter(choices) => {
                    let mut random = choices.random();
                    run.alter(&mut random)?;
                    *choices = Choices::Made(random.choices());
                }
                Step::Tick(choices) => {
                    let mut random = choices.random();
                    run.model.tick(&mut random);
                    *choices = Choices::Made(random.choices());
                    run.tick()?;
                }
                Step::Change(choices) => {
                    let mut random = choices.random();
                    let last = run.model.last_logged();
                    let change = run.model.change(&mut random);
                    *choices = Choices::Made(random.choices());
                    match change {
                        Change::Statement(statement) => run.both(&statement)?,
                        Change::Append { lines, statement } => run.append(&lines, &statement)?,
                    }
                    run.meet(0, last)?;
                }
                Step::Restart => {
                    run.script.push("-- restart".to_owned());
                    run.followers.clear();
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
    /// What else its definition says; such a view keeps its query.
    is_special: bool,
    /// Counts the rows on which it fails.
    fails: Option<Sql>,
    /// PostgreSQL has it too.
    in_postgres: bool,
    constructs: Vec<&'static str>,
    /// Its rows when they were last looked at.
    rows: Rows,
}

/// Which rows of the table that only grows met which of another one, for a view.
struct Pairs {
    name: String,
    met: Met,
    batches: Vec<RecordBatch>,
}

/// A case that runs.
struct Run {
    kind: Views,
    db: Database,
    /// What time it is for the engine, microseconds since 1970.
    clock: Arc<AtomicI64>,
    postgres: Option<Postgres>,
    model: Model,
    /// Tables, then views.
    relations: Vec<Relation>,
    /// By their numbers.
    views: Vec<Option<View>>,
    pairs: Vec<Pairs>,
    /// Subscribers of some views.
    followers: BTreeMap<usize, Follower>,
    script: Vec<String>,
    step: usize,
}

pub type Rows = Vec<Vec<String>>;

impl Run {
    fn fail(&self, kind: &str, message: String) -> Failure {
        Failure { kind: kind.to_owned(), message, step: self.step, script: self.script.clone() }
    }

    /// The tables.
    fn begin(&mut self) -> Result<(), Failure> {
        if self.postgres.is_some() {
            for definition in self.model.definitions(true) {
                self.on_postgres(&definition)?;
            }
            self.on_postgres(
                "CREATE TABLE time (at timestamp);
                 CREATE FUNCTION clock() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at AT TIME ZONE ''UTC'' FROM time';
                 CREATE FUNCTION local_clock() RETURNS timestamp LANGUAGE sql STABLE AS 'SELECT at FROM time'",
            )?;
            self.on_postgres(&format!("INSERT INTO time VALUES ('{}')", self.model.clock()))?;
        }
        for definition in self.model.definitions(false) {
            self.on_engine(&definition)?;
        }
        // A write makes an epoch, whatever reads the table.
        self.on_engine("CREATE TABLE ticks (at text)")?;
        if self.model.file.is_some() {
            self.on_engine("CREATE MATERIALIZED VIEW arrived AS SELECT count(*) AS n FROM log")?;
        }
        Ok(())
    }

    fn on_engine(&mut self, statement: &str) -> Result<(), Failure> {
        self.script.push(format!("{statement};"));
        let done = self.db.try_run(statement);
        done.map(drop).map_err(|error| self.fail(error.state(), format!("{error}\n{statement}")))
    }

    fn on_postgres(&self, statement: &str) -> Result<(), Failure> {
        let Some(postgres) = &self.postgres else { return Ok(()) };
        postgres.run(statement).map_err(|error| self.fail("PostgreSQL", format!("{error}\n{statement}")))
    }

    /// One statement, on both sides.
    fn both(&mut self, statement: &str) -> Result<(), Failure> {
        self.on_engine(statement)?;
        self.on_postgres(statement)
    }

    /// It is later.
    fn tick(&mut self) -> Result<(), Failure> {
        self.script.push(format!("-- it is {}", self.model.clock()));
        self.clock.store(self.model.clock_us(), Ordering::SeqCst);
        self.on_engine(&format!("INSERT INTO ticks VALUES ('{}')", self.model.clock()))?;
        self.on_postgres(&format!("UPDATE time SET at = '{}'", self.model.clock()))
    }

    /// More rows of the source, which are there when this returns.
    fn append(&mut self, lines: &str, statement: &str) -> Result<(), Failure> {
        let Some(path) = &self.model.file else { return Ok(()) };
        self.script.push(format!("-- by its file: {statement};"));
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        let count = self.model.tables[super::model::LOG].rows.len().to_string();
        let until = Instant::now() + ARRIVAL;
        loop {
            let arrived = self.db.try_run("SELECT n FROM arrived");
            let arrived =
                arrived.map_err(|error| self.fail(error.state(), format!("{error}\nSELECT n FROM arrived")))?;
            if arrived.rows == [[count.clone()]] {
                break;
            }
            if Instant::now() > until {
                return Err(self.fail("hangs", format!("{count} rows should have arrived, not {:?}", arrived.rows)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.on_postgres(statement)
    }

    /// Rows of the source that came behind an `id`, with what they meet, for the views that have such a join, from one on.
    fn meet(&mut self, first: usize, last: i64) -> Result<(), Failure> {
        if self.pairs[first..].is_empty() {
            return Ok(());
        }
        let [_, context] = batch::contexts(&self.model, &[]);
        for index in first..self.pairs.len() {
            let Pairs { name, met, .. } = &self.pairs[index];
            let pairs = met.pairs.replace("{last}", &last.to_string());
            let statement = match self.pairs[index].batches.is_empty() {
                true => format!("CREATE TABLE {name} AS {pairs}"),
                false => format!("INSERT INTO {name} {pairs}"),
            };
            self.on_postgres(&statement)?;
            let batches = self.db.runtime.block_on(batch::collected(&context, &pairs));
            let batches = batches.map_err(|error| self.fail("DataFusion", format!("{error}\n{pairs}")))?;
            self.pairs[index].batches.extend(batches);
        }
        Ok(())
    }

    /// One more view, over tables and the views that are there.
    fn view(&mut self, choices: &mut Choices) -> Result<(), Failure> {
        let name = format!("view{}", self.views.len());
        let attempts = match choices {
            Choices::Seed(seed) => (0..REFUSED).map(|attempt| Choices::Seed(seed.wrapping_add(attempt))).collect(),
            Choices::Made(_) => vec![choices.clone()],
        };
        let is_new = attempts.len() > 1;
        for attempt in attempts {
            let mut random = attempt.random();
            let definition = match self.kind {
                Views::Any => definition::generate(&mut random, &self.relations, 2),
                Views::Recursive => Definition::plain(recursion::generate(&mut random, &self.relations)),
            };
            let Definition { with, query, emit, .. } = &definition;
            let statement = format!("CREATE MATERIALIZED VIEW {name}{with} AS {}{emit}", query.sql.view);
            match self.db.try_run(&statement) {
                Ok(_) => {
                    *choices = Choices::Made(random.choices());
                    self.script.push(format!("{statement};"));
                    return self.add(name, definition, &statement);
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
        self.views.push(None);
    }

    fn add(&mut self, name: String, definition: Definition, statement: &str) -> Result<(), Failure> {
        let Definition { with, mut query, emit, fails, met } = definition;
        let is_special = !(with.is_empty() && emit.is_empty() && fails.is_none() && met.is_none());
        if let Some(met) = met {
            let first = self.pairs.len();
            let pairs = format!("pairs{first}");
            let sql = &mut query.sql;
            sql.postgres = sql.postgres.replace("{met}", &pairs);
            sql.batch = sql.batch.as_ref().map(|batch| batch.replace("{met}", &pairs));
            self.pairs.push(Pairs { name: pairs, met, batches: Vec::new() });
            self.meet(first, -1)?;
        }
        self.relations.push(query.as_view(&name));
        let constructs = coverage::constructs(statement);
        let view = View { name, query, is_special, fails, in_postgres: false, constructs, rows: Vec::new() };
        self.views.push(Some(view));
        let index = self.views.len() - 1;
        let mut constructs = self.views[index].as_ref().map(|view| view.constructs.clone()).unwrap_or_default();
        constructs.push(match self.height(index) {
            0 => "view over tables",
            1 => "view over views",
            _ => "view over views over views",
        });
        if self.views[index].as_ref().is_some_and(|view| view.fails.is_some()) {
            constructs.push("expression that fails");
        }
        coverage::made(&constructs);
        if let Some(view) = &mut self.views[index] {
            view.constructs = constructs;
        }
        self.create_in_postgres(index);
        self.index(index)
    }

    /// An index on every third view, by any of its columns.
    fn index(&mut self, index: usize) -> Result<(), Failure> {
        let Some(view) = self.views[index].as_ref().filter(|_| index % 3 == 2) else { return Ok(()) };
        let Some(place) = reads::column(&view.query.columns, index) else { return Ok(()) };
        let statement = format!("CREATE INDEX ON {} ({})", view.name, view.query.columns[place].name);
        count("indexes", || statement.clone());
        self.on_engine(&statement)
    }

    /// The view in PostgreSQL, if it can have it.
    fn create_in_postgres(&mut self, index: usize) {
        let (Some(postgres), Some(view)) = (&self.postgres, &mut self.views[index]) else { return };
        let created = postgres.run(&format!("CREATE VIEW {} AS {}", view.name, view.query.sql.postgres));
        view.in_postgres = created.is_ok();
        if let Err(error) = created {
            count(&format!("not asked of PostgreSQL: {}", error.lines().next().unwrap_or_default()), || {
                view.query.sql.postgres.clone()
            });
        }
    }

    /// The views that a view reads.
    fn reads(&self, index: usize) -> Vec<usize> {
        let Some(view) = &self.views[index] else { return Vec::new() };
        let is_read = |other: &usize| {
            let name = format!("view{other}");
            let behind = view.query.sql.view.split(&name).skip(1);
            self.views[*other].is_some()
                && behind.into_iter().any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        (0..index).filter(is_read).collect()
    }

    /// How many views stand below it, one over the other.
    fn height(&self, index: usize) -> usize {
        self.reads(index).into_iter().map(|below| self.height(below) + 1).max().unwrap_or(0)
    }

    /// Another query for a view that is there.
    fn alter(&mut self, random: &mut Random) -> Result<(), Failure> {
        let can_change = |index: &usize| self.views[*index].as_ref().is_some_and(|view| !view.is_special);
        let candidates: Vec<usize> = (0..self.views.len()).filter(can_change).collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let index = *random.pick(&candidates);
        let Some(View { name, query, .. }) = &self.views[index] else { return Ok(()) };
        let below = &self.relations[..TABLES.len() + index];
        let new = match random.below(3) {
            2 => query::generate(random, below, 1),
            form => query::changed(random, query, form == 1),
        };
        let statement = format!("ALTER MATERIALIZED VIEW {name} AS {}", new.sql.view);
        match self.db.try_run(&statement) {
            Ok(_) => {}
            Err(error) if ["0A000", "42P16", "2BP01"].contains(&error.state()) => {
                count(&format!("not altered: {}", error.state()), || format!("{error}\n{statement}"));
                return Ok(());
            }
            Err(error) => return Err(self.fail(error.state(), format!("{error}\n{statement}"))),
        }
        count("views altered", || statement.clone());
        self.script.push(format!("{statement};"));
        self.followers.values_mut().for_each(|follower| follower.may_end = true);
        self.relations[TABLES.len() + index] = new.as_view(name);
        if let Some(view) = &mut self.views[index] {
            view.query = new;
            view.constructs = coverage::constructs(&statement);
            view.constructs.push("ALTER … AS");
            coverage::made(&view.constructs);
        }
        // PostgreSQL's views are made anew, with all that may read this one.
        for later in (index..self.views.len()).rev() {
            if let Some(view) = &self.views[later] {
                self.on_postgres(&format!("DROP VIEW IF EXISTS {} CASCADE", view.name))?;
            }
        }
        (index..self.views.len()).for_each(|later| self.create_in_postgres(later));
        Ok(())
    }

    /// What DataFusion is asked, over the queries that views have by now.
    fn for_batch(&self, sql: &Sql) -> Option<String> {
        let mut text = sql.batch.clone()?;
        while let Some(begin) = text.find("@view") {
            let end = begin + 1 + text[begin + 1..].find('@')?;
            let index: usize = text[begin + "@view".len()..end].parse().ok()?;
            let below = self.views.get(index)?.as_ref()?.query.sql.batch.clone()?;
            text.replace_range(begin..=end, &below);
        }
        let (moment, local) =
            (format!("TIMESTAMPTZ '{}+00'", self.model.clock()), format!("TIMESTAMP '{}'", self.model.clock()));
        Some(text.replace(LOCAL_CLOCK, &local).replace(CLOCK, &moment))
    }

    /// Whether an expression fails for a row, in the view or in those that it reads; `None`: nobody knows.
    fn fails(&self, index: usize, contexts: &[SessionContext]) -> Option<bool> {
        let Some(view) = &self.views[index] else { return Some(false) };
        let mut fails = false;
        if let Some(sql) = &view.fails {
            let rows = match (&self.postgres, view.in_postgres) {
                (Some(postgres), true) => postgres.rows(&sql.postgres).ok()?,
                _ => {
                    let text = self.for_batch(sql).filter(|text| batch::can_be_asked(text, &[]))?;
                    self.db.runtime.block_on(batch::answer(&contexts[1], &text)).ok()?
                }
            };
            fails = rows != [["0"]];
        }
        for below in self.reads(index) {
            fails |= self.fails(below, contexts)?;
        }
        Some(fails)
    }

    /// Every view against its query.
    fn compare(&mut self) -> Result<(), Failure> {
        let pairs: Vec<_> = self.pairs.iter().map(|pairs| (pairs.name.clone(), pairs.batches.clone())).collect();
        let contexts = batch::contexts(&self.model, &pairs);
        for index in 0..self.views.len() {
            let Some(name) = self.views[index].as_ref().map(|view| view.name.clone()) else { continue };
            let found = self.db.try_run(&format!("SELECT * FROM {name}"));
            let raw = found.as_ref().ok().map(|answer| answer.rows.clone());
            let found = found.map(|answer| sorted(answer.rows)).map_err(|error| (error.state(), format!("{error}")));
            self.compare_one(index, &found, &contexts)?;
            if let Some(rows) = raw {
                self.read_parts(index, &name, &rows)?;
                self.tell(index, &name, &rows)?;
            }
            if let (Ok(rows), Some(view)) = (found, &mut self.views[index]) {
                if !is_within(&view.rows, &rows) {
                    coverage::shrank(&view.constructs);
                }
                view.rows = rows;
            }
        }
        Ok(())
    }

    /// What a subscriber of every fourth view was told.
    fn tell(&mut self, index: usize, name: &str, rows: &Rows) -> Result<(), Failure> {
        if index % 4 != 1 {
            return Ok(());
        }
        let known = self.followers.remove(&index);
        let told = follow_on(&self.db, name, known, rows);
        let follower = told.map_err(|message| self.fail("told", format!("{name}: {message}")))?;
        self.followers.insert(index, follower);
        count("times that a subscriber knew what a view holds", String::new);
        Ok(())
    }

    /// Parts of a view, of which every second one is read.
    fn read_parts(&mut self, index: usize, name: &str, rows: &Rows) -> Result<(), Failure> {
        let Some(view) = &self.views[index] else { return Ok(()) };
        if !(self.step + index).is_multiple_of(2) {
            return Ok(());
        }
        let read = reads::check(&mut self.db, name, &view.query.columns, rows, self.step + index);
        read.map_err(|message| self.fail("part", format!("a part of {name} is none of it\n{message}")))?;
        count("parts of views that were read", String::new);
        Ok(())
    }

    fn compare_one(
        &mut self,
        index: usize,
        found: &Result<Rows, (&'static str, String)>,
        contexts: &[SessionContext],
    ) -> Result<(), Failure> {
        let Some(View { name, query, in_postgres, fails, .. }) = &self.views[index] else { return Ok(()) };
        let differs = |expected: &dyn std::fmt::Debug| {
            let text = &query.sql.view;
            self.fail(
                "differs",
                format!("{name} is not what its query says\n{text}\nfound    {found:?}\nexpected {expected:?}"),
            )
        };
        match self.fails(index, contexts) {
            Some(true) => {
                if !found.as_ref().is_err_and(|(state, _)| state.starts_with("22")) {
                    return Err(differs(&"an error of a row"));
                }
                count("views that reported an error of a row", || format!("{found:?}"));
                let (fails, name) = (fails.is_some(), name.clone());
                // Its own or that of another view, it is listed.
                let listed = match fails {
                    true => format!(
                        "SELECT count(*) > 0 FROM mr_catalog.view_errors WHERE name = '{name}' OR name LIKE 'view%'"
                    ),
                    false => "SELECT count(*) > 0 FROM mr_catalog.view_errors".to_owned(),
                };
                let listed = self.db.try_run(&listed).map(|answer| answer.rows);
                return match listed {
                    Ok(rows) if rows == [["t"]] => Ok(()),
                    other => {
                        Err(self.fail("differs", format!("mr_catalog.view_errors has no row of {name}: {other:?}")))
                    }
                };
            }
            Some(false) => {}
            None => {
                count("views of which nobody knows whether an expression fails", || query.sql.view.clone());
                return Ok(());
            }
        }
        if let (Some(postgres), true) = (&self.postgres, in_postgres) {
            let answered = match postgres.rows(&format!("SELECT * FROM {name}")).map(sorted) {
                Ok(expected) if found.as_ref().ok() == Some(&expected) => true,
                Ok(expected) => return Err(differs(&expected)),
                // Both find an error in a row.
                Err(error) if error.starts_with("22") && found.is_err() => true,
                Err(error) if error.starts_with("57014") => {
                    count("queries that PostgreSQL didn't end", || query.sql.postgres.clone());
                    true
                }
                // PostgreSQL has no FULL JOIN on such a condition, for one.
                Err(error) if error.starts_with("0A000") => {
                    count("queries that PostgreSQL has as views, but doesn't answer", || {
                        format!("{error}\n{}", query.sql.postgres)
                    });
                    false
                }
                Err(error) => return Err(differs(&error)),
            };
            if answered {
                count("answers that PostgreSQL gave too", String::new);
                return Ok(());
            }
        }
        let text = self.for_batch(&query.sql).filter(|text| batch::can_be_asked(text, &query.columns));
        if let Some(text) = text {
            let answer = |context| self.db.runtime.block_on(batch::answer(context, &text)).map(sorted);
            let answers: Vec<_> = contexts.iter().map(answer).collect();
            if answers.iter().all(Result::is_err) {
                count("queries over which DataFusion itself fails", || format!("{answers:?}\n{text}"));
            } else if !answers.iter().flatten().any(|expected| found.as_ref().ok() == Some(expected)) {
                return Err(differs(&answers));
            } else {
                count("answers that DataFusion gave too", String::new);
                return Ok(());
            }
        }
        // What is more than its query has nobody else to ask.
        if self.views[index].as_ref().is_some_and(|view| view.is_special) {
            count("views that nobody else was asked of", || query.sql.view.clone());
            return Ok(());
        }
        let text = query.sql.view.replace("now()", &format!("TIMESTAMPTZ '{}+00'", self.model.clock()));
        match self.db.try_run(&text).map(|answer| sorted(answer.rows)) {
            Ok(expected) if found.as_ref().ok() != Some(&expected) => {
                let Some(View { name, query, .. }) = &self.views[index] else { return Ok(()) };
                let text = &query.sql.view;
                let message = format!(
                    "{name} is not what its query answers at once\n{text}\nfound    {found:?}\nexpected {expected:?}"
                );
                return Err(self.fail("differs", message));
            }
            Ok(_) => count("answers that the engine gave too when asked at once", String::new),
            Err(error) if error.state() == "XX000" => {
                return Err(self.fail("fails when asked at once", format!("{error}\n{text}")));
            }
            Err(error) => {
                count("queries that the engine can hold but not answer at once", || format!("{error}\n{text}"))
            }
        }
        Ok(())
    }
}

/// A subscriber who was told of these rows: the one who is there, else, or if that subscription has ended, another one.
fn follow_on(db: &Database, name: &str, known: Option<Follower>, rows: &Rows) -> Result<Follower, String> {
    if let Some(mut follower) = known
        && let Told::Everything = follower.hear(db, rows)?
    {
        return Ok(follower);
    }
    let mut follower = Follower::begin(db, name)?;
    follower.hear(db, rows)?;
    Ok(follower)
}

/// Whether all rows of the first are in the second, which are both in order.
fn is_within(rows: &Rows, others: &Rows) -> bool {
    let mut others = others.iter();
    rows.iter().all(|row| others.any(|other| other == row))
}

/// Rows in order, each value in one form.
pub fn sorted(rows: Rows) -> Rows {
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
            Err(_) if text.len() >= 19 && text.as_bytes()[10] == b'T' => text.replacen('T', " ", 1).replace('Z', "+00"),
            Err(_) => text,
        },
    }
}
