//! The tables as plain rows: what DML makes of them, and what DataFusion reads.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_limit::EliminateLimit;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::support::random::Random;

/// A row of each table. Few values, so that keys meet and groups come and go.
#[derive(Clone, Debug)]
struct Row {
    id: i32,
    a: Option<i32>,
    b: Option<i32>,
    s: Option<&'static str>,
    f: Option<f64>,
    /// In hundredths.
    n: Option<i128>,
    /// Seconds since [`START_S`].
    at: Option<i64>,
    ok: Option<bool>,
}

/// 2024-01-01 00:00:00.
const START_S: i64 = 1_704_067_200;

/// Two keyed tables and one without a key, all of the same columns.
#[derive(Debug, Default)]
pub struct Model {
    tables: [Vec<Row>; 3],
    next_id: i32,
}

pub const TABLES: [&str; 3] = ["t0", "t1", "bag"];
const WORDS: [Option<&str>; 5] = [Some("x"), Some("y"), Some("xy"), Some(""), None];

/// The table without a primary key: its `id` is one of few, so that rows repeat.
const BAG: usize = 2;

impl Model {
    pub fn definitions(&self) -> Vec<String> {
        let columns = "a int, b int, s text, f double precision, n numeric(8,2), at timestamp, ok boolean";
        vec![
            format!("CREATE TABLE t0 (id int PRIMARY KEY, {columns})"),
            format!("CREATE TABLE t1 (id int PRIMARY KEY, {columns})"),
            format!("CREATE TABLE bag (id int, {columns})"),
        ]
    }

    /// Changes the model and says by which statement.
    pub fn change(&mut self, random: &mut Random) -> String {
        let table = random.below(3) as usize;
        match random.below(6) {
            0..=2 => self.insert(table, random),
            3 => self.delete(table, random),
            _ => self.update(table, random),
        }
    }

    fn insert(&mut self, table: usize, random: &mut Random) -> String {
        let rows: Vec<Row> = (0..=random.below(6))
            .map(|_| {
                self.next_id += 1;
                let id = if table == BAG { random.below(3) as i32 } else { self.next_id };
                let f = (!random.one_in(6)).then(|| (random.below(33) as f64 - 16.0) / 4.0);
                let n = int(random, -8, 17).map(|n| i128::from(n) * 25);
                let at = int(random, 0, 13).map(|at| i64::from(at) * 30);
                let ok = *random.pick(&[Some(true), Some(false), None]);
                Row { id, a: int(random, 0, 5), b: int(random, -4, 9), s: *random.pick(&WORDS), f, n, at, ok }
            })
            .collect();
        let values: Vec<_> = rows.iter().map(Row::literal).collect();
        self.tables[table].extend(rows);
        format!("INSERT INTO {} VALUES {}", TABLES[table], values.join(", "))
    }

    fn delete(&mut self, table: usize, random: &mut Random) -> String {
        let a = random.below(5) as i32;
        if random.one_in(8) {
            self.tables[table].clear();
            return format!("DELETE FROM {}", TABLES[table]);
        }
        self.tables[table].retain(|row| row.a != Some(a));
        format!("DELETE FROM {} WHERE a = {a}", TABLES[table])
    }

    fn update(&mut self, table: usize, random: &mut Random) -> String {
        let b = random.below(6) as i32 - 3;
        let word = *random.pick(&WORDS);
        let hit = |row: &&mut Row| row.b.is_some_and(|value| value > b);
        let set = match random.below(7) {
            0 => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.a = row.a.map(|a| (a + 1) % 5));
                "a = (a + 1) % 5".to_owned()
            }
            1 => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.s = word);
                format!("s = {}", text(word))
            }
            2 => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.f = row.f.map(|f| f + 0.25));
                "f = f + 0.25".to_owned()
            }
            3 => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.n = row.n.map(|n| -n));
                "n = -n".to_owned()
            }
            4 => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.at = row.at.map(|at| at + 60));
                "at = at + INTERVAL '1 minute'".to_owned()
            }
            5 => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.ok = row.ok.map(|ok| !ok));
                "ok = NOT ok".to_owned()
            }
            _ => {
                self.tables[table].iter_mut().filter(hit).for_each(|row| row.a = None);
                "a = NULL".to_owned()
            }
        };
        format!("UPDATE {} SET {set} WHERE b > {b}", TABLES[table])
    }

    /// The tables as DataFusion reads them: once with all of its optimizer rules, once with only those without which queries can't be
    /// executed. Where the two disagree, a rule is wrong, and the plainer answer is the better one.
    pub fn contexts(&self) -> [SessionContext; 2] {
        let builder = || {
            let mut config = SessionConfig::new().with_target_partitions(1);
            // As in the engine: IS NOT TRUE is never NULL, which its physical expression doesn't know.
            config.options_mut().execution.skip_physical_aggregate_schema_check = true;
            SessionStateBuilder::new().with_default_features().with_config(config)
        };
        let plain = builder().with_optimizer_rules(vec![
            Arc::new(SimplifyExpressions::new()),
            // No rows at all are no first rows to DataFusion's executor.
            Arc::new(EliminateLimit::new()),
            Arc::new(ReplaceDistinctWithAggregate::new()),
            Arc::new(DecorrelatePredicateSubquery::new()),
            Arc::new(ExtractEquijoinPredicate::new()),
        ]);
        [builder(), plain].map(|builder| self.register(SessionContext::new_with_state(builder.build())))
    }

    fn register(&self, context: SessionContext) -> SessionContext {
        for (name, rows) in TABLES.iter().zip(&self.tables) {
            let batch = batch(rows);
            let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
            context.register_table(*name, Arc::new(table)).unwrap();
        }
        context
    }
}

impl Row {
    fn literal(&self) -> String {
        let number = |value: Option<String>| value.unwrap_or("NULL".to_owned());
        let (a, b) = (number(self.a.map(|v| v.to_string())), number(self.b.map(|v| v.to_string())));
        let f = number(self.f.map(|v| format!("{v:?}")));
        let n = number(self.n.map(|v| format!("{:.2}", v as f64 / 100.0)));
        let at = number(self.at.map(|s| format!("'2024-01-01 00:{:02}:{:02}'", s / 60, s % 60)));
        let ok = number(self.ok.map(|ok| ok.to_string()));
        format!("({}, {a}, {b}, {}, {f}, {n}, {at}, {ok})", self.id, text(self.s))
    }
}

fn int(random: &mut Random, least: i32, count: u64) -> Option<i32> {
    (!random.one_in(6)).then(|| least + random.below(count) as i32)
}

fn text(value: Option<&str>) -> String {
    value.map_or("NULL".to_owned(), |value| format!("'{value}'"))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Int32, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("f", DataType::Float64, true),
        Field::new("n", DataType::Decimal128(8, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("ok", DataType::Boolean, true),
    ]);
    let numerics: Decimal128Array = rows.iter().map(|row| row.n).collect();
    let time = |row: &Row| row.at.map(|at| (START_S + at) * 1_000_000);

    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.a).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.b).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.s).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.f).collect::<Float64Array>()),
        Arc::new(numerics.with_precision_and_scale(8, 2).unwrap()),
        Arc::new(rows.iter().map(time).collect::<TimestampMicrosecondArray>()),
        Arc::new(rows.iter().map(|row| row.ok).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// A query's rows as text; NULL reads `NULL`.
pub async fn answer(context: &SessionContext, sql: &str) -> Result<Vec<Vec<String>>, DataFusionError> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in context.sql(sql).await?.collect().await? {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()));
    }
    Ok(rows)
}
