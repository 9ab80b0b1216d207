//! Random queries of rarer forms: window functions over groups, stars, set operations with an order, common table expressions one over the other,
//! joins in parentheses, one group by name, groups by a primary key, subqueries around and inside aggregates and in conditions of joins, whole rows as
//! documents.

use super::expression::{Kind, expression, predicate};
use super::model::TABLES;
use super::query::{self, filter, grouped, joined, source};
use super::sql::{Column, Query, Relation, Sql, column, outputs, select};
use super::subquery;
use crate::support::random::Random;

pub(super) fn generate(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    match random.below(15) {
        11 => by_primary_key(random, relations),
        12 | 13 => join_on_subquery(random, relations, depth),
        14 => having_of_aggregates(random, relations, depth),
        1 | 2 => over_groups(random, relations, depth),
        3 => star(random, relations, depth),
        4 => ordered_sets(random, relations, depth),
        5 => two_commons(random, relations, depth),
        6 => nested_join(random, relations, depth),
        7 => one_group(random, relations, depth),
        8 => around_groups(random, relations, depth),
        9 => inside_aggregates(random, relations, depth),
        10 => whole_rows(random, relations),
        _ => over_groups(random, relations, 0),
    }
}

fn named(columns: &[Column]) -> Vec<(String, Kind)> {
    columns.iter().map(|column| (column.name.clone(), column.kind)).collect()
}

/// One or two columns to group by, each once.
fn keys(random: &mut Random, from: &Relation) -> Vec<(String, Kind)> {
    let mut keys: Vec<(String, Kind)> = Vec::new();
    for _ in 0..1 + random.below(2) {
        let key = random.pick(&from.columns);
        if keys.iter().all(|(name, _)| *name != key.name) {
            keys.push((key.name.clone(), key.kind));
        }
    }
    keys
}

/// Window functions whose rows are groups.
fn over_groups(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "g").in_order("g");
    let keys = keys(random, &from);
    let names: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    let by_keys = names.join(", ");
    let mut expressions = keys.clone();
    expressions.push(("count(*)".to_owned(), Kind::Int));
    let int = expression(random, &from.columns, Kind::Int, 0);
    for _ in 0..1 + random.below(2) {
        expressions.push(match random.below(7) {
            0 => (format!("rank() OVER (ORDER BY count(*) DESC, {by_keys})"), Kind::Int),
            1 => (format!("sum(count(*)) OVER (ORDER BY {by_keys})"), Kind::Numeric),
            2 => ("sum(count(*)) OVER ()".to_owned(), Kind::Numeric),
            3 => (format!("lag(max({int})) OVER (ORDER BY {by_keys})"), Kind::Int),
            4 => (format!("dense_rank() OVER (PARTITION BY {} ORDER BY max({int}))", names[0]), Kind::Int),
            5 => (format!("max(sum({int})) OVER (PARTITION BY count(*))"), Kind::Numeric),
            _ => (format!("count(*) OVER (ORDER BY {by_keys} ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)"), Kind::Int),
        });
    }
    let (list, columns) = outputs(&expressions);
    let having = if random.one_in(3) { format!(" HAVING count(*) > {}", random.below(2)) } else { String::new() };
    let tail = format!("{} GROUP BY {by_keys}{having}", filter(random, &from.columns));
    select(&format!("SELECT {list}"), &from, &tail, columns)
}

/// All columns, and one more.
fn star(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "e");
    let bare = |column: &Column| column.name.strip_prefix("e.").unwrap_or(&column.name).to_owned();
    let is_taken = |name: &String| from.columns.iter().any(|column| bare(column) == *name);
    let name = (0..).map(|number| format!("x{number}")).find(|name| !is_taken(name)).expect("there are more numbers");
    let kind = Kind::any(random);
    let more = expression(random, &from.columns, kind, 1);
    let mut columns: Vec<Column> = from.columns.iter().map(|c| column(&bare(c), c.kind)).collect();
    let item = format!("{more} AS {name}");
    let list = match random.below(3) {
        0 => {
            columns.push(column(&name, kind));
            format!("e.*, {item}")
        }
        1 => {
            columns.insert(0, column(&name, kind));
            format!("{item}, e.*")
        }
        _ => "*".to_owned(),
    };
    select(&format!("SELECT {list}"), &from, &filter(random, &from.columns), columns)
}

