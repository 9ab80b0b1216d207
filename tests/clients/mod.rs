//! Real clients against a running server: psql with golden output, psycopg 3, asyncpg.
//!
//! What psql prints is golden text: MILLRACE_UPDATE_GOLDEN=1 rewrites the `.out` files; read the diff.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Trial;

use crate::support::server::ServerProcess;
use crate::support::trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let psql = program("psql", &["--version"]);
    if !psql {
        eprintln!("*** psql is missing: its tests are IGNORED ***");
    }
    let mut scripts: Vec<PathBuf> =
        std::fs::read_dir(folder().join("psql")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    scripts.sort();
    for script in scripts {
        let name = format!("clients::psql::{}", script.file_stem().unwrap().to_string_lossy());
        trials.push(trial(&name, move || psql_prints_what_it_should(&script)).with_ignored_flag(!psql));
    }
    let python = environment();
    if let Err(why) = python {
        eprintln!("*** Python clients' tests are IGNORED: {why} ***");
    }
    for (name, script) in
        [("psycopg3", "psycopg3.py"), ("asyncpg", "asyncpg_client.py"), ("expressions", "expressions.py")]
    {
        let test = move || python_script_succeeds(script);
        trials.push(trial(&format!("clients::{name}"), test).with_ignored_flag(python.is_err()));
    }
    trials
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn program(name: &str, arguments: &[&str]) -> bool {
    Command::new(name)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn psql_prints_what_it_should(script: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let (host, port) = server.sql_addr.rsplit_once(':').unwrap();
    // One pipe for both streams, so that errors stand where they belong.
    let output = Command::new("sh")
        .args(["-c", r#"exec psql -X -a -h "$0" -p "$1" -U tests -d millrace 2>&1 <"$2""#, host, port])
        .arg(script)
        .env("PAGER", "cat")
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let golden = script.with_extension("out");
    if std::env::var_os("MILLRACE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if found != expected {
        let differing = found.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
        panic!("{} differs from line {}:\n{found}", golden.display(), differing + 1);
    }
}

fn python_script_succeeds(script: &str) {
    let python = environment().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let port = server.sql_addr.rsplit(':').next().unwrap();
    let output = Command::new(python).arg(folder().join(script)).arg(port).output().unwrap();
    assert!(
        output.status.success(),
        "{script}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The Python of a virtual environment with the drivers, which is made once; or why there is none.
fn environment() -> Result<&'static PathBuf, &'static String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON.get_or_init(make_environment).as_ref()
}

fn make_environment() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("millrace").join("clients");
    let requirements = self::folder().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).map_err(|error| error.to_string())?;
    let (python, complete) = (folder.join("bin").join("python"), folder.join("complete"));
    if std::fs::read_to_string(&complete).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    if !program("python3", &["-m", "venv", "--clear", &folder.to_string_lossy()]) {
        return Err("python3 -m venv does not work".to_owned());
    }
    let pip = Command::new(&python).args(["-m", "pip", "install", "-q", "-r"]).arg(&requirements).output();
    match pip {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(format!("pip: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => return Err(error.to_string()),
    }
    std::fs::write(&complete, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}
