//! Rows of a source that meet a table as it is when they come, or as it was at their time.

use std::fs::File;
use std::io::Write;

use tempfile::TempDir;

use crate::support::database::{Database, settings};

/// A file of orders that a source follows, a table of rates, and the engine.
struct Orders {
    db: Database,
    file: File,
    /// Goes when the test is over.
    directory: TempDir,
}

impl Orders {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut db = Database::open(settings(Some(directory.path().join("data"))));
        let file = source(&mut db, &directory, "orders", "id int, currency text, at timestamp");
        db.run("CREATE TABLE rates (currency text PRIMARY KEY, rate int)");
        Self { db, file, directory }
    }

    fn append(&mut self, orders: &[(i32, &str)]) {
        for (id, currency) in orders {
            writeln!(self.file, r#"{{"id":{id},"currency":"{currency}","at":"2024-01-01 10:00:{id:02}"}}"#).unwrap();
        }
        self.file.flush().unwrap();
    }
}

fn source(db: &mut Database, directory: &TempDir, name: &str, columns: &str) -> File {
    let path = directory.path().join(format!("{name}.jsonl"));
    let file = File::create(&path).unwrap();
    db.run(&format!(
        "CREATE SOURCE {name} ({columns}, WATERMARK FOR at AS at - INTERVAL '5 seconds')
         WITH (connector = 'file', path = '{}', format = 'json', mode = 'follow', poll_interval = '5ms')",
        path.display()
    ));
    file
}

const JOIN: &str = "SELECT o.id, r.rate FROM orders o LEFT JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r ON o.currency = r.currency";

pub fn a_row_meets_its_epoch() {
    let mut orders = Orders::new();
    orders.db.run(&format!("CREATE MATERIALIZED VIEW priced AS {JOIN}"));
    orders.db.run("INSERT INTO rates VALUES ('EUR', 10), ('USD', 20)");
    orders.append(&[(1, "EUR"), (2, "GBP")]);
    orders.db.wait_for("SELECT * FROM priced", &["1|10", "2|NULL"]);

    // What becomes of the rates later says nothing of the orders that came before.
    orders.db.run("UPDATE rates SET rate = 11 WHERE currency = 'EUR'");
    orders.db.run("INSERT INTO rates VALUES ('GBP', 30)");
    orders.db.run("DELETE FROM rates WHERE currency = 'USD'");
    orders.append(&[(3, "EUR"), (4, "GBP"), (5, "USD")]);
    let after = ["1|10", "2|NULL", "3|11", "4|30", "5|NULL"];
    orders.db.wait_for("SELECT * FROM priced", &after);

    // Of the orders nothing is kept.
    let kept = "SELECT sum(state_rows) <= 2 FROM mr_catalog.operators WHERE operator LIKE 'Temporal join%'";
    assert_eq!(orders.db.lines(kept), ["t"]);

    // Nor does a restart; and the rates are known after it.
    orders.db.reopen();
    assert_eq!(orders.db.lines("SELECT * FROM priced"), after);
    orders.append(&[(6, "EUR")]);
    orders.db.wait_for("SELECT * FROM priced WHERE id = 6", &["6|11"]);
    // An ad-hoc query sees what is there now.
    assert_eq!(orders.db.lines(&format!("{JOIN} WHERE o.id < 3")), ["1|11", "2|30"]);
}

pub fn a_later_view_meets_what_is_there() {
    let mut orders = Orders::new();
    orders.append(&[(1, "EUR"), (2, "USD")]);
    orders.db.run("INSERT INTO rates VALUES ('EUR', 10), ('USD', 20)");
    orders.db.run("CREATE MATERIALIZED VIEW all_orders AS SELECT * FROM orders");
    orders
        .db
        .run("CREATE MATERIALIZED VIEW doubled AS SELECT currency, max(rate) * 2 AS rate FROM rates GROUP BY currency");
    orders.db.wait_for("SELECT id FROM all_orders", &["1", "2"]);
    // Of sources and stored relations on either side, what is met is there first.
    orders.db.run(&format!("CREATE MATERIALIZED VIEW priced AS {JOIN}"));
    orders.db.run(
        "CREATE MATERIALIZED VIEW stored AS SELECT o.id, d.rate FROM all_orders o
         JOIN doubled FOR SYSTEM_TIME AS OF PROCTIME() AS d ON o.currency = d.currency",
    );
    orders.db.wait_for("SELECT * FROM priced", &["1|10", "2|20"]);
    orders.db.wait_for("SELECT * FROM stored", &["1|20", "2|40"]);
    orders.db.run("UPDATE rates SET rate = 12");
    orders.append(&[(3, "USD")]);
    orders.db.wait_for("SELECT * FROM priced", &["1|10", "2|20", "3|12"]);
    orders.db.wait_for("SELECT * FROM stored", &["1|20", "2|40", "3|24"]);
}

pub fn versions_are_those_of_the_time() {
    let mut orders = Orders::new();
    let mut history = source(&mut orders.db, &orders.directory, "history", "currency text, rate int, at timestamp");
    orders.db.run(
        "CREATE MATERIALIZED VIEW dated AS SELECT o.id, h.rate FROM orders o
         LEFT JOIN history FOR SYSTEM_TIME AS OF o.at AS h ON o.currency = h.currency",
    );
    let mut version = |rate: i32, second: i32| {
        writeln!(history, r#"{{"currency":"EUR","rate":{rate},"at":"2024-01-01 10:00:{second:02}"}}"#).unwrap();
        history.flush().unwrap();
    };
    orders.append(&[(5, "EUR"), (15, "EUR"), (25, "EUR")]);
    version(10, 10);
    orders.db.wait_for("SELECT * FROM dated", &["15|10", "25|10", "5|NULL"]);
    // One that comes late takes its place.
    version(30, 20);
    version(1, 5);
    orders.db.wait_for("SELECT * FROM dated", &["15|10", "25|30", "5|1"]);
    orders.db.reopen();
    version(20, 15);
    orders.db.wait_for("SELECT * FROM dated", &["15|20", "25|30", "5|1"]);
}
