//! `millrace backup` and `millrace restore`, as a user calls them.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::server::{ServerProcess, binary};

fn millrace(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = millrace(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn a_running_server_is_backed_up_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    let (data, backups) = (directory.path().join("data"), directory.path().join("backups"));
    let server = ServerProcess::start(&data, &[]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY, k int)");
    client.rows("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM t GROUP BY k");
    client.rows("INSERT INTO t SELECT n, n % 10 FROM generate_series(1, 20000) AS g (n)");

    // Writes go on while the first backup is made: it has what was acknowledged before, and of what came since a whole state.
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let client = server.connect();
            (0..50).for_each(|n| {
                drop(client.rows(&format!("INSERT INTO t VALUES ({}, 77), ({}, 77)", -2 * n - 1, -2 * n - 2)))
            });
        });
        let said = succeed(&["backup", text(&backups), "--data-dir", text(&data)]);
        assert!(said.starts_with("backup 1 of"), "{said}");
        writer.join().unwrap();
    });
    client.rows("DELETE FROM t WHERE id > 10000");
    succeed(&["backup", text(&backups), "--data-dir", text(&data)]);
    client.rows("DELETE FROM t");
    assert_eq!(succeed(&["backup", text(&backups), "--list"]).lines().count(), 2);

    let restored = |number: &str, name: &str| {
        let data = directory.path().join(name);
        succeed(&["restore", text(&backups), "--data-dir", text(&data), "--number", number]);
        let server = ServerProcess::start(&data, &[]);
        let client = server.connect();
        let rows = client.rows("SELECT count(*) FILTER (WHERE id > 0), count(*) FILTER (WHERE id < 0) FROM t");
        let view = client.rows("SELECT coalesce(sum(n), 0) FROM v WHERE k < 10");
        let pairs = client.rows("SELECT coalesce(sum(n), 0) FROM v WHERE k = 77");
        assert_eq!((&view[0][0], &pairs[0][0]), (&rows[0][0], &rows[0][1]), "views are of the same epoch");
        client.rows("INSERT INTO t VALUES (1000000, 1)");
        (rows[0][0].parse::<u64>().unwrap(), rows[0][1].parse::<u64>().unwrap())
    };
    let (first, written) = restored("1", "first");
    assert_eq!((first, written % 2), (20_000, 0), "writes are there whole");
    assert_eq!(restored("2", "second"), (10_000, 100));

    // The directory may be moved to another place and back, file by file.
    let elsewhere = directory.path().join("elsewhere");
    let copied = Command::new("cp").arg("-r").args([&backups, &elsewhere]).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(&backups).unwrap();
    let (files, aside) = (elsewhere.join("shared_checksum"), directory.path().join("aside"));
    std::fs::rename(&files, &aside).unwrap();
    let refused = millrace(&["restore", text(&elsewhere), "--data-dir", text(&directory.path().join("last"))]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && errors.contains("backup 2 is not whole"), "{errors}");
    drop(std::fs::remove_dir_all(&files));
    std::fs::rename(&aside, &files).unwrap();
    std::fs::rename(&elsewhere, &backups).unwrap();
    assert_eq!(restored("2", "third"), (10_000, 100));

    let refused = millrace(&["restore", text(&backups), "--data-dir", text(&directory.path().join("first"))]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"));
    let refused =
        millrace(&["restore", text(&backups), "--data-dir", text(&directory.path().join("x")), "--number", "9"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no backup 9 in"));
    let refused = millrace(&["restore", text(directory.path()), "--data-dir", text(&directory.path().join("y"))]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no backup in"));
    let inside = millrace(&["backup", text(&data.join("backups")), "--data-dir", text(&data)]);
    assert!(String::from_utf8_lossy(&inside.stderr).contains("is in the data directory"));
}

pub fn a_backup_without_a_server_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (data, backups) = (directory.path().join("data"), directory.path().join("backups"));
    let missing = millrace(&["backup", text(&backups), "--data-dir", text(&data)]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no data in"));
    for round in 1..=4 {
        let mut server = ServerProcess::start(&data, &[]);
        server.connect().rows("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)");
        server.connect().rows(&format!("INSERT INTO t VALUES ({round})"));
        // Once in good order, once not.
        if round % 2 == 0 {
            server.kill();
        } else {
            assert_eq!(server.terminate().code(), Some(0));
        }
        succeed(&["backup", text(&backups), "--data-dir", text(&data), "--keep", "2"]);
    }
    let list = succeed(&["backup", text(&backups), "--list"]);
    let numbers: Vec<_> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(numbers, ["3", "4"]);
    let restored = directory.path().join("restored");
    succeed(&["restore", text(&backups), "--data-dir", text(&restored)]);
    let server = ServerProcess::start(&restored, &[]);
    assert_eq!(server.connect().rows("SELECT count(*), max(id) FROM t"), [["4", "4"]]);
}
