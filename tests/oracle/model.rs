//! The tables as plain rows: random columns, and what DML makes of their rows.

use std::path::PathBuf;

use super::expression::Kind;
use super::sql::{Column, Relation, Sql, column};
use crate::support::random::Random;

/// A value of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(&'static str),
    Float(f64),
    /// In hundredths.
    Numeric(i128),
    /// Seconds since [`START_S`].
    Time(i64),
    Bool(bool),
    /// Days since the day of [`START_S`].
    Date(i64),
    /// Seconds since [`START_S`].
    Moment(i64),
    /// In seconds.
    Interval(i64),
    List(&'static [i64]),
    /// As both sides write it.
    Json(&'static str),
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub sql_type: &'static str,
    pub not_null: bool,
}

/// A table with its rows.
#[derive(Debug, Default)]
pub struct Table {
    pub fields: Vec<Field>,
    pub rows: Vec<Vec<Value>>,
    /// Columns of the primary key; none: rows may repeat.
    key: Vec<usize>,
}

/// Two keyed tables, one without a key, and one whose rows are only ever added: a source, or a table like the others.
#[derive(Debug)]
pub struct Model {
    pub tables: Vec<Table>,
    next_id: i64,
    /// What time it is, in seconds since [`START_S`], and a half more: no row's time is ever now.
    pub clock_s: i64,
    /// The file that the source follows.
    pub file: Option<PathBuf>,
}

/// What a change is.
#[derive(Debug)]
pub enum Change {
    /// Statements, which are one transaction.
    Statement(String),
    /// Lines for the source's file, and the statement that adds the same rows to a table.
    Append { lines: String, statement: String },
}

/// 2024-01-01 00:00:00.
pub const START_S: i64 = 1_704_067_200;
pub const TABLES: [&str; 4] = ["t0", "t1", "bag", "log"];
/// The place of the one that only grows.
pub const LOG: usize = 3;
/// How far the times of `log` may be behind the latest, in seconds: nothing is ever late.
pub const DELAY_S: i64 = 30;
const BAG: usize = 2;
const WORDS: [&str; 6] = ["x", "y", "xy", "", "X y", "7"];
const LISTS: [&[i64]; 4] = [&[], &[1], &[2, 1], &[0, 3, 3]];
const DOCUMENTS: [&str; 5] = [
    r#"{"k": 1, "t": "x"}"#,
    r#"{"k": 2, "n": {"k": 3, "t": "y"}}"#,
    r#"{"k": null, "t": "x y"}"#,
    r#"[1, {"k": 1}]"#,
    r#"{}"#,
];

impl Model {
    /// Tables of random columns: `id`, two integers `a` and `b`, and some of the other kinds.
    ///
    /// With a file, `log` is a source that follows it.
    pub fn generate(random: &mut Random, file: Option<PathBuf>) -> Self {
        let table = |number| {
            let mut fields = vec![field("id", Kind::Int, "int", true)];
            let integer = |random: &mut Random| *random.pick(&["int", "int", "bigint", "smallint"]);
            fields.push(field("a", Kind::Int, integer(random), random.one_in(5)));
            fields.push(field("b", Kind::Int, integer(random), random.one_in(5)));
            let more = [
                ("s", Kind::Text, "text"),
                ("f", Kind::Float, "double precision"),
                ("n", Kind::Numeric, "numeric(8,2)"),
                ("at", Kind::Time, "timestamp"),
                ("ok", Kind::Bool, "boolean"),
                ("w", Kind::Text, "varchar(10)"),
                ("c", Kind::Int, "bigint"),
                ("tz", Kind::Moment, "timestamptz"),
                ("day", Kind::Date, "date"),
                ("d", Kind::Interval, "interval"),
                ("ls", Kind::List, "bigint[]"),
                ("j", Kind::Json, "jsonb"),
            ];
            for (name, kind, sql_type) in more {
                let is_needed = number == LOG && name == "at";
                // Without it, all of its columns have an order.
                let is_left_out = if number == LOG && name == "j" { random.one_in(2) } else { random.one_in(5) };
                if !is_left_out || is_needed {
                    fields.push(field(name, kind, sql_type, random.one_in(6) && !is_needed));
                }
            }
            let turned = random.below(fields.len() as u64) as usize;
            fields.rotate_left(turned);
            let position = |name: &str| fields.iter().position(|field| field.name == name).unwrap();
            let (id, a) = (position("id"), position("a"));
            let key = match number {
                0 => vec![id],
                1 if random.one_in(2) => vec![a, id],
                1 => vec![id],
                _ => vec![],
            };
            for column in &key {
                fields[*column].not_null = true;
            }
            Table { fields, rows: Vec::new(), key }
        };
        Self { tables: (0..TABLES.len()).map(table).collect(), next_id: 0, clock_s: 0, file }
    }

    /// What makes the tables; for PostgreSQL, or without a file, all of them are tables.
    pub fn definitions(&self, for_postgres: bool) -> Vec<String> {
        let definition = |(name, table): (&&str, &Table)| {
            let column = |field: &Field| {
                let not_null = if field.not_null { " NOT NULL" } else { "" };
                format!("{} {}{not_null}", field.name, field.sql_type)
            };
            let mut parts: Vec<_> = table.fields.iter().map(column).collect();
            if !table.key.is_empty() {
                let names: Vec<_> = table.key.iter().map(|column| table.fields[*column].name).collect();
                parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
            }
            if let (true, Some(file), false) = (*name == TABLES[LOG], &self.file, for_postgres) {
                return format!(
                    "CREATE SOURCE {name} ({}, WATERMARK FOR at AS at - INTERVAL '{DELAY_S} seconds')
                     WITH (connector = 'file', path = '{}', format = 'json', mode = 'follow', poll_interval = '2ms', idle_timeout = 'off')",
                    parts.join(", "),
                    file.display()
                );
            }
            format!("CREATE TABLE {name} ({})", parts.join(", "))
        };
        TABLES.iter().zip(&self.tables).map(definition).collect()
    }

    pub fn relations(&self) -> Vec<Relation> {
        let relation = |(name, table): (&&str, &Table)| {
            let columns: Vec<Column> = table.fields.iter().map(|field| column(field.name, field.kind)).collect();
            Relation { sql: Sql::text(*name), columns, key: table.key_names(), grows: false }
        };
        let mut relations: Vec<_> = TABLES.iter().zip(&self.tables).map(relation).collect();
        relations[LOG].grows = self.file.is_some();
        relations
    }

    /// Changes the model and says how.
    pub fn change(&mut self, random: &mut Random) -> Change {
        if random.one_in(5) {
            let begin = self.tables[LOG].rows.len();
            let statement = self.insert(LOG, random);
            let lines = self.tables[LOG].rows[begin..].iter().map(|row| self.tables[LOG].line(row)).collect();
            return if self.file.is_some() {
                Change::Append { lines, statement }
            } else {
                Change::Statement(statement)
            };
        }
        if !random.one_in(6) {
            return Change::Statement(self.statement(random));
        }
        let statements: Vec<_> = (0..2 + random.below(3)).map(|_| self.statement(random)).collect();
        Change::Statement(format!("BEGIN; {}; COMMIT", statements.join("; ")))
    }

    /// Time passes.
    pub fn tick(&mut self, random: &mut Random) {
        self.clock_s += 1 + random.below(90) as i64;
    }

    /// The moment that it is, microseconds since 1970.
    pub fn clock_us(&self) -> i64 {
        (START_S + self.clock_s) * 1_000_000 + 500_000
    }

    /// The moment that it is, as text.
    pub fn clock(&self) -> String {
        let s = self.clock_s;
        format!("2024-01-01 {:02}:{:02}:{:02}.5", s / 3600, s / 60 % 60, s % 60)
    }

    /// The greatest id of the table that only grows.
    pub fn last_logged(&self) -> i64 {
        let id = self.tables[LOG].position("id");
        let ids =
            self.tables[LOG].rows.iter().filter_map(|row| if let Value::Int(id) = row[id] { Some(id) } else { None });
        ids.max().unwrap_or(0)
    }

    fn statement(&mut self, random: &mut Random) -> String {
        let table = random.below(3) as usize;
        match random.below(11) {
            8 => self.delete_by_others(table, random),
            9 => self.insert_from(random),
            10 if random.one_in(3) => {
                self.tables[table].rows.clear();
                format!("TRUNCATE {}", TABLES[table])
            }
            0..=2 => self.insert(table, random),
            3 => self.delete(table, random),
            4 | 5 => self.update(table, random),
            6 => self.update_one(table, random),
            _ => self.upsert(table, random),
        }
    }

    fn insert(&mut self, table: usize, random: &mut Random) -> String {
        let rows: Vec<_> = (0..=random.below(6)).map(|_| self.new_row(table, random)).collect();
        let values: Vec<_> = rows.iter().map(|row| literals(row)).collect();
        self.tables[table].rows.extend(rows);
        format!("INSERT INTO {} VALUES {}", TABLES[table], values.join(", "))
    }

    fn new_row(&mut self, table: usize, random: &mut Random) -> Vec<Value> {
        self.next_id += 1;
        let is_bag = table == BAG;
        let latest = self.tables[table].latest_s();
        let fields = self.tables[table].fields.iter();
        fields
            .map(|field| match field.name {
                "id" if is_bag => Value::Int(random.below(3) as i64),
                "id" => Value::Int(self.next_id),
                // Not late, and on the whole later and later.
                "at" if table == LOG => {
                    let behind_s = (latest - DELAY_S).max(0) / 10 * 10 + 10;
                    Value::Time(behind_s + random.below(9) as i64 * 10)
                }
                _ => value(field, random),
            })
            .collect()
    }

    fn delete(&mut self, table: usize, random: &mut Random) -> String {
        let a = random.below(5) as i64;
        let this = &mut self.tables[table];
        match random.below(8) {
            7 => {
                this.rows.clear();
                format!("DELETE FROM {}", TABLES[table])
            }
            6 => {
                let s =
                    this.rows.first().and_then(|row| row.iter().find(|value| matches!(value, Value::Text(_))).copied());
                let Some((s, column)) = s.zip(this.fields.iter().position(|field| field.kind == Kind::Text)) else {
                    return format!("DELETE FROM {} WHERE false", TABLES[table]);
                };
                this.rows.retain(|row| row[column] != s);
                format!("DELETE FROM {} WHERE {} = {}", TABLES[table], this.fields[column].name, literal(s))
            }
            _ => {
                let column = this.position("a");
                this.rows.retain(|row| row[column] != Value::Int(a));
                format!("DELETE FROM {} WHERE a = {a}", TABLES[table])
            }
        }
    }

    /// The rows whose `b` is the `a` of a row of some table.
    fn delete_by_others(&mut self, table: usize, random: &mut Random) -> String {
        let (other, least) = (random.below(TABLES.len() as u64) as usize, random.below(4) as i64);
        let (a, b) = (self.tables[other].position("a"), self.tables[table].position("b"));
        let found: Vec<Value> = self.tables[other].rows.iter().map(|row| row[a]).collect();
        let is_hit = |value: Value| matches!(value, Value::Int(a) if a > least && found.contains(&value));
        self.tables[table].rows.retain(|row| !is_hit(row[b]));
        let name = TABLES[table];
        // A source has no rows that a statement could look at.
        if other == LOG && self.file.is_some() {
            let known = found.iter().map(|value| literal(*value)).chain(["NULL".to_owned()]).collect::<Vec<_>>();
            return format!("DELETE FROM {name} WHERE b > {least} AND b IN ({})", known.join(", "));
        }
        let other = TABLES[other];
        match random.below(2) {
            0 => format!("DELETE FROM {name} WHERE b IN (SELECT a FROM {other} WHERE a > {least})"),
            _ => format!("DELETE FROM {name} AS d USING {other} AS u WHERE d.b = u.a AND u.a > {least}"),
        }
    }

    /// Rows of another table for the one without a key.
    fn insert_from(&mut self, random: &mut Random) -> String {
        let (from, least) = (random.below(2) as usize, random.below(3) as i64);
        let names = ["id", "a", "b"];
        let is_free = |field: &Field| names.contains(&field.name) || !field.not_null;
        if !self.tables[BAG].fields.iter().all(is_free) {
            return self.insert(BAG, random);
        }
        let places = |table: &Table| names.map(|name| table.position(name));
        let (theirs, mine) = (places(&self.tables[from]), places(&self.tables[BAG]));
        let width = self.tables[BAG].fields.len();
        let mut rows = Vec::new();
        for row in &self.tables[from].rows {
            if matches!((row[theirs[1]], row[theirs[2]]), (Value::Int(a), Value::Int(_)) if a >= least) {
                let mut new = vec![Value::Null; width];
                mine.iter().zip(theirs).for_each(|(mine, theirs)| new[*mine] = row[theirs]);
                rows.push(new);
            }
        }
        self.tables[BAG].rows.extend(rows);
        let from = TABLES[from];
        format!("INSERT INTO bag (id, a, b) SELECT id, a, b FROM {from} WHERE a >= {least} AND b IS NOT NULL")
    }

    /// Of the rows whose `b` is more than some number, a column.
    fn update(&mut self, table: usize, random: &mut Random) -> String {
        let least = random.below(6) as i64 - 3;
        let this = &mut self.tables[table];
        let b = this.position("b");
        let Some((column, set, new)) = this.assignment(random) else { return self.insert(table, random) };
        let hit = |row: &&mut Vec<Value>| matches!(row[b], Value::Int(b) if b > least);
        this.rows.iter_mut().filter(hit).for_each(|row| row[column] = new(row[column]));
        format!("UPDATE {} SET {set} WHERE b > {least}", TABLES[table])
    }

    /// One row, by its primary key.
    fn update_one(&mut self, table: usize, random: &mut Random) -> String {
        let count = self.tables[table].rows.len() as u64;
        if self.tables[table].key.is_empty() || count == 0 {
            return self.insert(table, random);
        }
        let row = random.below(count) as usize;
        let this = &mut self.tables[table];
        let condition =
            this.key.iter().map(|key| format!("{} = {}", this.fields[*key].name, literal(this.rows[row][*key])));
        let condition = condition.collect::<Vec<_>>().join(" AND ");
        match random.below(5) {
            4 => {
                this.rows.remove(row);
                format!("DELETE FROM {} WHERE {condition}", TABLES[table])
            }
            // Another key for the same row.
            3 => {
                self.next_id += 1;
                let id = this.position("id");
                this.rows[row][id] = Value::Int(self.next_id);
                format!("UPDATE {} SET id = {} WHERE {condition}", TABLES[table], self.next_id)
            }
            _ => {
                let Some((column, set, new)) = this.assignment(random) else { return self.insert(table, random) };
                let values = &mut this.rows[row];
                values[column] = new(values[column]);
                format!("UPDATE {} SET {set} WHERE {condition}", TABLES[table])
            }
        }
    }

    /// A row that may be there already, which is then replaced in part.
    fn upsert(&mut self, table: usize, random: &mut Random) -> String {
        let mut row = self.new_row(table, random);
        let this = &mut self.tables[table];
        if this.key.is_empty() || this.rows.is_empty() {
            let text = format!("INSERT INTO {} VALUES {}", TABLES[table], literals(&row));
            this.rows.push(row);
            return text;
        }
        let old = random.below(this.rows.len() as u64) as usize;
        for key in &this.key {
            row[*key] = this.rows[old][*key];
        }
        let b = this.position("b");
        this.rows[old][b] = row[b];
        let names: Vec<_> = this.key.iter().map(|key| this.fields[*key].name).collect();
        format!(
            "INSERT INTO {} VALUES {} ON CONFLICT ({}) DO UPDATE SET b = excluded.b",
            TABLES[table],
            literals(&row),
            names.join(", ")
        )
    }
}

impl Table {
    fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|column| self.fields[*column].name.to_owned()).collect()
    }

    /// The latest of its times.
    fn latest_s(&self) -> i64 {
        let Some(at) = self.fields.iter().position(|field| field.name == "at") else { return 0 };
        let times = self.rows.iter().filter_map(|row| if let Value::Time(at) = row[at] { Some(at) } else { None });
        times.max().unwrap_or(0)
    }

    /// A row as a JSON object, a line.
    fn line(&self, row: &[Value]) -> String {
        let member = |(field, value): (&Field, &Value)| format!("\"{}\":{}", field.name, json(*value));
        let members: Vec<_> = self.fields.iter().zip(row).map(member).collect();
        format!("{{{}}}\n", members.join(","))
    }

    fn position(&self, name: &str) -> usize {
        self.fields.iter().position(|field| field.name == name).expect("every table has it")
    }

    /// `column = …` of one that is no part of the key, and what it makes of the old value.
    #[allow(clippy::type_complexity)]
    fn assignment(&self, random: &mut Random) -> Option<(usize, String, Box<dyn Fn(Value) -> Value>)> {
        let free: Vec<usize> = (0..self.fields.len())
            .filter(|column| !self.key.contains(column) && self.fields[*column].name != "id")
            .collect();
        if free.is_empty() {
            return None;
        }
        let column = *random.pick(&free);
        let field = &self.fields[column];
        let name = field.name;
        if random.one_in(3) {
            let new = value(field, random);
            return Some((column, format!("{name} = {}", literal(new)), Box::new(move |_| new)));
        }
        let (text, new): (String, Box<dyn Fn(Value) -> Value>) = match field.kind {
            Kind::Int => (format!("({name} + 1) % 5"), Box::new(|value| int(value, |v| (v + 1) % 5))),
            Kind::Float => (
                format!("{name} + 0.25"),
                Box::new(|value| match value {
                    Value::Float(f) => Value::Float(f + 0.25),
                    other => other,
                }),
            ),
            Kind::Numeric => (
                format!("-{name}"),
                Box::new(|value| match value {
                    Value::Numeric(n) => Value::Numeric(-n),
                    other => other,
                }),
            ),
            Kind::Time => (
                format!("{name} + INTERVAL '1 minute'"),
                Box::new(|value| match value {
                    Value::Time(at) => Value::Time(at + 60),
                    other => other,
                }),
            ),
            Kind::Bool => (
                format!("NOT {name}"),
                Box::new(|value| match value {
                    Value::Bool(ok) => Value::Bool(!ok),
                    other => other,
                }),
            ),
            Kind::Date => (
                format!("{name} + 1"),
                Box::new(|value| match value {
                    Value::Date(days) => Value::Date(days + 1),
                    other => other,
                }),
            ),
            Kind::Moment => (
                format!("{name} + INTERVAL '1 minute'"),
                Box::new(|value| match value {
                    Value::Moment(at) => Value::Moment(at + 60),
                    other => other,
                }),
            ),
            Kind::Interval => (
                format!("{name} + INTERVAL '30 seconds'"),
                Box::new(|value| match value {
                    Value::Interval(s) => Value::Interval(s + 30),
                    other => other,
                }),
            ),
            Kind::Text | Kind::List | Kind::Json => {
                let new = value(field, random);
                (literal(new), Box::new(move |_| new))
            }
        };
        Some((column, format!("{name} = {text}"), new))
    }
}

