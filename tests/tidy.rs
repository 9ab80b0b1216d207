//! What the compiler doesn't check: who may import whom, who owns which library, and habits that a grep can see.
//!
//! The table is DESIGN's and ARCHITECTURE.md's crate table; a change here is a change there.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate with the workspace crates it may import. The pipeline runs one way:
/// sql ← planner ← dataflow ← engine ← server ← cli; delta, catalog, storage and connectors stand below it.
const CRATES: &[(&str, &[&str])] = &[
    ("workspace-hack", &[]),
    ("delta", &[]),
    ("catalog", &[]),
    ("sql", &[]),
    ("planner", &["sql", "catalog"]),
    ("storage", &["delta"]),
    ("dataflow", &["planner", "catalog", "delta", "storage"]),
    ("kafka-batch", &[]),
    ("connectors", &["catalog", "delta", "kafka-batch"]),
    ("engine", &["delta", "catalog", "sql", "planner", "storage", "dataflow", "connectors"]),
    ("server", &["engine"]),
    ("bench", &["delta", "catalog", "sql", "planner", "storage", "dataflow", "connectors", "engine"]),
    ("millrace", &["server", "engine", "connectors", "sql", "bench"]),
    (
        "tests",
        &["delta", "catalog", "sql", "planner", "storage", "dataflow", "connectors", "engine", "server", "bench"],
    ),
];