/// The first rows of a set operation.
fn ordered_sets(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let sets = query::set_operation(random, relations, depth);
    if !sets.columns.iter().all(|column| column.kind.has_order()) {
        return sets;
    }
    let direction = |random: &mut Random| *random.pick(&["", " DESC"]);
    let order: Vec<String> = (1..=sets.columns.len()).map(|place| format!("{place}{}", direction(random))).collect();
    let limit = match random.below(3) {
        0 => " LIMIT 2",
        1 => " LIMIT 3 OFFSET 1",
        _ => " OFFSET 2",
    };
    let tail = format!(" ORDER BY {}{limit}", order.join(", "));
    Query { sql: sets.sql.and(&tail).not_for_batch(), columns: sets.columns }
}

/// Two common table expressions, of which the second reads the first, and a query over both.
fn two_commons(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let first = query::generate(random, relations, depth.saturating_sub(1));
    let (one, two) = (format!("common{depth}a"), format!("common{depth}b"));
    let named_one = Relation::new(Sql::text(&one), first.columns.clone());
    let second = query::aggregate(random, std::slice::from_ref(&named_one), 0);
    let named_two = Relation::new(Sql::text(&two), second.columns.clone());
    let from = joined(random, named_one.named("l"), named_two.named("r"));
    let tail = filter(random, &from.columns);
    let body = if random.one_in(3) {
        grouped(random, from, tail)
    } else {
        let expressions: Vec<_> = (0..1 + random.below(3)).map(|_| random.pick(&from.columns).clone()).collect();
        let (list, columns) = outputs(&named(&expressions));
        select(&format!("SELECT {list}"), &from, &tail, columns)
    };
    let sql = Sql::text(format!("WITH {one} AS (")).with(&first.sql).and(&format!("), {two} AS ("));
    Query { sql: sql.with(&second.sql).and(") ").with(&body.sql), columns: body.columns }
}

/// A join whose one side is a join.
fn nested_join(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let left = source(random, relations, depth, "l");
    let (right, more) = (source(random, relations, depth, "r"), source(random, relations, 0, "m"));
    let right = joined(random, right, more);
    let right = Relation::new(Sql::text("(").with(&right.sql).and(")"), right.columns);
    let from = joined(random, left, right);
    let tail = if random.one_in(3) { filter(random, &from.columns) } else { String::new() };
    if random.one_in(3) {
        return grouped(random, from, tail);
    }
    let expressions: Vec<_> = (0..1 + random.below(4)).map(|_| random.pick(&from.columns).clone()).collect();
    let (list, columns) = outputs(&named(&expressions));
    select(&format!("SELECT {list}"), &from, &tail, columns)
}

/// One group whatever there is: by GROUP BY (), or by HAVING alone.
fn one_group(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let from = source(random, relations, depth, "g");
    let int = expression(random, &from.columns, Kind::Int, 1);
    let calls = [("count(*)".to_owned(), Kind::Int), (format!("max({int})"), Kind::Int)];
    let mut tail = filter(random, &from.columns);
    let query = match random.below(3) {
        0 => {
            tail.push_str(" GROUP BY ()");
            let (list, columns) = outputs(&calls);
            select(&format!("SELECT {list}"), &from, &tail, columns)
        }
        1 => {
            tail.push_str(&format!(" GROUP BY () HAVING count({int}) > 1"));
            let (list, columns) = outputs(&calls);
            select(&format!("SELECT {list}"), &from, &tail, columns)
        }
        _ => {
            tail.push_str(&format!(" HAVING count(*) > {}", random.below(4)));
            select("SELECT 'some' AS c0", &from, &tail, vec![column("c0", Kind::Text)])
        }
    };
    Query { sql: query.sql.not_for_batch(), columns: query.columns }
}

