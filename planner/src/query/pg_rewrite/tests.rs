//! What becomes of PostgreSQL's catalog queries, as SQL.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use catalog::{Catalog, QualifiedName, SqlType};

use crate::PlanContext;
use crate::context::{FunctionRegistry, PlanSettings, SystemRelations};

struct Fake;

const RELATIONS: [(&str, &[&str]); 5] = [
    ("pg_class", &["oid", "relname", "relnamespace", "reloptions"]),
    ("pg_attribute", &["attrelid", "attname", "attnum", "atthasdef"]),
    ("pg_attrdef", &["oid", "adrelid", "adnum", "adbin"]),
    ("pg_policy", &["oid", "polrelid", "polroles"]),
    ("pg_roles", &["rolname", "oid"]),
];

impl SystemRelations for Fake {
    fn relation(&self, name: &QualifiedName) -> Option<SchemaRef> {
        let (_, columns) = RELATIONS.iter().find(|(known, _)| name.schema == "pg_catalog" && name.name == *known)?;
        let fields: Vec<_> = columns.iter().map(|column| SqlType::Text.field(column, true)).collect();
        Some(Arc::new(Schema::new(fields)))
    }

    fn names(&self) -> Vec<QualifiedName> {
        Vec::new()
    }

    fn is_always_empty(&self, name: &QualifiedName) -> bool {
        name.name == "pg_policy"
    }
}

fn rewritten(text: &str) -> String {
    let catalog = Catalog::new();
    let settings = PlanSettings::default();
    let functions = FunctionRegistry::new();
    let context = PlanContext {
        catalog: &catalog,
        settings: &settings,
        system: &Fake,
        functions: &functions,
        parameter_types: &[],
    };
    let sql::StatementKind::Query(parsed) = sql::parse_one(text).unwrap().kind else { panic!("{text}") };
    let mut query = *parsed.query;
    super::query(&mut query, &context);
    query.to_string()
}

#[test]
fn queries_without_catalog_stay_as_they_are() {
    let text = "SELECT upper(name), (SELECT max(x) FROM t WHERE t.a = u.a) FROM u";
    assert_eq!(rewritten(text), text);
}

#[test]
fn reg_types_become_functions() {
    assert_eq!(
        rewritten("SELECT c.oid::pg_catalog.regclass FROM pg_class c WHERE c.oid = 'orders'::regclass"),
        "SELECT regclass_out(c.oid) AS \"oid\" FROM pg_class c WHERE c.oid = regclass_in('orders')"
    );
    assert_eq!(
        rewritten("SELECT relnamespace::regnamespace::text AS n FROM pg_class ORDER BY oid::regclass::text"),
        "SELECT regnamespace_out(relnamespace)::TEXT AS n FROM pg_class ORDER BY regclass_out(oid)::TEXT"
    );
    assert_eq!(rewritten("SELECT 'orders'::regclass::oid"), "SELECT regclass_in('orders')::oid AS \"oid\"");
    assert_eq!(
        rewritten("SELECT to_regclass('orders')"),
        "SELECT regclass_out(to_regclass('orders')) AS \"to_regclass\""
    );
    assert_eq!(
        rewritten("SELECT 1 WHERE to_regclass('orders') IS NULL"),
        "SELECT 1 WHERE to_regclass('orders') IS NULL"
    );
}

#[test]
fn a_subquery_over_nothing_is_not_run() {
    assert_eq!(
        rewritten("SELECT array(select rolname from pg_roles where oid = any (pol.polroles)) AS r FROM pg_policy pol"),
        "SELECT pg_empty_array() AS r FROM pg_policy pol"
    );
    assert_eq!(
        rewritten(
            "SELECT relname FROM pg_class c WHERE NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)"
        ),
        "SELECT relname FROM pg_class c WHERE true"
    );
    assert_eq!(
        rewritten("SELECT (SELECT count(*) FROM pg_policy) AS n FROM pg_class"),
        "SELECT (SELECT count(*) AS \"count\" FROM pg_policy) AS n FROM pg_class"
    );
}

#[test]
fn a_correlated_scalar_subquery_becomes_a_join() {
    assert_eq!(
        rewritten(
            "SELECT a.attname, (SELECT pg_get_expr(d.adbin, adrelid) FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND a.atthasdef) \
             FROM pg_attribute a, pg_class c WHERE a.attrelid = c.oid"
        ),
        "SELECT a.attname, CASE WHEN hoisted_1.\"oid\" IS NOT NULL THEN pg_get_expr(hoisted_1.adbin, hoisted_1.adrelid) END AS \"pg_get_expr\" \
         FROM pg_attribute a CROSS JOIN pg_class c LEFT OUTER JOIN pg_attrdef AS hoisted_1 \
         ON (hoisted_1.adrelid = a.attrelid AND a.atthasdef) WHERE a.attrelid = c.oid"
    );
}

#[test]
fn exists_in_a_select_list_becomes_a_count() {
    assert_eq!(
        rewritten(
            "SELECT NOT c.oid IS NULL AND EXISTS (SELECT 1 FROM pg_attrdef WHERE adrelid = c.oid) AS x FROM pg_class c"
        ),
        "SELECT NOT c.oid IS NULL AND ((SELECT count(1) AS \"count\" FROM pg_attrdef WHERE adrelid = c.oid) > 0) AS x FROM pg_class c"
    );
}
