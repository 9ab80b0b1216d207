#![allow(clippy::unwrap_used)]

use super::*;
use crate::{SqlType, View};

fn column(name: &str) -> Column {
    Column { name: name.to_owned(), sql_type: SqlType::BigInt, nullable: true, default: None, generated: None }
}

fn view(id: u32, name: &str, reads: &[u32]) -> Object {
    Object {
        id: ObjectId(id),
        name: QualifiedName { schema: PUBLIC.to_owned(), name: name.to_owned() },
        sql: format!("CREATE VIEW {name} AS SELECT 1"),
        columns: vec![column("customer_id"), column("total")],
        depends_on: reads.iter().copied().map(ObjectId).collect(),
        kind: ObjectKind::View(View { query: "SELECT 1".to_owned() }),
    }
}

fn chain() -> Catalog {
    let catalog = Catalog::new().create(view(1, "orders", &[])).unwrap();
    let catalog = catalog.create(view(2, "revenue", &[1])).unwrap();
    catalog.create(view(3, "top", &[1, 2])).unwrap()
}

#[test]
fn a_change_leaves_older_snapshots_as_they_were() {
    let before = chain();
    let after = before.drop_object(ObjectId(3)).unwrap();
    assert!(before.get(ObjectId(3)).is_some());
    assert!(after.get(ObjectId(3)).is_none());
    assert_eq!(after.dependents(ObjectId(2)).count(), 0);
}

#[test]
fn dependents_come_before_what_they_read() {
    let catalog = chain();
    assert_eq!(catalog.with_dependents([ObjectId(1)]), [ObjectId(3), ObjectId(2), ObjectId(1)]);
    let refused = catalog.drop_object(ObjectId(2)).unwrap_err();
    assert_eq!(refused.to_string(), "cannot drop revenue because other objects depend on it");
}

#[test]
fn a_name_is_taken_once() {
    let refused = chain().create(view(4, "top", &[])).unwrap_err();
    assert_eq!(refused.to_string(), "relation \"top\" already exists");
}

#[test]
fn numbers_are_never_reused() {
    let catalog = Catalog::new();
    let (catalog, first) = catalog.assign(view(0, "a", &[]));
    let catalog = catalog.create(first.clone()).unwrap().drop_object(first.id).unwrap();
    let (_, second) = catalog.assign(view(0, "a", &[]));
    assert!(second.id > first.id);
}

#[test]
fn a_stored_catalog_comes_back_equal() {
    let catalog = chain().create_schema("sales").unwrap();
    let catalog = catalog.set_comment(ObjectId(2), Some(1), Some("in euros".to_owned())).unwrap();
    let objects: Vec<String> = catalog.objects().map(|object| serde_json::to_string(&**object).unwrap()).collect();
    let counters = serde_json::to_string(catalog.counters()).unwrap();
    let restored = Catalog::restore(
        serde_json::from_str(&counters).unwrap(),
        objects.iter().map(|object| serde_json::from_str(object).unwrap()),
    );
    assert_eq!(restored.unwrap(), catalog);
}

#[test]
fn a_near_miss_is_found_and_a_far_one_is_not() {
    let catalog = chain();
    let path = [PUBLIC.to_owned()];
    let found = |name| catalog.near_miss(&path, name).map(|name| name.to_string());
    assert_eq!(found("order"), Some("orders".to_owned()));
    assert_eq!(found("ordesr"), Some("orders".to_owned()));
    assert_eq!(found("reveune"), Some("revenue".to_owned()));
    assert_eq!(found("customers"), None);
    let orders = catalog.get(ObjectId(1)).unwrap();
    assert_eq!(orders.near_miss_column("custmer_id"), Some("customer_id"));
}