/// Subqueries beside the aggregates of a group, which refer to its key.
fn around_groups(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let outer = source(random, relations, depth, "o");
    let keys = keys(random, &outer);
    // What a subquery may name of a group.
    let grouped = Relation::new(outer.sql.clone(), keys.iter().map(|(name, kind)| column(name, *kind)).collect());
    let int = expression(random, &outer.columns, Kind::Int, 0);
    let calls = [("count(*)".to_owned(), Kind::Int), (format!("sum({int})"), Kind::Numeric)];
    let (mut list, mut columns) = outputs(&[&keys[..], &calls].concat());
    let mut sql = Sql::text("SELECT ");
    if random.one_in(2) {
        let name = format!("c{}", columns.len());
        columns.push(column(&name, Kind::Int));
        sql = sql.with(&subquery::value(random, relations, &grouped, Kind::Int)).and(&format!(" AS {name}, "));
        columns.rotate_right(1);
    }
    let by: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
    list.push_str(" FROM ");
    let tail = format!("{} GROUP BY {}", filter(random, &outer.columns), by.join(", "));
    sql = sql.and(&list).with(&outer.sql).and(&tail);
    sql = match random.below(3) {
        1 => sql.and(" HAVING count(*) > ").with(&subquery::value(random, relations, &grouped, Kind::Int)),
        2 => sql.and(" HAVING ").with(&subquery::condition(random, relations, &grouped)),
        _ => sql,
    };
    Query { sql: sql.not_for_batch(), columns }
}

/// Subqueries whose values are aggregated, or grouped by.
fn inside_aggregates(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let outer = source(random, relations, depth, "o");
    let kind = Kind::key(random);
    let key = expression(random, &outer.columns, kind, 0);
    let tail = filter(random, &outer.columns);
    let value = subquery::value(random, relations, &outer, Kind::Int);
    let (sql, columns) = match random.below(3) {
        0 => (
            Sql::text(format!("SELECT {key} AS c0, sum(")).with(&value).and(") AS c1, count(*) AS c2 FROM "),
            vec![column("c0", kind), column("c1", Kind::Numeric), column("c2", Kind::Int)],
        ),
        1 => (
            Sql::text(format!("SELECT {key} AS c0, count(*) FILTER (WHERE "))
                .with(&subquery::condition(random, relations, &outer))
                .and(") AS c1 FROM "),
            vec![column("c0", kind), column("c1", Kind::Int)],
        ),
        _ => (
            Sql::text("SELECT ").with(&value).and(" AS c0, count(*) AS c1 FROM "),
            vec![column("c0", Kind::Int), column("c1", Kind::Int)],
        ),
    };
    let sql = sql.with(&outer.sql).and(&tail).and(" GROUP BY 1").not_for_batch();
    Query { sql, columns }
}

/// Groups by a table's primary key, beside which all of its columns stand.
fn by_primary_key(random: &mut Random, relations: &[Relation]) -> Query {
    let keyed: Vec<&Relation> = relations[..TABLES.len()].iter().filter(|table| !table.key.is_empty()).collect();
    let table = (*random.pick(&keyed)).clone();
    let by = table.key.iter().map(|key| format!("g.{key}")).collect::<Vec<_>>().join(", ");
    let mine = table.named("g");
    let mut expressions: Vec<_> = (0..1 + random.below(2)).map(|_| random.pick(&mine.columns).clone()).collect();
    let kind = *random.pick(&[Kind::Int, Kind::Text, Kind::Numeric]);
    expressions.push(column(&expression(random, &mine.columns, kind, 1), kind));
    let mut expressions = named(&expressions);
    let mut from = mine.clone();
    if random.one_in(2) {
        let other = source(random, relations, 0, "r");
        from = joined(random, from, other);
    }
    let int = expression(random, &from.columns, Kind::Int, 0);
    expressions.push(match random.below(3) {
        0 => ("count(*)".to_owned(), Kind::Int),
        1 => (format!("sum({int})"), Kind::Numeric),
        _ => (format!("max({int})"), Kind::Int),
    });
    let (list, columns) = outputs(&expressions);
    let having =
        if random.one_in(3) { format!(" HAVING {}", predicate(random, &mine.columns, 0)) } else { String::new() };
    let tail = format!("{} GROUP BY {by}{having}", filter(random, &from.columns));
    let query = select(&format!("SELECT {list}"), &from, &tail, columns);
    Query { sql: query.sql.not_for_batch(), columns: query.columns }
}

