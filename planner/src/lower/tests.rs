//! Golden text of lowered plans and of what is refused. `INSTA_UPDATE=always cargo test -p planner lower` rewrites it.

#![allow(clippy::unwrap_used)]

mod harness;

use harness::{closing_plan, explain, lower_sql, plan};

macro_rules! golden {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($text) })
    };
}

/// The plans of several queries as one text.
fn plans(queries: &[&str]) -> String {
    let plans: Vec<_> = queries.iter().map(|query| format!("-- {}\n{}", one_line(query), explain(query))).collect();
    plans.join("\n")
}

fn one_line(query: &str) -> String {
    query.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn projections_and_filters_are_one_map() {
    golden!(plans(&[
        "SELECT * FROM bid",
        "SELECT auction, bidder, price, date_time, extra FROM bid",
        "SELECT auction, price FROM bid WHERE auction % 123 = 0",
        "SELECT auction, 0.908 * price AS price FROM bid",
        "SELECT a + 1 AS b FROM (SELECT auction * 2 AS a, price FROM bid WHERE price > 10) AS t WHERE a < 100",
        "SELECT a, a + 1, a + 2 FROM (SELECT auction * 2 AS a FROM bid) AS t",
        "SELECT price FROM (SELECT * FROM bid ORDER BY price) AS t WHERE price IS NOT NULL AND price > 5",
        "SELECT 1 AS one, 'x' AS x",
        "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t (n, s)",
        "SELECT auction FROM bid WHERE false",
        "SELECT auction FROM bid UNION ALL SELECT id FROM auction UNION ALL SELECT id FROM person",
    ]));
}

#[test]
fn groups_know_their_key() {
    golden!(plans(&[
        "SELECT count(*), sum(price), count(price) FROM bid",
        "SELECT auction, count(*) AS n, max(price) FROM bid GROUP BY auction HAVING count(*) > 2",
        "SELECT n, count(*) FROM (SELECT auction, count(*) AS n FROM bid GROUP BY auction) AS t GROUP BY n",
        "SELECT max(n), min(n) FROM (SELECT auction, count(*) AS n FROM bid GROUP BY auction) AS t",
        "SELECT DISTINCT channel FROM bid",
        "SELECT auction FROM bid UNION SELECT id FROM auction",
        "SELECT id, name, count(*) FROM users GROUP BY id, name",
        "SELECT channel, count(DISTINCT bidder) FILTER (WHERE price < 10000), sum(DISTINCT price), min(DISTINCT price)
           FROM bid GROUP BY channel",
        "SELECT price / 100 AS hundreds, avg(price), stddev(price), bool_and(price > 5) FROM bid GROUP BY price / 100",
    ]));
}

#[test]
fn partitions_are_computed_anew() {
    golden!(plans(&[
        "SELECT auction, row_number() OVER (PARTITION BY auction ORDER BY price DESC, bidder) FROM bid",
        "SELECT id, rank() OVER w, sum(amount) OVER w, lag(amount) OVER (ORDER BY id), max(amount) OVER (PARTITION BY user_id)
           FROM orders WINDOW w AS (PARTITION BY user_id ORDER BY amount ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SELECT * FROM bid LIMIT 3",
        "SELECT auction FROM bid ORDER BY price DESC LIMIT 3 OFFSET 1",
        "SELECT amount FROM orders ORDER BY id OFFSET 2",
        "SELECT DISTINCT ON (auction) auction, price FROM bid ORDER BY auction, price",
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS n FROM bid) AS t
           WHERE n = 1",
        "SELECT auction, price, n FROM (SELECT *, rank() OVER (PARTITION BY auction ORDER BY price DESC) AS n FROM bid) AS t
           WHERE n <= 10 AND price > 5",
        "SELECT id, n FROM (SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY id) AS n FROM orders) AS t WHERE n > 2",
        "SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY user_id ORDER BY amount) AS n FROM orders) AS t WHERE n <= 2",
        "SELECT key, place FROM (SELECT upper(key) AS key, n AS place FROM
           (SELECT channel AS key, dense_rank() OVER (PARTITION BY auction ORDER BY price) AS n FROM bid) AS t) AS u WHERE 3 > place",
        "SELECT id FROM (SELECT id, n + 1 AS n FROM (SELECT id, row_number() OVER (ORDER BY amount) AS n FROM orders) AS t) AS u
           WHERE n <= 2",
        "SELECT auction, window_end, n FROM (SELECT auction, window_end, n, row_number() OVER (PARTITION BY window_end ORDER BY n DESC)
           AS place FROM (SELECT auction, window_end, count(*) AS n FROM tumble_bid GROUP BY auction, window_end) AS c) AS t
           WHERE place <= 2",
        "SELECT auction, array_agg(price ORDER BY price DESC), count(*), string_agg(DISTINCT channel, ',') FROM bid GROUP BY auction",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY amount), sum(amount ORDER BY id) FROM orders",
        "SELECT sum(amount ORDER BY id) FROM orders",
        "SELECT name, (SELECT amount FROM orders LIMIT 1) FROM users",
    ]));
}

