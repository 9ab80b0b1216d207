//! The tables as plain rows: random columns, and what DML makes of their rows.

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

/// Two keyed tables and one without a key.
#[derive(Debug)]
pub struct Model {
    pub tables: Vec<Table>,
    next_id: i64,
}

/// 2024-01-01 00:00:00.
pub const START_S: i64 = 1_704_067_200;
pub const TABLES: [&str; 3] = ["t0", "t1", "bag"];
const WORDS: [&str; 5] = ["x", "y", "xy", "", "X y"];

impl Model {
    /// Tables of random columns: `id`, two integers `a` and `b`, and some of the other kinds.
    pub fn generate(random: &mut Random) -> Self {
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
            ];
            for (name, kind, sql_type) in more {
                if !random.one_in(5) {
                    fields.push(field(name, kind, sql_type, random.one_in(6)));
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
        Self { tables: (0..TABLES.len()).map(table).collect(), next_id: 0 }
    }

    pub fn definitions(&self) -> Vec<String> {
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
            format!("CREATE TABLE {name} ({})", parts.join(", "))
        };
        TABLES.iter().zip(&self.tables).map(definition).collect()
    }

    pub fn relations(&self) -> Vec<Relation> {
        let relation = |(name, table): (&&str, &Table)| {
            let columns: Vec<Column> = table.fields.iter().map(|field| column(field.name, field.kind)).collect();
            Relation { sql: Sql::text(*name), columns }
        };
        TABLES.iter().zip(&self.tables).map(relation).collect()
    }

    /// Changes the model and says by which statements, which are one transaction.
    pub fn change(&mut self, random: &mut Random) -> String {
        if !random.one_in(6) {
            return self.statement(random);
        }
        let statements: Vec<_> = (0..2 + random.below(3)).map(|_| self.statement(random)).collect();
        format!("BEGIN; {}; COMMIT", statements.join("; "))
    }

    fn statement(&mut self, random: &mut Random) -> String {
        let table = random.below(3) as usize;
        match random.below(8) {
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
        let is_bag = self.tables[table].key.is_empty();
        let fields = self.tables[table].fields.iter();
        fields
            .map(|field| match field.name {
                "id" if is_bag => Value::Int(random.below(3) as i64),
                "id" => Value::Int(self.next_id),
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
            Kind::Text | Kind::List => {
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
        Kind::List => Value::Null,
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
        Value::Time(s) => format!("'2024-01-01 {:02}:{:02}:{:02}'", s / 3600, s / 60 % 60, s % 60),
        Value::Bool(ok) => ok.to_string(),
    }
}
