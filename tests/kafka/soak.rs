//! Some minutes, or hours, of load on a real broker with SIGKILL at random moments: all is there, once, and neither memory nor open files grow.
//!
//! `scripts/soak.sh MINUTES` runs it. Without MILLRACE_TEST_SOAK (minutes) it is left out. MILLRACE_TEST_SOAK_LOG names a file that gets a line of
//! comma-separated figures every other second.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::client::create_topic;
use super::faults::{Topics, check, produce, set_up};
use crate::load::{open_files, resident};
use crate::support::random::Random;
use crate::support::server::{Client, ServerProcess};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// A server is killed once in so many looks.
const LOOKS_PER_LIFE: u64 = 40;

/// How long a server warms up before its figures count.
const WARM: Duration = Duration::from_secs(20);

/// How much more memory the last third of the time may take than the first: what fragments, and noise.
const MORE_BYTES: f64 = 48.0 * 1_048_576.0;

/// How many more open files.
const MORE_FILES: f64 = 64.0;

/// A look at the server.
struct Look {
    at: Duration,
    bytes: u64,
    files: usize,
}

pub fn minutes() -> Option<u64> {
    std::env::var("MILLRACE_TEST_SOAK").ok().and_then(|text| text.parse().ok())
}

pub fn nothing_grows() {
    let length = Duration::from_secs(60 * minutes().unwrap_or(1));
    let seed = Random::seed(20_260_401);
    eprintln!("kafka::soak runs for {length:?} with seed {seed}");
    let mut random = Random::new(seed);
    let broker = Broker::start_apache();
    let topics = Topics::new();
    topics.all().into_iter().for_each(|(topic, partitions)| create_topic(&broker, topic, partitions));
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--memory-budget", "64MiB", "--workers", "2"];
    let mut server = ServerProcess::start(directory.path(), &arguments);
    set_up(&server.connect(), &topics, &broker.bootstrap);

    let stop = AtomicBool::new(false);
    let (mut acknowledged, mut kills) = (0_u64, 0);
    let mut looks = Vec::new();
    let mut log = String::from(
        "seconds,age_seconds,resident_bytes,state_bytes,cache_bytes,open_files,orders,acknowledged,kills\n",
    );
    std::thread::scope(|scope| {
        scope.spawn(|| produce(&stop, &broker, &topics, seed));
        let began = Instant::now();
        let mut born = Instant::now();
        let _stops = StopsWhenDropped(&stop);
        while began.elapsed() < length {
            let next = Instant::now() + LOOK;
            let mut orders = String::new();
            while Instant::now() < next {
                // Clients come and go.
                let Ok(client) = Client::connect(&server.sql_addr) else { continue };
                if client.query(&format!("INSERT INTO ledger VALUES ({acknowledged}, {kills})")).is_ok() {
                    acknowledged += 1;
                }
                orders = client.rows("SELECT coalesce(sum(n), 0) FROM revenue")[0][0].clone();
                client.rows("SELECT customer, total FROM revenue WHERE customer = 'c07'");
                std::thread::sleep(Duration::from_millis(50));
            }
            let (age, at) = (born.elapsed(), began.elapsed());
            let (bytes, files) = (resident(server.process()), open_files(server.process()));
            let (seconds, age_s) = (at.as_secs_f64(), age.as_secs_f64());
            let [state, cache] = ["millrace_state_bytes", "millrace_cache_bytes"].map(|name| metric(&server, name));
            writeln!(log, "{seconds:.1},{age_s:.1},{bytes},{state},{cache},{files},{orders},{acknowledged},{kills}")
                .unwrap();
            if age >= WARM {
                looks.push(Look { at, bytes, files });
            }
            if random.one_in(LOOKS_PER_LIFE) {
                std::thread::sleep(Duration::from_millis(random.below(900)));
                server.kill();
                server = ServerProcess::start(directory.path(), &arguments);
                born = Instant::now();
                kills += 1;
            }
        }
    });
    if let Some(path) = std::env::var_os("MILLRACE_TEST_SOAK_LOG") {
        std::fs::write(path, &log).unwrap();
    }
    check(&server.connect(), &broker, &topics, acknowledged);
    let mean = |which: &dyn Fn(&Look) -> bool, of: &dyn Fn(&Look) -> f64| {
        let values: Vec<f64> = looks.iter().filter(|look| which(look)).map(of).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let first = |look: &Look| look.at < length / 3;
    let last = |look: &Look| look.at > length / 3 * 2;
    let (bytes, files) = (|look: &Look| look.bytes as f64, |look: &Look| look.files as f64);
    let pairs = [mean(&first, &bytes), mean(&last, &bytes), mean(&first, &files), mean(&last, &files)];
    let [Some(bytes), Some(bytes_later), Some(files), Some(files_later)] = pairs else {
        eprintln!("kafka::soak: too short, or too often killed, to say whether anything grows");
        return;
    };
    eprintln!(
        "kafka::soak: {kills} kills, {acknowledged} writes; memory {:.0} MiB in the first third, {:.0} MiB in the last; open files {files:.0}, then {files_later:.0}",
        bytes / 1_048_576.0,
        bytes_later / 1_048_576.0
    );
    assert!(bytes_later < bytes + MORE_BYTES, "memory grows: {bytes} bytes, then {bytes_later}");
    assert!(files_later < files + MORE_FILES, "open files: {files}, then {files_later}");
}

/// The value of a metric without labels, as the server says it.
fn metric(server: &ServerProcess, name: &str) -> String {
    let (_, metrics) = server.http("GET", "/metrics", "");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is a metric {name}")).to_owned()
}

/// The producer ends with the test, also with one that fails.
struct StopsWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