#[test]
fn joins_have_keys_and_narrow_sides() {
    golden!(plans(&[
        "SELECT b.auction, b.price, a.item_name FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10",
        "SELECT p.name, a.id FROM auction a, person p WHERE a.seller = p.id AND a.category = 10 AND p.state IN ('OR', 'ID')",
        "SELECT u.id, u.name, o.id, o.amount FROM users u LEFT JOIN orders o ON u.id = o.user_id",
        "SELECT u.id, u.name, o.amount FROM users u RIGHT JOIN orders o ON u.id = o.user_id AND o.amount > 5",
        "SELECT o.id, u.name FROM orders o JOIN users u ON u.id = o.user_id",
        "SELECT u.id, o.id FROM users u FULL JOIN orders o ON u.id = o.user_id",
        "SELECT * FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id AND o.amount > 3)",
        "SELECT * FROM users WHERE id IN (SELECT user_id FROM orders)",
        "SELECT * FROM users u WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)",
        "SELECT * FROM users WHERE id NOT IN (SELECT user_id FROM orders WHERE user_id IS NOT NULL)",
        "SELECT * FROM users u WHERE name = 'x' OR EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)",
        "SELECT id FROM users INTERSECT SELECT user_id FROM orders",
        "SELECT id FROM users EXCEPT SELECT user_id FROM orders",
        "SELECT id FROM orders WHERE amount > (SELECT avg(amount) FROM orders)",
        "SELECT id, (SELECT max(amount) FROM orders o WHERE o.user_id = u.id) FROM users u",
        "SELECT u.id, t.amount FROM users u, LATERAL (SELECT amount FROM orders o WHERE o.user_id = u.id) AS t",
        "SELECT o.id, t.total FROM orders o CROSS JOIN (SELECT sum(amount) AS total FROM orders) AS t",
        "SELECT b.price FROM bid b CROSS JOIN auction a",
        "SELECT u.id, o.id FROM users u LEFT JOIN orders o ON o.amount > u.id",
    ]));
}

#[test]
fn windows_close_by_watermarks() {
    golden!(plans(&[
        "SELECT auction, window_start, count(*) FROM tumble_bid GROUP BY auction, window_start",
        "SELECT auction, window_start, window_end, count(*) FROM hop_bid GROUP BY auction, window_start, window_end",
        "SELECT window_start, max(n) FROM
           (SELECT auction, window_start, window_end, count(*) AS n FROM hop_bid GROUP BY auction, window_start, window_end) AS t
           GROUP BY window_start",
        "SELECT p.id, p.window_start FROM
           (SELECT id, window_start, window_end FROM tumble_person GROUP BY id, window_start, window_end) AS p
           JOIN (SELECT seller, window_start, window_end FROM tumble_auction GROUP BY seller, window_start, window_end) AS a
           ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end",
        "SELECT window_start, u.name, count(*) FROM tumble_bid b JOIN users u ON b.bidder = u.id GROUP BY window_start, u.name",
        "SELECT DISTINCT window_end, channel FROM tumble_bid WHERE price > 100",
        "SELECT * FROM windows WHERE n > 3",
        "SELECT window_end, sum(n) FROM windows GROUP BY window_end",
    ]));
}