/// A join whose condition has a subquery, which refers to either side.
fn join_on_subquery(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let left = source(random, relations, depth.saturating_sub(1), "l");
    let right = source(random, relations, 0, "r");
    let both = Relation::new(Sql::text(""), left.columns.iter().chain(&right.columns).cloned().collect());
    let condition = subquery::condition(random, relations, &both);
    let kind = *random.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
    let equality = if random.one_in(4) { "true".to_owned() } else { query::equality(random, &left, &right) };
    let expressions: Vec<_> = (0..1 + random.below(3)).map(|_| random.pick(&both.columns).clone()).collect();
    let (list, columns) = outputs(&named(&expressions));
    let sql = Sql::text(format!("SELECT {list} FROM ")).with(&left.sql).and(&format!(" {kind} ")).with(&right.sql);
    let sql = sql.and(&format!(" ON {equality} AND ")).with(&condition).not_for_batch();
    Query { sql, columns }
}

/// A condition on groups whose subquery takes their aggregates.
fn having_of_aggregates(random: &mut Random, relations: &[Relation], depth: usize) -> Query {
    let outer = source(random, relations, depth, "o");
    let inner = source(random, relations, 0, "i");
    let keys = keys(random, &outer);
    let by = keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let (mine, theirs) =
        (expression(random, &outer.columns, Kind::Int, 0), expression(random, &inner.columns, Kind::Int, 0));
    // An aggregate of a constant would be one of the subquery.
    let aggregate = match mine.contains('.') {
        true => format!("{}({mine})", random.pick(&["sum", "max", "count"])),
        false => "1".to_owned(),
    };
    let comparison = random.pick(&["<", "=", ">="]);
    let (list, columns) = outputs(&[&keys[..], &[("count(*)".to_owned(), Kind::Int)]].concat());
    let not = if random.one_in(3) { "NOT " } else { "" };
    let head = format!(" GROUP BY {by} HAVING {not}EXISTS (SELECT 1 FROM ");
    let sql = Sql::text(format!("SELECT {list} FROM ")).with(&outer.sql).and(&filter(random, &outer.columns));
    let sql = sql.and(&head).with(&inner.sql).and(&format!(" WHERE {theirs} {comparison} {aggregate})"));
    Query { sql: sql.not_for_batch(), columns }
}

/// The rows of a table as documents, alone or of a group.
fn whole_rows(random: &mut Random, relations: &[Relation]) -> Query {
    let from = random.pick(&relations[..TABLES.len()]).clone().named("e");
    let condition = predicate(random, &from.columns, 1);
    let query = match random.below(4) {
        0 => select("SELECT to_jsonb(e) AS c0", &from, &format!(" WHERE {condition}"), vec![column("c0", Kind::Json)]),
        1 => select(
            "SELECT CAST(row_to_json(e) AS TEXT) AS c0",
            &from,
            &format!(" WHERE {condition}"),
            vec![column("c0", Kind::Text)],
        ),
        2 => select(
            "SELECT e.a AS c0, jsonb_agg(to_jsonb(e) ORDER BY e.id, CAST(to_jsonb(e) AS TEXT)) AS c1",
            &from,
            &format!(" WHERE {condition} GROUP BY 1"),
            vec![column("c0", Kind::Int), column("c1", Kind::Json)],
        ),
        _ => select(
            "SELECT e.a AS c0, count(e) AS c1",
            &from,
            &format!(" WHERE {condition} GROUP BY 1"),
            vec![column("c0", Kind::Int), column("c1", Kind::Int)],
        ),
    };
    Query { sql: query.sql.not_for_batch(), columns: query.columns }
}