/// Libraries with the crates that may name them. One that isn't listed is free for all.
const OWNERS: &[(&str, &[&str])] = &[
    ("rocksdb", &["storage"]),
    ("rdkafka", &["kafka-batch", "connectors", "tests"]),
    ("pgwire", &["server"]),
    ("postgres-types", &["server", "tests"]),
    ("axum", &["server"]),
    ("metrics-exporter-prometheus", &["server"]),
    ("tokio", &["engine", "server", "millrace", "bench", "tests"]),
    ("datafusion", &["sql", "planner", "dataflow", "engine", "tests", "bench"]),
    ("clap", &["millrace", "bench"]),
    ("tokio-postgres", &["connectors", "tests", "bench"]),
    ("mimalloc", &["millrace", "bench"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Each workspace crate with what it depends on: (name, whether only its own tests do).
fn dependencies() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let needs = package["dependencies"].as_array().unwrap();
            let needs = needs.iter().map(|d| (d["name"].as_str().unwrap().to_owned(), d["kind"] == "dev"));
            (package["name"].as_str().unwrap().to_owned(), needs.collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let table: BTreeMap<_, BTreeSet<_>> =
        CRATES.iter().map(|(name, allowed)| (*name, allowed.iter().copied().collect())).collect();
    let found = dependencies();
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        table.keys().copied().collect::<Vec<_>>(),
        "the workspace's crates and the table's differ"
    );
    let mut wrong = Vec::new();
    for (name, needs) in &found {
        let of_workspace = |other: &String| table.contains_key(other.as_str()) && other != "workspace-hack";
        for (other, _) in needs.iter().filter(|(other, _)| of_workspace(other)) {
            if !table[name.as_str()].contains(other.as_str()) {
                wrong.push(format!("{name} imports {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the crate table: {}", wrong.join(", "));
}

#[test]
fn heavy_libraries_have_one_owner() {
    let owners: BTreeMap<_, _> = OWNERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, needs) in dependencies() {
        for (library, only_tests) in needs {
            if name != "workspace-hack"
                && let Some(allowed) = owners.get(library.as_str())
                && !allowed.contains(&name.as_str())
                && !only_tests
            {
                wrong.push(format!("{name} names {library}, which belongs to {}", allowed.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_architecture_page_has_the_same_table() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, allowed) in CRATES {
        let folder = if *name == "millrace" { "cli" } else { name };
        let row = page.lines().find(|line| line.starts_with(&format!("| `{folder}/`")));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md's crate table has no row for {folder}/"));
        let imports = row.split('|').nth(3).unwrap_or_default().trim();
        let imports: BTreeSet<_> = imports.split(", ").filter(|word| !word.is_empty() && *word != "–").collect();
        if imports.contains("all") {
            continue;
        }
        assert_eq!(
            imports,
            allowed.iter().copied().collect(),
            "imports of {folder}/ in ARCHITECTURE.md and in tidy.rs"
        );
    }
}

/// Every Rust file of the workspace, with its path from the root.
fn rust_files() -> Vec<(String, String)> {
    let output = Command::new("git").args(["ls-files", "-z", "--", "*.rs"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let present = names.split('\0').filter(|name| !name.is_empty() && root().join(name).exists());
    present.map(|name| (name.to_owned(), std::fs::read_to_string(root().join(name)).unwrap())).collect()
}

#[test]
fn nothing_is_left_open_in_the_code() {
    // Written apart, so that this file doesn't find itself.
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ign", "ore"),
        concat!("dbg", "!("),
    ];
    let mut wrong = Vec::new();
    for (name, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            wrong.extend(banned.iter().filter(|b| line.contains(**b)).map(|b| format!("{name}:{}: {b}", number + 1)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn crates_say_what_they_are() {
    for (folder, file) in CRATES.iter().filter(|(name, _)| *name != "tests").map(|(name, _)| match *name {
        "millrace" => ("cli", "main.rs"),
        name => (name, "lib.rs"),
    }) {
        let text = std::fs::read_to_string(root().join(folder).join("src").join(file)).unwrap();
        let lines = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!(lines >= 3, "{folder}/src/{file} opens with {lines} lines on what the crate is");
    }
}

#[test]
fn deterministic_crates_read_no_clock() {
    for folder in ["delta", "planner", "storage", "dataflow"] {
        let policy = std::fs::read_to_string(root().join(folder).join("clippy.toml"));
        let policy = policy.unwrap_or_else(|error| panic!("{folder}/clippy.toml: {error}"));
        for method in ["std::time::SystemTime::now", "std::thread::spawn"] {
            assert!(policy.contains(method), "{folder}/clippy.toml doesn't ban {method}");
        }
    }
}

#[test]
fn every_metric_has_its_line_in_the_docs() {
    let page = std::fs::read_to_string(root().join("docs").join("metrics.md")).unwrap();
    let board = std::fs::read_to_string(root().join("deploy/grafana/dashboards/millrace.json")).unwrap();
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("millrace_")).map(str::to_owned).collect()
    };
    let documented = names(&page);
    let quoted = |text: &str| -> BTreeSet<String> {
        text.split('"').filter(|part| part.starts_with("millrace_") && !part.contains(' ')).map(str::to_owned).collect()
    };
    let recorded: BTreeSet<_> = rust_files()
        .iter()
        .filter(|(name, _)| name.starts_with("engine/src/") || name.starts_with("server/src/"))
        .flat_map(|(_, text)| quoted(text.split("#[cfg(test)]").next().unwrap_or_default()))
        .collect();
    assert_eq!(documented, recorded, "docs/metrics.md and the code");
    // What a histogram is read by.
    let parts = ["_bucket", "_count", "_sum"];
    let bare = |name: String| parts.iter().find_map(|part| name.strip_suffix(part).map(str::to_owned)).unwrap_or(name);
    let unknown: Vec<_> = names(&board).into_iter().map(bare).filter(|name| !recorded.contains(name)).collect();
    assert!(unknown.is_empty(), "the board shows what isn't recorded: {unknown:?}");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let output = Command::new("git").args(["ls-files", "-z", "--", "*.md"]).current_dir(root()).output().unwrap();
    let mut wrong = Vec::new();
    for name in String::from_utf8(output.stdout).unwrap().split('\0').filter(|name| !name.is_empty()) {
        let path = root().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !path.parent().unwrap().join(target).exists() {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
