//! The real server as a process of its own, to be killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running `millrace server`; killed when dropped.
pub struct ServerProcess {
    child: Child,
    /// Where it speaks PostgreSQL, `host:port`.
    pub sql_addr: String,
    /// Where it speaks HTTP.
    pub http_addr: String,
}

/// The binary beside this test's own folder, or MILLRACE_BIN.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("MILLRACE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("millrace");
    assert!(path.exists(), "{} is missing: build it with `make build`, or set MILLRACE_BIN", path.display());
    path
}

/// A server on free ports; nothing is waited for.
pub fn command(data_dir: &Path) -> Command {
    command_at("127.0.0.1:0", data_dir)
}

/// As [`command`], with an address of one's own.
pub fn command_at(sql_addr: &str, data_dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["server", "--sql-addr", sql_addr, "--http-addr", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
    command.env("MILLRACE_LOG", "warn");
    command
}

impl ServerProcess {
    /// Starts one and waits for its `ready` line.
    pub fn start(data_dir: &Path, more: &[&str]) -> Self {
        Self::try_start(data_dir, more)
            .unwrap_or_else(|status| panic!("the server ended before it was ready: {status}"))
    }

    /// As [`ServerProcess::start`], but gives back how a server ended that never became ready.
    pub fn try_start(data_dir: &Path, more: &[&str]) -> Result<Self, ExitStatus> {
        let mut child = command(data_dir).args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some((sql_addr, http_addr)) = parse_ready(&line) {
                // Whatever else it prints must not block it.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, sql_addr, http_addr });
            }
        }
        Err(child.wait().unwrap())
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal: `-STOP`, `-CONT`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{signal}");
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < super::wait::PATIENCE, "SIGTERM did not end the server");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One HTTP request; its status and body.
    pub fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.http_addr).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.http_addr);
        let head = format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A connection of its own to the server.
    pub fn connect(&self) -> Client {
        Client::connect(&self.sql_addr).unwrap_or_else(|error| panic!("{}: {error}", self.sql_addr))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may be dead already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `ready sql=HOST:PORT http=HOST:PORT`.
fn parse_ready(line: &str) -> Option<(String, String)> {
    let mut words = line.strip_prefix("ready ")?.split(' ');
    let sql = words.next()?.strip_prefix("sql=")?;
    let http = words.next()?.strip_prefix("http=")?;
    Some((sql.to_owned(), http.to_owned()))
}

/// A blocking connection over the PostgreSQL protocol; answers are text.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Client {
    pub fn connect(address: &str) -> Result<Self, tokio_postgres::Error> {
        let (host, port) = address.rsplit_once(':').unwrap();
        Self::with_config(&format!("host={host} port={port} user=tests dbname=millrace connect_timeout=10"))
    }

    /// By a connection string.
    pub fn with_config(config: &str) -> Result<Self, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(config, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        })?;
        Ok(Self { runtime, client })
    }

    /// Every row of a statement, as text.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// As [`Client::query`]; panics on an error, and NULL reads `NULL`.
    pub fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self.query(sql).unwrap_or_else(|error| panic!("{}\n{sql}", describe(&error)));
        rows.into_iter().map(|row| row.into_iter().map(|v| v.unwrap_or("NULL".to_owned())).collect()).collect()
    }
}

/// An error with what the server said.
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}: {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}
