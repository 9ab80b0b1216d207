//! A cluster of three brokers of which one after the other dies, stands still, or can't be reached, under load, while the server is killed and stopped
//! too; then every view must be what its query says about the topics, and the sink topics must be what the view says, row by row.
//!
//! MILLRACE_TEST_OUTAGES=1200 goes on for so many seconds. What is done when comes from a seed and is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::create_topic;
use super::cluster::{BROKERS, Cluster};
use super::faults::{Topics, check, produce, set_up};
use crate::support::proxy::Network;
use crate::support::random::Random;
use crate::support::server::{Client, ServerProcess};

/// How long things are broken, unless the environment says otherwise.
const SECONDS: u64 = 25;

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// A broker is killed and started again; its leaders and coordinators move.
    BrokerKilled,
    /// A broker stands still for longer than its session lasts.
    BrokerFrozen,
    /// The server can't reach a broker, and knows it.
    Cut,
    /// Nothing from a broker arrives, and nobody says so. Afterwards the connections go on.
    SilentForAWhile,
    /// As before, but the connections are dead afterwards.
    SilentUntilReset,
    /// Everything to and from a broker takes its time.
    Slow,
    /// No broker can be reached.
    AllCut,
    /// The server is killed and started again.
    ServerKilled,
    /// The server stands still.
    ServerFrozen,
    /// The server is killed while it can't reach a broker.
    KilledWhileCut,
}

const OUTAGES: [Outage; 10] = [
    Outage::BrokerKilled,
    Outage::Cut,
    Outage::ServerKilled,
    Outage::SilentForAWhile,
    Outage::KilledWhileCut,
    Outage::BrokerFrozen,
    Outage::Slow,
    Outage::SilentUntilReset,
    Outage::ServerFrozen,
    Outage::AllCut,
];

pub fn a_cluster_falls_apart_and_nothing_is_lost() {
    let seconds = std::env::var("MILLRACE_TEST_OUTAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let seed = Random::seed(20_260_301);
    let began = Instant::now();
    let say = |what: &str| eprintln!("kafka::outages {:>6.1} s  {what}", began.elapsed().as_secs_f64());
    say(&format!("seed {seed}"));
    let mut random = Random::new(seed);
    let cluster = Cluster::start();
    say("three brokers are up");
    let topics = Topics::new();
    for (topic, partitions) in topics.all() {
        create_topic(&cluster.direct, topic, partitions);
    }
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--memory-budget", "16MiB", "--workers", "2", "--checkpoint-interval", "200ms"];
    let mut server = ServerProcess::start(directory.path(), &arguments);
    set_up(&server.connect(), &topics, &cluster.bootstrap);

    let stop = Arc::new(AtomicBool::new(false));
    let mut acknowledged = 0_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| produce(&stop, &cluster.direct, &topics, seed));
        let _stops = StopsWhenDropped(stop.clone());
        let mut number = 0;
        let faults = Instant::now();
        while faults.elapsed() < Duration::from_secs(seconds) {
            // Each kind comes once before any comes again.
            let outage = if number < OUTAGES.len() { OUTAGES[number] } else { *random.pick(&OUTAGES) };
            number += 1;
            let broker = random.below(BROKERS as u64) as usize;
            let time = Duration::from_millis(800 + random.below(2_200));
            say(&format!("{outage:?}, broker {}, {:.1} s", broker + 1, time.as_secs_f64()));
            go_through(outage, broker, time, &cluster, &mut server, directory.path(), &arguments);
            acknowledged = write(&server, acknowledged);
        }
        say("nothing fails any more");
        cluster.heal();
    });
    cluster.wait_until_whole();
    say("the cluster is whole");
    let client = server.connect();
    check(&client, &cluster.direct, &topics, acknowledged);
    say(&format!("all is there, once; {acknowledged} writes"));
}

/// The producer ends with the test, also with one that fails.
struct StopsWhenDropped(Arc<AtomicBool>);

impl Drop for StopsWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn go_through(
    outage: Outage,
    broker: usize,
    time: Duration,
    cluster: &Cluster,
    server: &mut ServerProcess,
    directory: &std::path::Path,
    arguments: &[&str],
) {
    let network = cluster.network(broker);
    let wait = || std::thread::sleep(time);
    match outage {
        Outage::BrokerKilled => {
            cluster.kill(broker);
            wait();
            cluster.restart(broker);
            // One at a time, or the others can't agree on anything.
            cluster.wait_until_whole();
        }
        Outage::BrokerFrozen => {
            cluster.freeze(broker, true);
            std::thread::sleep(time + Duration::from_secs(5));
            cluster.freeze(broker, false);
            cluster.wait_until_whole();
        }
        Outage::Cut => {
            network.set(Network::Cut);
            wait();
            network.set(Network::Whole);
        }
        Outage::SilentForAWhile | Outage::SilentUntilReset => {
            network.set(Network::Silent);
            wait();
            if matches!(outage, Outage::SilentUntilReset) {
                network.reset();
            }
            network.set(Network::Whole);
        }
        Outage::Slow => {
            network.delay(Duration::from_millis(150));
            wait();
            network.delay(Duration::ZERO);
        }
        Outage::AllCut => {
            (0..BROKERS).for_each(|broker| cluster.network(broker).set(Network::Cut));
            wait();
            cluster.heal();
        }
        Outage::ServerKilled => {
            std::thread::sleep(time / 2);
            server.kill();
            *server = ServerProcess::start(directory, arguments);
        }
        Outage::ServerFrozen => {
            server.signal("-STOP");
            wait();
            server.signal("-CONT");
        }
        Outage::KilledWhileCut => {
            network.set(Network::Cut);
            std::thread::sleep(time / 2);
            server.kill();
            *server = ServerProcess::start(directory, arguments);
            std::thread::sleep(time / 2);
            network.set(Network::Whole);
        }
    }
}

/// Some writes; how many have been acknowledged by now.
fn write(server: &ServerProcess, mut acknowledged: u64) -> u64 {
    let Ok(client) = Client::connect(&server.sql_addr) else { return acknowledged };
    for _ in 0..20 {
        if client.query(&format!("INSERT INTO ledger VALUES ({acknowledged}, 0)")).is_ok() {
            acknowledged += 1;
        }
    }
    acknowledged
}
