//! Views over views and outer joins never show a state that the tables never had. Each transaction changes children and what their parents say
//! about them; so in every epoch parents and children agree, by whatever way a view compares them, for subscribers and for queries.

use crate::support::changes::{Contents, follow};
use crate::support::database::Database;
use crate::support::random::Random;

const TRANSACTIONS: i64 = 200;
const PARENTS: u64 = 12;
/// Epochs between the first and the last that a subscriber sees, at the least: less would show little.
const EPOCHS: usize = 20;

const TABLES: &str = "CREATE TABLE parents (id int PRIMARY KEY, total int, children int);
    CREATE TABLE children (id int PRIMARY KEY, parent int, amount int);
    CREATE TABLE progress (one int PRIMARY KEY, transactions int);
    INSERT INTO progress VALUES (1, 0)";

const VIEWS: [&str; 10] = [
    "sums AS SELECT parent, CAST(sum(amount) AS int) AS total, CAST(count(*) AS int) AS n FROM children GROUP BY parent",
    "families AS SELECT p.id, p.total AS said, coalesce(s.total, 0) AS summed, p.children, coalesce(s.n, 0) AS n
       FROM parents p LEFT JOIN sums s ON s.parent = p.id",
    "pairs AS SELECT coalesce(p.id, s.parent) AS id, p.total AS said, s.total AS summed
       FROM (SELECT id, total FROM parents WHERE children > 0) p FULL JOIN sums s ON s.parent = p.id",
    "wrong AS SELECT id FROM pairs WHERE said IS DISTINCT FROM summed",
    "orphans AS SELECT c.id FROM parents p RIGHT JOIN children c ON c.parent = p.id WHERE p.id IS NULL",
    "lonely AS SELECT p.id FROM parents p WHERE p.children <> 0 AND NOT EXISTS (SELECT 1 FROM sums s WHERE s.parent = p.id)",
    "largest AS SELECT parent, amount FROM
       (SELECT parent, amount, row_number() OVER (PARTITION BY parent ORDER BY amount DESC, id) AS place FROM children) x WHERE place = 1",
    "too_large AS SELECT l.parent FROM largest l LEFT JOIN sums s ON s.parent = l.parent WHERE s.total IS NULL OR l.amount > s.total",
    "unequal AS SELECT parent FROM ((SELECT parent FROM sums EXCEPT SELECT parent FROM largest)
       UNION ALL (SELECT parent FROM largest EXCEPT SELECT parent FROM sums)) x",
    // What must be zero, beside how far it has come.
    "state AS SELECT (SELECT max(transactions) FROM progress) AS transactions, (SELECT count(*) FROM wrong) AS wrong,
       (SELECT count(*) FROM orphans) AS orphans, (SELECT count(*) FROM lonely) AS lonely, (SELECT count(*) FROM too_large) AS too_large,
       (SELECT count(*) FROM unequal) AS unequal, (SELECT count(*) FROM parents) - (SELECT count(*) FROM families) AS lost",
];

/// Queries that find nothing, whenever they are asked: each sees all views and tables in one epoch.
const NOTHING: [&str; 4] = [
    "SELECT * FROM families WHERE said <> summed OR children <> n",
    "SELECT * FROM parents p FULL JOIN families f ON f.id = p.id WHERE p.total IS DISTINCT FROM f.summed",
    "SELECT c.parent FROM children c GROUP BY c.parent HAVING sum(c.amount) <> (SELECT max(f.said) FROM families f WHERE f.id = c.parent)",
    "SELECT * FROM sums s LEFT JOIN largest l ON l.parent = s.parent WHERE l.parent IS NULL OR l.amount > s.total",
];

