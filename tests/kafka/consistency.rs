//! Views never show a state that their inputs never had: money that is moved between accounts is neither made nor lost, in no epoch, whoever looks.

use std::time::{Duration, Instant};

use super::broker::shared;
use super::client::{Sender, create_topic, unique};
use crate::support::changes::{Contents, follow};
use crate::support::database::Database;
use crate::support::random::Random;

const TRANSFERS: u64 = 40_000;
const ACCOUNTS: u64 = 50;
/// Epochs between the first and the last that a subscriber sees, at the least: less would show little.
const EPOCHS: usize = 5;

/// Credits and debits come from one topic by two ways, meet in a join and in a sum over it.
const VIEWS: [&str; 6] = [
    "CREATE MATERIALIZED VIEW credits AS SELECT payee AS account, sum(amount) AS amount FROM transfers GROUP BY payee",
    "CREATE MATERIALIZED VIEW debits AS SELECT payer AS account, sum(amount) AS amount FROM transfers GROUP BY payer",
    "CREATE MATERIALIZED VIEW balance AS
       SELECT coalesce(c.account, d.account) AS account, coalesce(c.amount, 0) AS credit, coalesce(d.amount, 0) AS debit
       FROM credits c FULL JOIN debits d ON c.account = d.account",
    "CREATE MATERIALIZED VIEW total AS SELECT sum(credit - debit) AS total, sum(credit) AS moved FROM balance",
    // Every transfer has a payee who has a credit: in no epoch is there one without.
    "CREATE MATERIALIZED VIEW unmatched AS
       SELECT t.id FROM transfers t LEFT JOIN credits c ON t.payee = c.account WHERE c.account IS NULL",
    "CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n, (SELECT count(*) FROM unmatched) AS alone FROM transfers",
];

/// A column of numbers, summed over the rows.
fn sum(contents: &Contents, column: usize) -> i64 {
    let number = |text: &str| if text == "NULL" { 0 } else { text.parse::<i64>().unwrap() };
    contents.iter().map(|(row, weight)| weight * number(&row[column])).sum()
}

pub fn money_is_only_moved() {
    let topic = unique("transfers");
    create_topic(shared(), &topic, 3);
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE transfers (id bigint, payer int, payee int, amount int)
           WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json')",
        shared().bootstrap
    ));
    VIEWS.iter().for_each(|view| drop(db.run(view)));

    let mut random = Random::new(Random::seed(7));
    let transfers: Vec<(i64, String)> = (0..TRANSFERS)
        .map(|id| {
            let (payer, payee, amount) = (random.below(ACCOUNTS), random.below(ACCOUNTS), random.below(100) as i64);
            (amount, format!(r#"{{"id":{id},"payer":{payer},"payee":{payee},"amount":{amount}}}"#))
        })
        .collect();
    let moved: i64 = transfers.iter().map(|(amount, _)| amount).sum();

    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut session = db.session();
        readers.push(std::thread::spawn(move || {
            let mut epochs = 0;
            let zero = |epoch, all: &Contents| {
                epochs += 1;
                assert_eq!(sum(all, 0), 0, "total in epoch {epoch}: {all:?}");
            };
            let last = follow(&mut session, "SUBSCRIBE TO total", zero, |all| sum(all, 1) == moved);
            assert!(epochs >= EPOCHS, "only {epochs} epochs were seen");
            last
        }));
        let mut session = db.session();
        readers.push(std::thread::spawn(move || {
            let even =
                |epoch, all: &Contents| assert_eq!(sum(all, 1), sum(all, 2), "balance in epoch {epoch}: {all:?}");
            follow(&mut session, "SUBSCRIBE TO balance", even, |all| sum(all, 1) == moved)
        }));
    }
    let sender = std::thread::spawn(move || {
        let sender = Sender::new(shared(), &topic);
        for (i, (_, transfer)) in transfers.iter().enumerate() {
            sender.send(i as i32 % 3, None, Some(transfer));
            // In bursts, so that epochs are of all sizes.
            if i % 1_500 == 0 {
                sender.flush();
            }
        }
        sender.flush();
    });

    let until = Instant::now() + Duration::from_secs(120);
    let mut apart = 0;
    loop {
        assert_eq!(
            db.lines(
                "SELECT coalesce(sum(c.amount), 0) = (SELECT coalesce(sum(amount), 0) FROM debits) FROM credits c"
            ),
            ["t"]
        );
        // Two queries see two epochs: between them money came to one side, or nothing moved while it was looked at.
        let credit = db.lines("SELECT coalesce(sum(amount), 0) FROM credits");
        apart += usize::from(credit != db.lines("SELECT coalesce(sum(amount), 0) FROM debits"));
        assert_eq!(db.lines("SELECT count(*) FROM total WHERE total <> 0"), ["0"]);
        assert_eq!(db.lines("SELECT count(*) FROM unmatched"), ["0"]);
        if db.lines("SELECT n, alone FROM counted") == [format!("{TRANSFERS}|0")] {
            break;
        }
        assert!(Instant::now() < until, "all transfers arrive");
    }
    assert!(apart > 0, "nothing moved between two queries");
    sender.join().unwrap();
    for reader in readers {
        assert_eq!(sum(&reader.join().unwrap(), 1), moved);
    }
    assert_eq!(db.lines("SELECT * FROM total"), [format!("0|{moved}")]);
    db.reopen();
    assert_eq!(db.lines("SELECT * FROM total"), [format!("0|{moved}")]);
}
