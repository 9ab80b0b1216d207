#![allow(clippy::unwrap_used)]

//! What statements plan to, and what is said about those that can't be planned.

use std::fmt::Write as _;

use arrow::array::AsArray;
use catalog::{ObjectKind, SqlType};

use super::plan::{CopyDirection, OnConflict, Plan, SubscribeTarget};
use crate::PlanContext;
use crate::query::tests::Fixture;

fn shop() -> Fixture {
    Fixture::new()
        .run("CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(5) NOT NULL, city TEXT DEFAULT 'Rome', born DATE)")
        .run("CREATE SOURCE clicks (user_id INT, url TEXT, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '5 seconds')
              INCLUDE OFFSET WITH (connector = 'kafka', topic = 'clicks', format = 'json', late = 'dead_letter')")
        .run("CREATE VIEW locals AS SELECT id, name FROM users WHERE city = 'Rome'")
        .run("CREATE MATERIALIZED VIEW revenue AS SELECT customer_id, sum(amount) AS total, count(*) AS n FROM orders GROUP BY customer_id")
        .run("CREATE MATERIALIZED VIEW big AS SELECT customer_id FROM revenue WHERE total > 1000")
        .run("CREATE INDEX ON revenue (n)")
        .run("CREATE SINK revenue_out FROM revenue WITH (connector = 'kafka', topic = 'revenue')")
        .run("CREATE STREAM recent AS SELECT url FROM clicks WHERE user_id > 0")
}

fn rows(batch: &arrow::array::RecordBatch) -> String {
    let mut out = String::new();
    for row in 0..batch.num_rows() {
        let cells = batch.columns().iter().map(|column| {
            let column = column.as_string_view();
            if arrow::array::Array::is_null(column, row) { "-" } else { column.value(row) }
        });
        writeln!(out, "  {}", cells.collect::<Vec<_>>().join(" | ")).unwrap();
    }
    out
}

fn types(types: &[SqlType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A plan in a few lines.
fn described(plan: &Plan, context: &PlanContext<'_>) -> String {
    let name = |id| context.catalog.get(id).unwrap().name.to_string();
    let indented = |plan: &datafusion::logical_expr::LogicalPlan| {
        plan.display_indent().to_string().lines().map(|line| format!("  {line}\n")).collect::<String>()
    };
    let parameters =
        |given: &[SqlType]| if given.is_empty() { String::new() } else { format!("  parameters: {}\n", types(given)) };
    let returning = |returning: &Option<super::plan::Returning>| match returning {
        Some(returning) => {
            let list: Vec<String> = returning.expressions.iter().map(ToString::to_string).collect();
            format!("  returning: {}\n", list.join(", "))
        }
        None => String::new(),
    };
    match plan {
        Plan::Create(create) => {
            let columns = create.object.columns.iter().map(|column| {
                let null = if column.nullable { "" } else { " not null" };
                format!("{} {}{null}", column.name, column.sql_type)
            });
            let mut out =
                format!("  {} {} ({})\n", create.tag, create.object.name, columns.collect::<Vec<_>>().join(", "));
            match &create.object.kind {
                ObjectKind::Source(source) => {
                    writeln!(out, "  {:?} {:?} {:?}", source.watermark, source.late, source.connector.options).unwrap();
                }
                ObjectKind::Table(table) => writeln!(out, "  key {:?}", table.primary_key).unwrap(),
                ObjectKind::MaterializedView(view) => {
                    writeln!(out, "  key {:?}, append-only {}, query {}", view.key, view.append_only, view.query)
                        .unwrap();
                }
                ObjectKind::View(view) => writeln!(out, "  query {}", view.query).unwrap(),
                ObjectKind::Index(index) => writeln!(out, "  columns {:?}", index.columns).unwrap(),
                _ => {}
            }
            let reads: Vec<String> = create.object.depends_on.iter().map(|id| name(*id)).collect();
            if !reads.is_empty() {
                writeln!(out, "  depends on {}", reads.join(", ")).unwrap();
            }
            for notice in &create.notices {
                writeln!(out, "  notice: {}", notice.replace('\n', "\n  ")).unwrap();
            }
            out
        }
        Plan::Alter(alter) => {
            let mut out = String::new();
            for object in &alter.objects {
                writeln!(out, "  {}", object.sql).unwrap();
            }
            for attach in &alter.attach {
                let how = match &attach.how {
                    super::plan::Attached::Kept(names) => format!("keeps the state of {} operators", names.len()),
                    super::plan::Attached::Built => "is built anew".to_owned(),
                };
                writeln!(out, "  {} {how}", name(attach.relation)).unwrap();
            }
            let drops: Vec<String> = alter.drops.iter().map(|id| name(*id)).collect();
            if !drops.is_empty() {
                writeln!(out, "  drops {}", drops.join(", ")).unwrap();
            }
            if let Some(rewrite) = &alter.rewrite {
                writeln!(out, "  rows {:?}", rewrite.columns).unwrap();
            }
            if !alter.notices.is_empty() {
                writeln!(out, "  {:?}", alter.notices).unwrap();
            }
            out
        }
        Plan::Drop(drop) => {
            let objects: Vec<String> = drop.objects.iter().map(|id| name(*id)).collect();
            format!("  {} {} {:?} {:?}\n", drop.tag, objects.join(", "), drop.schemas, drop.notices)
        }
        Plan::Insert(insert) => {
            let conflict = match &insert.on_conflict {
                OnConflict::Error => String::new(),
                OnConflict::DoNothing => "  on conflict: nothing\n".to_owned(),
                OnConflict::DoUpdate(update) => {
                    let row: Vec<String> = update.row.iter().map(ToString::to_string).collect();
                    let filter = update.filter.as_ref().map_or(String::new(), |filter| format!(" where {filter}"));
                    format!("  on conflict: {}{filter}\n", row.join(", "))
                }
            };
            format!(
                "{}{conflict}{}{}",
                indented(&insert.source),
                returning(&insert.returning),
                parameters(&insert.parameters)
            )
        }
        Plan::Update(update) => {
            format!("{}{}{}", indented(&update.source), returning(&update.returning), parameters(&update.parameters))
        }
        Plan::Delete(delete) => {
            format!("{}{}{}", indented(&delete.source), returning(&delete.returning), parameters(&delete.parameters))
        }
        Plan::Query(query) => {
            let mut out = indented(&query.logical);
            if let Some(lookup) = &query.point_lookup {
                let key: Vec<String> = lookup.key.iter().map(ToString::to_string).collect();
                let residual =
                    lookup.residual.as_ref().map_or(String::new(), |residual| format!(", residual {residual}"));
                writeln!(
                    out,
                    "  lookup {:?} ({}) columns {:?} limit {:?}{residual}",
                    lookup.path,
                    key.join(", "),
                    lookup.columns,
                    lookup.limit
                )
                .unwrap();
            }
            out + &parameters(&query.parameters)
        }
        Plan::Rows(answer) => rows(&answer.rows),
        Plan::Subscribe(subscribe) => {
            let target = match &subscribe.target {
                SubscribeTarget::Relation(id) => name(*id),
                SubscribeTarget::Query { .. } => "a query".to_owned(),
            };
            let columns: Vec<&str> = subscribe.schema.fields().iter().map(|field| field.name().as_str()).collect();
            format!("  to {target}, snapshot {}: {}\n", subscribe.snapshot, columns.join(", "))
        }
        Plan::Copy(copy) => match &copy.direction {
            CopyDirection::In { columns, defaults, .. } => {
                let defaults: Vec<String> =
                    defaults.iter().map(|value| value.as_ref().map_or("-".to_owned(), ToString::to_string)).collect();
                format!("  columns {columns:?} defaults {} {:?}\n", defaults.join(", "), copy.format)
            }
            CopyDirection::Out(query) => indented(&query.logical),
        },
        Plan::ExplainAnalyzeView { relation, view } => {
            format!("  analyze {relation:?} of {} columns\n", view.schema.fields().len())
        }
        other => format!("  {other:?}\n"),
    }
}

#[test]
fn statements_plan_as_recorded() {
    recorded("statements.txt", include_str!("tests/statements.txt"));
}

#[test]
fn changes_plan_as_recorded() {
    recorded("alter.txt", include_str!("tests/alter.txt"));
}

/// Set operations, set-returning functions and LATERAL, as operators.
#[test]
fn rows_of_rows_plan_as_recorded() {
    recorded("rows.txt", include_str!("tests/rows.txt"));
}

/// Views whose state or rows are bounded, and what is said of those that aren't.
#[test]
fn bounded_views_plan_as_recorded() {
    recorded("bounded.txt", include_str!("tests/bounded.txt"));
}

/// Joins by time, EXCLUDE, hypothetical-set aggregates, and views over views that grow.
#[test]
fn kinds_plan_as_recorded() {
    let visits = "CREATE MATERIALIZED VIEW visits AS SELECT user_id, count(*) AS n, max(at) AS last FROM clicks GROUP BY user_id";
    recorded_in(&shop().run(visits), "kinds.txt", include_str!("tests/kinds.txt"));
}

/// The file has a statement in one line, then what comes of it. `UPDATE_GOLDEN=1` rewrites it.
fn recorded(name: &str, golden: &str) {
    recorded_in(&shop(), name, golden);
}

fn recorded_in(shop: &Fixture, name: &str, golden: &str) {
    let mut found = String::new();
    for line in golden.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(found, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = sql::parse_one(line).map_err(crate::Error::from);
        match parsed.and_then(|statement| super::plan(&statement, &shop.context())) {
            Ok(plan) => found.push_str(&described(&plan, &shop.context())),
            Err(error) => {
                let place = error.span.map_or("?".to_owned(), |span| span.start.column.to_string());
                writeln!(found, "  {:?} at {place}: {}", error.kind, error.to_string().replace('\n', "\n    "))
                    .unwrap();
            }
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(format!("{}/src/statement/tests/{name}", env!("CARGO_MANIFEST_DIR")), &found).unwrap();
    }
    let differing: Vec<_> = found.lines().zip(golden.lines()).filter(|(mine, theirs)| mine != theirs).take(5).collect();
    assert!(found == golden, "run with UPDATE_GOLDEN=1 and read the difference: {differing:#?}");
}

#[test]
fn every_view_of_the_catalog_is_planned_again() {
    let shop = shop();
    for object in shop.catalog.objects() {
        if matches!(object.kind, ObjectKind::MaterializedView(_) | ObjectKind::Stream(_)) {
            let again = super::plan_stored_view(object, &shop.context()).unwrap();
            assert_eq!(again.schema, object.schema());
        }
    }
}

#[test]
fn names_mean_the_same_whatever_the_search_path_of_the_reader() {
    let mut shop = shop();
    shop.catalog = shop.catalog.create_schema("other").unwrap();
    shop.settings.search_path = vec!["other".to_owned(), "public".to_owned()];
    let shop = shop.run("CREATE TABLE users (id INT PRIMARY KEY)").run("CREATE VIEW ids AS SELECT id FROM users");
    let made = shop.catalog.objects().last().unwrap().clone();
    assert_eq!(made.name.to_string(), "other.ids");
    let mut shop = shop;
    shop.settings.search_path = vec!["public".to_owned()];
    let plan = shop.query("SELECT * FROM other.ids").unwrap();
    let reads: Vec<String> = plan.reads.iter().map(|id| shop.catalog.get(*id).unwrap().name.to_string()).collect();
    assert_eq!(reads, ["other.users"]);
}

/// `*` over USING once had the columns where they are: a view made then has them there still.
#[test]
fn a_view_keeps_the_order_of_its_columns() {
    let shop = Fixture::new()
        .run("CREATE TABLE l (id int, k int, x text)")
        .run("CREATE TABLE r (k int, y text)")
        .run("CREATE MATERIALIZED VIEW both_sides AS SELECT * FROM l JOIN r USING (k)")
        .run("CREATE VIEW named (a, b) AS SELECT id, k FROM l");
    let names = |object: &catalog::Object| object.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    let find = |name: &str| shop.catalog.objects().find(|object| object.name.name == name).unwrap().as_ref().clone();
    let mut view = find("both_sides");
    assert_eq!(names(&view), ["k", "id", "x", "y"]);
    view.columns.swap(0, 1);
    let again = crate::query::plan_stored(query_of(&view), &view, &shop.context()).unwrap();
    let columns: Vec<String> = again.logical.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(columns, ["id", "k", "x", "y"]);
    let relation = |plan: &crate::query::QueryPlan| plan.logical.display_indent().to_string();
    assert!(relation(&again).contains("l.id"), "{}", relation(&again));
    let view = super::plan_stored_view(&view, &shop.context()).unwrap();
    assert_eq!(view.schema.field(0).name(), "id");

    // Names that the statement gives are those of places.
    let mut named = find("named");
    named.columns.swap(0, 1);
    let again = crate::query::plan_stored(query_of(&named), &named, &shop.context()).unwrap();
    assert!(relation(&again).contains("l.id AS b"), "{}", relation(&again));
}

#[test]
fn a_view_with_all_columns_of_a_relation_is_planned_again_whatever_the_search_path() {
    let mut shop = Fixture::new();
    shop.settings.search_path = vec!["$user".to_owned(), "public".to_owned()];
    let shop = shop
        .run("CREATE TABLE l (id int, k int)")
        .run("CREATE TABLE r (k int, y text)")
        .run("CREATE MATERIALIZED VIEW ids AS SELECT l.* FROM l")
        .run("CREATE MATERIALIZED VIEW pairs (a, b, c, d) AS SELECT l.*, r.* FROM l JOIN r USING (k)");
    for object in shop.catalog.objects().filter(|object| matches!(object.kind, ObjectKind::MaterializedView(_))) {
        let again = super::plan_stored_view(object, &shop.context()).unwrap();
        assert_eq!(again.schema, object.schema());
    }
    shop.query("SELECT l.* FROM public.l").unwrap();
}

fn query_of(object: &catalog::Object) -> &str {
    match &object.kind {
        ObjectKind::MaterializedView(view) => &view.query,
        ObjectKind::View(view) => &view.query,
        _ => unreachable!("only views have queries here"),
    }
}
