//! What operators are given: alert rules that fire when they should.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::trial;

pub fn trials() -> Vec<Trial> {
    let missing = promtool().err();
    if let Some(why) = &missing {
        eprintln!("*** the alert rules' own tests are IGNORED: {why} ***");
    }
    vec![
        trial("operations::alerts_fire", alerts_fire).with_ignored_flag(missing.is_some()),
        trial("operations::all_alerts_are_tested", all_alerts_are_tested),
    ]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// MILLRACE_TEST_PROMTOOL, or the one that is installed (Debian's package prometheus has it).
fn promtool() -> Result<PathBuf, String> {
    let path = std::env::var_os("MILLRACE_TEST_PROMTOOL").map_or_else(|| "promtool".into(), PathBuf::from);
    match Command::new(&path).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(path),
        Ok(output) => Err(format!("{} --version: {}", path.display(), output.status)),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// `promtool test rules`: each alert fires on what it is for, and not on what looks like it.
fn alerts_fire() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(promtool().unwrap());
        let output = command.current_dir(root().join("deploy/prometheus")).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "promtool {}:\n{}", arguments.join(" "), String::from_utf8_lossy(&text));
    };
    run(&["check", "config", "prometheus.yml"]);
    run(&["test", "rules", "alerts_test.yml"]);
}

/// Each alert has a test that makes it fire.
fn all_alerts_are_tested() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (rules, tests) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 10, "only {} alerts", names.len());
    for name in names {
        let fires = tests.split("alertname: ").skip(1).any(|test| test.starts_with(&format!("{name}\n")));
        assert!(fires, "nothing shows that {name} fires");
    }
}
