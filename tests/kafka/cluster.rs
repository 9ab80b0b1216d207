//! Three brokers that are controllers too, each with a network of its own between it and the server: what can be killed, stopped, cut off and
//! slowed down without the test's own clients noticing more than a cluster shows everybody.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::broker::{Apache, Broker, free_port, jars};
use crate::support::proxy::{Network, Proxy};
use crate::support::wait;

/// How many brokers there are.
pub const BROKERS: usize = 3;

/// See [the module](self).
pub struct Cluster {
    /// For the test's own clients: straight to the brokers.
    pub direct: Broker,
    /// `bootstrap.servers` for the server: through the networks.
    pub bootstrap: String,
    nodes: Vec<Mutex<Apache>>,
    networks: Vec<Proxy>,
}

impl Cluster {
    /// Starts the brokers and waits until all know each other.
    pub fn start() -> Self {
        let jars = jars().unwrap();
        let ports = || (0..BROKERS).map(|_| free_port()).collect::<Vec<u16>>();
        let (direct, outside, controllers) = (ports(), ports(), ports());
        let networks: Vec<Proxy> = outside.iter().map(|port| Proxy::to(*port)).collect();
        let voters: Vec<String> =
            controllers.iter().enumerate().map(|(i, port)| format!("{}@127.0.0.1:{port}", i + 1)).collect();
        let properties = |i: usize| {
            let (own, outer, controller, seen) = (direct[i], outside[i], controllers[i], networks[i].port());
            format!(
                "node.id={}\n\
                 controller.quorum.voters={}\n\
                 listeners=PLAINTEXT://127.0.0.1:{own},OUTSIDE://127.0.0.1:{outer},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{own},OUTSIDE://127.0.0.1:{seen}\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 offsets.topic.replication.factor=3\n\
                 transaction.state.log.replication.factor=3\n\
                 transaction.state.log.min.isr=2\n\
                 default.replication.factor=3\n\
                 min.insync.replicas=2\n\
                 replica.lag.time.max.ms=4000\n\
                 broker.heartbeat.interval.ms=1000\n\
                 broker.session.timeout.ms=5000\n\
                 unclean.leader.election.enable=false\n",
                i + 1,
                voters.join(",")
            )
        };
        let started: Vec<Apache> = std::thread::scope(|scope| {
            let start = |i: usize| {
                let (jars, properties, port) = (&jars, properties(i), direct[i]);
                scope.spawn(move || {
                    let mut node = Apache::node(jars, port, &properties, "-Xmx256m");
                    node.launch();
                    node
                })
            };
            let nodes: Vec<_> = (0..BROKERS).map(start).collect();
            nodes.into_iter().map(|node| node.join().unwrap()).collect()
        });
        let addresses = |ports: &[u16]| {
            let all: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
            all.join(",")
        };
        let cluster = Self {
            direct: Broker::of_cluster(addresses(&direct)),
            bootstrap: addresses(&networks.iter().map(Proxy::port).collect::<Vec<_>>()),
            nodes: started.into_iter().map(Mutex::new).collect(),
            networks,
        };
        cluster.nodes.iter().for_each(|node| node.lock().unwrap().wait_until_it_answers());
        cluster.wait_until_whole();
        cluster
    }

    /// Until every broker is known to the others.
    pub fn wait_until_whole(&self) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.direct.bootstrap)
            .set("log_level", "0")
            .create()
            .unwrap();
        wait::until("three brokers", || {
            let metadata = consumer.fetch_metadata(None, Duration::from_secs(5)).ok()?;
            // What a sink's exactly-once rests on must outlive a broker.
            let progress = metadata.topics().iter().filter(|topic| topic.name().starts_with("__millrace_progress"));
            for partition in progress.flat_map(|topic| topic.partitions()) {
                assert_eq!(partition.replicas().len(), BROKERS, "copies of a sink's progress");
            }
            let replicated = metadata.topics().iter().flat_map(|topic| topic.partitions());
            let whole = replicated.into_iter().all(|p| p.leader() >= 0 && p.isr().len() == p.replicas().len());
            (metadata.brokers().len() == BROKERS && whole).then_some(())
        });
    }

    /// SIGKILL.
    pub fn kill(&self, broker: usize) {
        self.nodes[broker].lock().unwrap().stop();
    }

    /// Starts a broker again that was killed; doesn't wait until it works.
    pub fn restart(&self, broker: usize) {
        self.nodes[broker].lock().unwrap().launch();
    }

    /// SIGSTOP, and SIGCONT.
    pub fn freeze(&self, broker: usize, frozen: bool) {
        self.nodes[broker].lock().unwrap().signal(if frozen { "-STOP" } else { "-CONT" });
    }

    /// What lies between the server and a broker.
    pub fn network(&self, broker: usize) -> &Proxy {
        &self.networks[broker]
    }

    /// All networks are whole and quick.
    pub fn heal(&self) {
        for network in &self.networks {
            network.set(Network::Whole);
            network.delay(Duration::ZERO);
        }
    }
}