#[test]
fn rows_may_be_held_back_until_their_window_is_over() {
    let plans = [
        "SELECT auction, window_end, count(*) FROM tumble_bid GROUP BY auction, window_end",
        "SELECT auction, count(*) AS n FROM tumble_bid GROUP BY auction, window_start HAVING count(*) > 1",
        "SELECT * FROM tumble_bid",
    ];
    let plans = plans.map(|query| format!("-- {query}\n{}", closing_plan(query).unwrap()));
    golden!(plans.join("\n"));
    let error = closing_plan("SELECT auction, count(*) FROM bid GROUP BY auction").unwrap_err();
    assert_eq!(error.message, "EMIT ON WINDOW CLOSE without a window that a watermark closes is not supported");
}

#[test]
fn auction_benchmark() {
    golden!(plans(&[
        "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
           WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')",
        "SELECT w.category, avg(w.final) AS final
           FROM (SELECT a.id, a.category, max(b.price) AS final
                 FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
                 GROUP BY a.id, a.category) w
           GROUP BY w.category",
        "SELECT c.auction, c.num
           FROM (SELECT auction, window_start, window_end, count(*) AS num FROM hop_bid
                 GROUP BY auction, window_start, window_end) c
           JOIN (SELECT window_start, window_end, max(num) AS maxn
                 FROM (SELECT auction, window_start, window_end, count(*) AS num FROM hop_bid
                       GROUP BY auction, window_start, window_end) x
                 GROUP BY window_start, window_end) m
           ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.num >= m.maxn",
        "SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
           FROM bid b JOIN (SELECT window_end AS we, max(price) AS maxprice FROM tumble_bid
                            GROUP BY window_start, window_end) m
           ON b.price = m.maxprice
           WHERE b.date_time BETWEEN m.we - INTERVAL '10 seconds' AND m.we",
        "SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime FROM tumble_bid
           GROUP BY bidder, window_start, window_end",
        "SELECT date_trunc('day', date_time) AS day, count(*) AS total_bids,
             count(*) FILTER (WHERE price < 10000) AS rank1_bids,
             count(DISTINCT bidder) AS total_bidders,
             count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
             count(DISTINCT auction) AS total_auctions
           FROM bid GROUP BY date_trunc('day', date_time)",
        "SELECT channel, date_trunc('day', date_time) AS day, max(date_trunc('minute', date_time)) AS minute, count(*)
           FROM bid GROUP BY channel, date_trunc('day', date_time)",
        "SELECT auction, date_trunc('day', date_time) AS day, min(price), max(price),
             avg(CAST(price AS DECIMAL(20, 0))), sum(CAST(price AS DECIMAL(20, 0)))
           FROM bid GROUP BY auction, date_trunc('day', date_time)",
        "SELECT b.auction, b.bidder, b.price, a.item_name FROM bid b JOIN auction a ON b.auction = a.id
           WHERE a.category = 10",
        "SELECT auction, bidder, price, channel, split_part(extra, '/', 4) AS dir1 FROM bid",
    ]));
}

#[test]
fn recursions_hold_their_step() {
    golden!(plans(&[
        "WITH RECURSIVE paths AS (SELECT id, user_id FROM orders UNION
           SELECT p.id, o.user_id FROM paths p JOIN orders o ON o.id = p.user_id) SELECT * FROM paths",
        "WITH RECURSIVE paths AS (SELECT id, user_id, 0 AS far FROM orders WHERE amount > 5 UNION ALL
           SELECT p.id, o.user_id, p.far + 1 FROM paths p LEFT JOIN orders o ON o.id = p.user_id WHERE p.far < 9)
           SELECT far, count(*) FROM paths GROUP BY far",
        "WITH RECURSIVE open AS (SELECT id FROM users WHERE name = 'a' UNION
           SELECT DISTINCT o.id FROM open r LEFT JOIN orders o ON o.user_id = r.id
             WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = r.id AND u.name = 'closed')) SELECT * FROM open",
        "WITH RECURSIVE n AS (SELECT 1 AS n UNION SELECT n + 1 FROM n WHERE n < 5) SELECT * FROM n",
        "WITH RECURSIVE r AS (SELECT id, 1 AS n FROM users UNION ALL SELECT DISTINCT o.id, r.n FROM r JOIN orders o ON o.user_id = r.id)
           SELECT * FROM r",
        "WITH RECURSIVE r AS (SELECT id, id AS n FROM users UNION
           SELECT o.id, row_number() OVER (ORDER BY o.id) FROM r JOIN orders o ON o.user_id = r.id) SELECT * FROM r",
    ]));
}