pub fn outer_joins_and_views_over_views_agree_in_every_epoch() {
    let mut db = Database::durable();
    db.run(TABLES);
    VIEWS.iter().for_each(|view| drop(db.run(&format!("CREATE MATERIALIZED VIEW {view}"))));

    let mut followers = Vec::new();
    let mut session = db.session();
    followers.push(std::thread::spawn(move || {
        let mut epochs = 0;
        let agrees = |epoch, all: &Contents| {
            epochs += 1;
            assert!(all.len() == 1, "epoch {epoch}: {all:?}");
            let zero = all.keys().all(|row| row[1..].iter().all(|value| value == "0"));
            assert!(zero, "state in epoch {epoch}: {all:?}");
        };
        let last = TRANSACTIONS.to_string();
        drop(follow(&mut session, "SUBSCRIBE TO state", agrees, |all| all.keys().any(|row| row[0] == last)));
        assert!(epochs >= EPOCHS, "only {epochs} epochs were seen");
    }));
    let mut session = db.session();
    followers.push(std::thread::spawn(move || {
        let agrees = |epoch, all: &Contents| {
            let agree = |row: &Vec<String>| row[1] == row[2] && row[3] == row[4];
            assert!(all.keys().filter(|row| row[0] != "-1").all(agree), "families in epoch {epoch}: {all:?}");
        };
        // The last parent says that it is the last.
        drop(follow(&mut session, "SUBSCRIBE TO families", agrees, |all| all.keys().any(|row| row[0] == "-1")));
    }));

    let mut writing = db.session();
    let writer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut run = |sql: &str| {
            runtime
                .block_on(crate::support::database::run(&mut writing, sql))
                .unwrap_or_else(|error| panic!("{error}\n{sql}"));
        };
        let mut ledger = Ledger::default();
        let mut random = Random::new(Random::seed(11));
        for number in 1..=TRANSACTIONS {
            let changes = ledger.change(&mut random);
            run(&format!("BEGIN; {changes}; UPDATE progress SET transactions = {number}; COMMIT"));
        }
        run("INSERT INTO parents VALUES (-1, 0, 0)");
    });
    // Two queries see two epochs: what they say of one parent differs now and then, or nothing moved while it was looked at.
    let mut apart = 0;
    while !writer.is_finished() {
        for query in NOTHING {
            let found = db.lines(query);
            assert!(found.is_empty(), "{query}\n{found:?}");
        }
        let said = db.lines("SELECT sum(total) FROM parents");
        apart += usize::from(said != db.lines("SELECT sum(amount) FROM children"));
    }
    assert!(apart > 0, "nothing moved between two queries");
    writer.join().unwrap();
    followers.into_iter().for_each(|follower| follower.join().unwrap());
    db.reopen();
    assert_eq!(db.lines("SELECT * FROM state"), [format!("{TRANSACTIONS}|0|0|0|0|0|0")]);
}

/// Parents that are there, and children: id, parent, amount.
#[derive(Default)]
struct Ledger {
    parents: Vec<u64>,
    children: Vec<(u64, u64, u64)>,
    next: u64,
}

impl Ledger {
    /// A change of some children, with what the parents say from then on.
    fn change(&mut self, random: &mut Random) -> String {
        let mut statements = Vec::new();
        let mut touched = Vec::new();
        for _ in 0..1 + random.below(3) {
            match (random.below(5), self.children.len() as u64) {
                (3, count) if count > 0 => {
                    let (id, parent, _) = self.children.remove(random.below(count) as usize);
                    statements.push(format!("DELETE FROM children WHERE id = {id}"));
                    touched.push(parent);
                }
                (4, count) if count > 0 && self.parents.len() > 1 => {
                    let other = *random.pick(&self.parents);
                    let child = &mut self.children[random.below(count) as usize];
                    touched.extend([child.1, other]);
                    child.1 = other;
                    statements.push(format!("UPDATE children SET parent = {other} WHERE id = {}", child.0));
                }
                (2, _) if self.parents.len() > 3 => {
                    let parent = self.parents.swap_remove(random.below(self.parents.len() as u64) as usize);
                    self.children.retain(|child| child.1 != parent);
                    statements.push(format!("DELETE FROM children WHERE parent = {parent}"));
                    statements.push(format!("DELETE FROM parents WHERE id = {parent}"));
                }
                _ => {
                    let (parent, amount) = (random.below(PARENTS), random.below(100));
                    if !self.parents.contains(&parent) {
                        self.parents.push(parent);
                        statements.push(format!("INSERT INTO parents VALUES ({parent}, 0, 0)"));
                    }
                    self.next += 1;
                    self.children.push((self.next, parent, amount));
                    statements.push(format!("INSERT INTO children VALUES ({}, {parent}, {amount})", self.next));
                    touched.push(parent);
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for parent in touched.into_iter().filter(|parent| self.parents.contains(parent)) {
            let amounts: Vec<u64> =
                self.children.iter().filter(|child| child.1 == parent).map(|child| child.2).collect();
            let (total, count) = (amounts.iter().sum::<u64>(), amounts.len());
            statements.push(format!("UPDATE parents SET total = {total}, children = {count} WHERE id = {parent}"));
        }
        statements.join("; ")
    }
}