fn field(name: &'static str, kind: Kind, sql_type: &'static str, not_null: bool) -> Field {
    Field { name, kind, sql_type, not_null }
}

fn int(value: Value, new: impl Fn(i64) -> i64) -> Value {
    match value {
        Value::Int(v) => Value::Int(new(v)),
        other => other,
    }
}

/// One of few values, so that keys meet and groups come and go.
fn value(field: &Field, random: &mut Random) -> Value {
    if random.one_in(6) && !field.not_null {
        return Value::Null;
    }
    match field.kind {
        Kind::Int if field.name == "b" => Value::Int(random.below(9) as i64 - 4),
        Kind::Int => Value::Int(random.below(5) as i64),
        Kind::Text => Value::Text(random.pick::<&'static str>(&WORDS)),
        Kind::Float => Value::Float((random.below(33) as f64 - 16.0) / 4.0),
        Kind::Numeric => Value::Numeric((i128::from(random.below(17)) - 8) * 25),
        Kind::Time => Value::Time(random.below(13) as i64 * 30),
        Kind::Bool => Value::Bool(random.one_in(2)),
        Kind::Date => Value::Date(random.below(5) as i64),
        Kind::List => Value::List(random.pick::<&'static [i64]>(&LISTS)),
        Kind::Moment => Value::Moment(random.below(13) as i64 * 30),
        Kind::Interval => Value::Interval(random.below(9) as i64 * 30 - 120),
        Kind::Json => Value::Json(random.pick::<&'static str>(&DOCUMENTS)),
    }
}

fn literals(row: &[Value]) -> String {
    format!("({})", row.iter().map(|value| literal(*value)).collect::<Vec<_>>().join(", "))
}

fn literal(value: Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(v) => v.to_string(),
        Value::Text(s) => format!("'{s}'"),
        Value::Float(f) => format!("{f:?}"),
        Value::Numeric(n) => format!("{:.2}", n as f64 / 100.0),
        Value::Time(s) => format!("'{}'", time(s)),
        Value::Bool(ok) => ok.to_string(),
        Value::Date(days) => format!("'{}'", date(days)),
        Value::Moment(s) => format!("'{}+00'", time(s)),
        Value::Interval(s) => format!("'{s} seconds'"),
        Value::List(numbers) => format!("'{{{}}}'", list(numbers)),
        Value::Json(document) => format!("'{document}'"),
    }
}

fn time(s: i64) -> String {
    format!("2024-01-01 {:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

fn date(days: i64) -> String {
    format!("2024-01-{:02}", 1 + days)
}

fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// A value as JSON has it.
fn json(value: Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(_) | Value::Float(_) | Value::Numeric(_) | Value::Bool(_) => literal(value),
        Value::Text(s) => format!("\"{s}\""),
        Value::Time(s) => format!("\"{}\"", time(s)),
        Value::Date(days) => format!("\"{}\"", date(days)),
        Value::Moment(s) => format!("\"{}Z\"", time(s)),
        Value::Interval(s) => format!("\"{s} seconds\""),
        Value::List(numbers) => format!("[{}]", list(numbers)),
        Value::Json(document) => document.to_owned(),
    }
}
