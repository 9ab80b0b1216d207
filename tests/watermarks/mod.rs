//! Windows of time over a followed file: what changes, what closes, what is late, and what of it outlives a restart.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::support::database::{Database, settings};
use crate::support::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("watermarks::windows_close_when_the_watermark_passes", windows_close_when_the_watermark_passes),
        trial("watermarks::late_rows_are_dropped_and_counted", late_rows_are_dropped_and_counted),
        trial("watermarks::late_rows_are_dead_letters_if_the_source_says_so", late_rows_are_dead_letters),
        trial("watermarks::sessions_close_when_nothing_comes", sessions_close_when_nothing_comes),
        trial("watermarks::views_over_windows_of_views", views_over_windows_of_views),
        trial("watermarks::copies_count_once_and_are_forgotten", copies_count_once_and_are_forgotten),
        trial("watermarks::rows_go_when_their_retention_is_over", rows_go_when_their_retention_is_over),
        trial("watermarks::rows_that_go_silently_stay_in_views_above", rows_that_go_silently_stay_in_views_above),
    ]
}

/// A file of clicks that a source follows, and the engine.
struct Clicks {
    db: Database,
    file: File,
    /// Goes when the test is over.
    _directory: TempDir,
}

impl Clicks {
    /// With a watermark of 5 seconds; `late` is the source's option.
    fn new(late: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clicks.jsonl");
        let file = File::create(&path).unwrap();
        let mut clicks =
            Self { db: Database::open(settings(Some(data_dir(directory.path())))), file, _directory: directory };
        clicks.db.run(&format!(
            "CREATE SOURCE clicks (who text, n int, at timestamp, WATERMARK FOR at AS at - INTERVAL '5 seconds')
             WITH (connector = 'file', path = '{}', format = 'json', mode = 'follow', poll_interval = '5ms', late = '{late}')",
            path.display()
        ));
        clicks
    }