#[test]
fn conditions_on_the_clock_say_from_when_until_when() {
    golden!(plans(&[
        "SELECT auction, price FROM bid WHERE date_time > now() - INTERVAL '1 hour' AND price > 5",
        "SELECT id FROM auction WHERE date_time <= now() AND now() <= expires",
        "SELECT id FROM auction WHERE expires BETWEEN now() - INTERVAL '1 day' AND now() + INTERVAL '90 minutes'",
        "SELECT bidder, max(date_time) FROM bid GROUP BY bidder HAVING max(date_time) + INTERVAL '5 minutes' > now()",
        "SELECT a.id FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time + (a.expires - a.date_time) >= now()",
        "SELECT id FROM users WHERE id IN (SELECT bidder FROM bid WHERE now() < date_time)",
    ]));
}

#[test]
fn sessions_close_by_watermarks() {
    golden!(plans(&[
        "SELECT auction, window_start, window_end, count(*) FROM session_bid GROUP BY auction, window_start, window_end",
        "SELECT * FROM session_bid WHERE auction = 7 AND price > 5",
        "SELECT window_start, max(window_end) FROM session_bid GROUP BY window_start",
    ]));
    let closing = "SELECT auction, window_end, sum(price) FROM session_bid GROUP BY auction, window_end";
    golden!(closing_plan(closing).unwrap());
}

#[test]
fn cumulated_windows_close_one_by_one() {
    golden!(plans(&[
        "SELECT auction, window_start, window_end, count(*) FROM cumulate_bid GROUP BY auction, window_start, window_end",
        "SELECT window_end, count(*) FROM cumulate_bid GROUP BY window_end",
        "SELECT window_start, count(*) FROM cumulate_bid GROUP BY window_start",
        "SELECT a.window_end, a.n, b.n FROM (SELECT window_end, count(*) AS n FROM cumulate_bid GROUP BY window_end) AS a
           JOIN (SELECT window_end, count(*) AS n FROM hop_bid GROUP BY window_end) AS b ON a.window_end = b.window_end",
    ]));
    let closing = "SELECT window_start, window_end, max(price) FROM cumulate_bid GROUP BY window_start, window_end";
    golden!(closing_plan(closing).unwrap());
}

#[test]
fn what_cannot_be_kept_up_to_date_is_named() {
    let refused = |query: &str| {
        let error = lower_sql(query).unwrap_err();
        let place = error.span.map(|span| format!(" at {}", span.start)).unwrap_or_default();
        format!("{query}\n  {:?}{place}: {}", error.kind, error.to_string().replace('\n', "\n    "))
    };
    let queries = [
        "SELECT auction FROM bid LIMIT (SELECT count(*) FROM bid)",
        "SELECT auction, sum(DISTINCT price) OVER (PARTITION BY auction) FROM bid",
        "SELECT auction, random() FROM bid",
        "SELECT auction, now() FROM bid",
        "SELECT auction FROM bid WHERE date_time > now() OR price > 1",
        "SELECT auction FROM bid WHERE date_time > now() - INTERVAL '1 month'",
        "SELECT auction FROM bid WHERE date_time = now()",
        "SELECT b.auction FROM bid b LEFT JOIN users u ON b.bidder = u.id AND b.date_time > now()",
        "SELECT auction FROM bid WHERE price > $1",
    ];
    golden!(queries.map(refused).join("\n"));
}

#[test]
fn aliases_do_not_keep_equal_work_apart() {
    let fingerprint = |query: &str| plan(query).root.fingerprint();
    let one = fingerprint("SELECT auction AS a, count(*) AS n FROM bid GROUP BY auction");
    assert_eq!(one, fingerprint("SELECT x.auction, count(*) FROM bid AS x GROUP BY x.auction"));
    assert_ne!(one, fingerprint("SELECT auction, count(*) FROM bid WHERE price > 1 GROUP BY auction"));
    assert_ne!(one, fingerprint("SELECT bidder, count(*) FROM bid GROUP BY bidder"));
    assert_eq!(one.len(), 32);
    assert_eq!(plan("SELECT auction FROM bid").root, plan("SELECT b.auction AS x FROM bid b").root);
}

#[test]
fn an_order_is_left_out_with_a_notice() {
    let plan = plan("SELECT auction FROM bid ORDER BY auction");
    assert_eq!(plan.notices, ["a materialized view keeps no order: its ORDER BY is left out"]);
}