    /// Appends clicks: who, how many, at which minute and second.
    fn append(&mut self, clicks: &[(&str, i32, &str)]) {
        for (who, n, at) in clicks {
            writeln!(self.file, r#"{{"who":"{who}","n":{n},"at":"2024-01-01 10:{at}"}}"#).unwrap();
        }
        self.file.flush().unwrap();
    }
}

fn data_dir(directory: &Path) -> PathBuf {
    directory.join("data")
}

const PER_MINUTE: &str = "SELECT window_start::time AS minute, who, sum(n) AS total, count(*) AS clicks
    FROM TUMBLE(clicks, at, INTERVAL '1 minute') GROUP BY window_start, who";

fn windows_close_when_the_watermark_passes() {
    let mut clicks = Clicks::new("drop");
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW running AS {PER_MINUTE}"));
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW closed AS {PER_MINUTE} EMIT ON WINDOW CLOSE"));
    clicks.db.run(
        "CREATE MATERIALIZED VIEW hops AS SELECT window_end::time AS until, count(*) AS clicks
         FROM HOP(clicks, at, INTERVAL '30 seconds', INTERVAL '1 minute') GROUP BY window_end EMIT ON WINDOW CLOSE",
    );
    clicks.append(&[("ann", 1, "00:10"), ("bob", 2, "00:20"), ("ann", 4, "00:50"), ("ann", 8, "01:04")]);
    let first = ["10:00:00|ann|5|2", "10:00:00|bob|2|1", "10:01:00|ann|8|1"];
    clicks.db.wait_for("SELECT * FROM running", &first);
    // The watermark is at 10:00:59: one more second, and the first minute is over. Half a minute before it, a hop ended.
    assert_eq!(clicks.db.lines("SELECT * FROM closed"), Vec::<String>::new());
    clicks.db.wait_for("SELECT * FROM hops", &["10:00:30|2"]);

    // A row that is behind others, but not behind the watermark, still counts.
    clicks.append(&[("bob", 16, "00:59.5"), ("cid", 32, "01:05")]);
    clicks.db.wait_for("SELECT * FROM closed", &["10:00:00|ann|5|2", "10:00:00|bob|18|2"]);
    clicks.db.wait_for("SELECT * FROM hops", &["10:00:30|2", "10:01:00|4"]);

    // What has closed stays, and what is open is known, after a restart.
    clicks.db.reopen();
    assert_eq!(clicks.db.lines("SELECT * FROM closed"), ["10:00:00|ann|5|2", "10:00:00|bob|18|2"]);
    clicks.append(&[("ann", 64, "02:10")]);
    let closed = ["10:00:00|ann|5|2", "10:00:00|bob|18|2", "10:01:00|ann|8|1", "10:01:00|cid|32|1"];
    clicks.db.wait_for("SELECT * FROM closed", &closed);
    clicks.db.wait_for("SELECT * FROM hops", &["10:00:30|2", "10:01:00|4", "10:01:30|4", "10:02:00|2"]);
    let running = [&closed[..], &["10:02:00|ann|64|1"]].concat();
    clicks.db.wait_for("SELECT * FROM running", &running);
}

fn sessions_close_when_nothing_comes() {
    const SESSIONS: &str = "SELECT who, window_start::time AS since, window_end::time AS until, sum(n) AS total
        FROM SESSION(clicks, at, INTERVAL '10 seconds', who) GROUP BY who, window_start, window_end";
    let mut clicks = Clicks::new("drop");
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW running AS {SESSIONS}"));
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW closed AS {SESSIONS} EMIT ON WINDOW CLOSE"));
    clicks.append(&[("ann", 1, "00:10"), ("bob", 2, "00:11"), ("ann", 4, "00:25")]);
    let apart = ["ann|10:00:10|10:00:20|1", "ann|10:00:25|10:00:35|4", "bob|10:00:11|10:00:21|2"];
    clicks.db.wait_for("SELECT * FROM running", &apart);
    // The watermark is at 10:00:20: the first session is over, the others are not.
    clicks.db.wait_for("SELECT * FROM closed", &apart[..1]);
    // A row between two open sessions makes them one; one behind a closed session is late.
    clicks.append(&[("bob", 16, "00:20.5"), ("bob", 8, "00:26"), ("ann", 32, "00:09")]);
    let joined = ["ann|10:00:10|10:00:20|1", "ann|10:00:25|10:00:35|4", "bob|10:00:11|10:00:36|26"];
    clicks.db.wait_for("SELECT * FROM running", &joined);
    clicks.db.wait_for("SELECT late_rows FROM mr_catalog.sources", &["1"]);
    clicks.db.reopen();
    clicks.append(&[("cid", 64, "01:00")]);
    clicks.db.wait_for("SELECT * FROM closed", &joined);
    clicks.db.wait_for("SELECT count(*) FROM running", &["4"]);
}

fn late_rows_are_dropped_and_counted() {
    let mut clicks = Clicks::new("drop");
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW running AS {PER_MINUTE}"));
    clicks.append(&[("ann", 1, "00:10"), ("ann", 2, "01:10")]);
    let rows = ["10:00:00|ann|1|1", "10:01:00|ann|2|1"];
    clicks.db.wait_for("SELECT * FROM running", &rows);
    // Rows are late by the watermark before their epoch.
    clicks.append(&[("bob", 4, "00:30"), ("ann", 8, "00:59")]);
    clicks.db.wait_for("SELECT late_rows FROM mr_catalog.sources", &["2"]);
    assert_eq!(clicks.db.lines("SELECT * FROM running"), rows);
    assert_eq!(clicks.db.lines("SELECT count(*) FROM mr_catalog.dead_letters"), ["0"]);
    // The watermark is not forgotten.
    clicks.db.reopen();
    clicks.append(&[("bob", 16, "00:30"), ("bob", 32, "01:30")]);
    let rows = ["10:00:00|ann|1|1", "10:01:00|ann|2|1", "10:01:00|bob|32|1"];
    clicks.db.wait_for("SELECT * FROM running", &rows);
    clicks.db.wait_for("SELECT late_rows FROM mr_catalog.sources", &["3"]);
}

fn late_rows_are_dead_letters() {
    let mut clicks = Clicks::new("dead_letter");
    clicks.db.run(
        "CREATE MATERIALIZED VIEW closed AS SELECT window_start::time AS minute, who, count(*) AS clicks
         FROM TUMBLE(clicks, at, INTERVAL '1 minute') GROUP BY window_start, who EMIT ON WINDOW CLOSE",
    );
    clicks.append(&[("ann", 1, "00:10"), ("ann", 2, "01:10")]);
    clicks.db.wait_for("SELECT * FROM closed", &["10:00:00|ann|1"]);
    clicks.append(&[("bob", 4, "00:30")]);
    clicks.db.wait_for("SELECT late_rows FROM mr_catalog.sources", &["1"]);
    clicks.db.wait_for("SELECT source FROM mr_catalog.dead_letters", &["clicks"]);
    // The whole row as JSON, under the source's own names, also what the view doesn't read.
    let row: String = r#""n":4"#.bytes().map(|byte| format!("{byte:02x}")).collect();
    let letter = &clicks.db.lines("SELECT payload, reason FROM mr_catalog.dead_letters")[0];
    assert!(letter.contains(&row) && letter.contains("late") && letter.contains("Tumble at size 1m"), "{letter}");
    assert_eq!(clicks.db.lines("SELECT * FROM closed"), ["10:00:00|ann|1"]);
}

fn views_over_windows_of_views() {
    let mut clicks = Clicks::new("drop");
    clicks.db.run(
        "CREATE MATERIALIZED VIEW minutes AS SELECT window_end, who, sum(n) AS total
         FROM TUMBLE(clicks, at, INTERVAL '1 minute') GROUP BY window_end, who EMIT ON WINDOW CLOSE",
    );
    // A view over closed windows has each of them once; a join of two windowed views meets on their windows.
    clicks.db.run(
        "CREATE MATERIALIZED VIEW best AS SELECT m.window_end::time AS until, m.who, m.total
         FROM minutes m JOIN (SELECT window_end, max(total) AS top FROM minutes GROUP BY window_end) AS t
         ON m.window_end = t.window_end AND m.total = t.top",
    );
    clicks.append(&[
        ("ann", 1, "00:10"),
        ("bob", 2, "00:20"),
        ("bob", 4, "01:04"),
        ("ann", 8, "01:30"),
        ("ann", 1, "02:06"),
    ]);
    clicks.db.wait_for("SELECT * FROM best", &["10:01:00|bob|2", "10:02:00|ann|8"]);
    assert_eq!(clicks.db.lines("SELECT count(*) FROM minutes"), ["4"]);
}

const OF_MINUTES: &str =
    "SELECT window_end, who, sum(n) AS total FROM TUMBLE(clicks, at, INTERVAL '1 minute') GROUP BY window_end, who";

fn rows_go_when_their_retention_is_over() {
    let mut clicks = Clicks::new("drop");
    let with = "WITH (retention = '2 minutes')";
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW minutes {with} AS {OF_MINUTES}"));
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW closed {with} AS {OF_MINUTES} EMIT ON WINDOW CLOSE"));
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW raw {with} AS SELECT who, n, at FROM clicks"));
    clicks.db.run("CREATE MATERIALIZED VIEW totals AS SELECT who, sum(total) AS total FROM minutes GROUP BY who");
    clicks.append(&[("ann", 1, "00:10"), ("bob", 2, "00:20"), ("ann", 4, "01:04"), ("ann", 8, "02:30")]);
    clicks.db.wait_for("SELECT who, total FROM totals", &["ann|13", "bob|2"]);
    let minutes = ["10:01:00|ann|1", "10:01:00|bob|2", "10:02:00|ann|4", "10:03:00|ann|8"];
    clicks.db.wait_for("SELECT window_end::time, who, total FROM minutes", &minutes);
    clicks.db.wait_for("SELECT window_end::time, who, total FROM closed", &minutes[..3]);
    // The watermark is at 10:02:25; clicks go two minutes after their own time.
    clicks.db.wait_for("SELECT who, n FROM raw", &["ann|4", "ann|8"]);
    let kept = "SELECT sum(state_rows) FROM mr_catalog.operators WHERE operator LIKE 'Retention%'";
    clicks.db.wait_for(kept, &["9"]);

    // The watermark reaches 10:03: the first minute ended two minutes ago.
    clicks.append(&[("cid", 16, "03:05")]);
    let minutes = ["10:02:00|ann|4", "10:03:00|ann|8", "10:04:00|cid|16"];
    clicks.db.wait_for("SELECT window_end::time, who, total FROM minutes", &minutes);
    clicks.db.wait_for("SELECT window_end::time, who, total FROM closed", &minutes[..2]);
    clicks.db.wait_for("SELECT who, total FROM totals", &["ann|12", "cid|16"]);
    clicks.db.wait_for("SELECT who, n FROM raw", &["ann|4", "ann|8", "cid|16"]);
    clicks.db.wait_for(kept, &["8"]);

    // Known after a restart too; what is made now begins with what is left.
    clicks.db.reopen();
    clicks.db.run("CREATE MATERIALIZED VIEW late AS SELECT who, sum(total) AS total FROM minutes GROUP BY who");
    clicks.db.wait_for("SELECT who, total FROM late", &["ann|12", "cid|16"]);
    clicks.append(&[("cid", 32, "04:05")]);
    clicks.db.wait_for(
        "SELECT window_end::time, who, total FROM minutes",
        &["10:03:00|ann|8", "10:04:00|cid|16", "10:05:00|cid|32"],
    );
    for view in ["totals", "late"] {
        clicks.db.wait_for(&format!("SELECT who, total FROM {view}"), &["ann|8", "cid|48"]);
    }
    clicks.db.wait_for("SELECT who, n FROM raw", &["ann|8", "cid|16", "cid|32"]);
}

fn rows_that_go_silently_stay_in_views_above() {
    let mut clicks = Clicks::new("drop");
    let with = "WITH (retention = '1 minute', on_expiry = 'silent')";
    clicks.db.run(&format!("CREATE MATERIALIZED VIEW minutes {with} AS {OF_MINUTES} EMIT ON WINDOW CLOSE"));
    clicks.db.run("CREATE MATERIALIZED VIEW totals AS SELECT who, sum(total) AS total FROM minutes GROUP BY who");
    clicks.append(&[("ann", 1, "00:10"), ("bob", 2, "00:20"), ("ann", 4, "01:04"), ("ann", 8, "02:07")]);
    clicks.db.wait_for("SELECT who, total FROM totals", &["ann|5", "bob|2"]);
    clicks.db.wait_for("SELECT window_end::time, who, total FROM minutes", &["10:02:00|ann|4"]);
    clicks.db.reopen();
    clicks.append(&[("ann", 16, "04:06")]);
    clicks.db.wait_for("SELECT who, total FROM totals", &["ann|13", "bob|2"]);
    clicks.db.wait_for("SELECT count(*) FROM minutes", &["0"]);
}

/// The forms of docs/deduplication.md.
fn copies_count_once_and_are_forgotten() {
    let mut clicks = Clicks::new("drop");
    clicks.db.run(
        "CREATE MATERIALIZED VIEW once AS SELECT DISTINCT who, n, at, window_end FROM TUMBLE(clicks, at, INTERVAL '1 minute')",
    );
    clicks.db.run(
        "CREATE MATERIALIZED VIEW first AS SELECT DISTINCT ON (who, window_end) who, n, at, window_end
         FROM SESSION(clicks, at, INTERVAL '30 seconds', who) ORDER BY who, window_end, at",
    );
    clicks.db.run(
        "CREATE MATERIALIZED VIEW of_minutes AS SELECT who, n, at FROM (SELECT *, row_number() OVER (PARTITION BY who, window_end ORDER BY at) AS place
         FROM TUMBLE(clicks, at, INTERVAL '1 minute')) AS t WHERE place = 1",
    );
    // At once, and the second copy is none.
    clicks.append(&[("ann", 1, "00:10"), ("ann", 1, "00:10"), ("bob", 2, "00:20"), ("ann", 4, "00:30")]);
    clicks.db.wait_for("SELECT who, n FROM once", &["ann|1", "ann|4", "bob|2"]);
    clicks.db.wait_for("SELECT who, n FROM first", &["ann|1", "bob|2"]);
    clicks.db.wait_for("SELECT who, n FROM of_minutes", &["ann|1", "bob|2"]);
    clicks.db.reopen();
    // A copy that comes behind others, and one that comes when its window is closed.
    clicks.append(&[("bob", 2, "00:20"), ("cid", 8, "01:10")]);
    clicks.db.wait_for("SELECT who, n FROM once", &["ann|1", "ann|4", "bob|2", "cid|8"]);
    clicks.append(&[("bob", 2, "00:20"), ("bob", 16, "03:00")]);
    clicks.db.wait_for("SELECT who, n FROM once", &["ann|1", "ann|4", "bob|16", "bob|2", "cid|8"]);
    clicks.db.wait_for("SELECT who, n FROM first", &["ann|1", "bob|16", "bob|2", "cid|8"]);
    clicks.db.wait_for("SELECT who, n FROM of_minutes", &["ann|1", "bob|16", "bob|2", "cid|8"]);
    // All that is left is what is open.
    let kept = "SELECT operator, state_rows FROM mr_catalog.operators WHERE state_rows > 1";
    clicks.db.wait_for(kept, &[]);
    let plan = clicks.db.lines("EXPLAIN once");
    assert!(plan.iter().any(|line| line.starts_with("View") && line.ends_with("append-only")), "{plan:?}");
}
