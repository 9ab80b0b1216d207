//! The Kafka that the tests talk to: a real broker that this process starts, one that is there already, or librdkafka's mock.
//!
//! In this order: MILLRACE_TEST_BROKERS names brokers that run; else Apache Kafka is started (KRaft, one node, storage in a temporary
//! directory), with jars that Maven fetches once; else, without Java 17 or Maven, librdkafka's mock broker, which has no
//! restarts, no partitions added while running and no log start or timestamps worth the name: tests of those are skipped, loudly.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use connectors::kafka::mock::MockKafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

/// What a broker is.
enum Kind {
    External,
    /// Those of a [`super::cluster`], which starts and stops them.
    Cluster,
    Apache(Box<Mutex<Apache>>),
    Mock(MockKafka),
}

/// A Kafka cluster, most often of one broker.
pub struct Broker {
    /// `bootstrap.servers`.
    pub bootstrap: String,
    kind: Kind,
}

static SHARED: OnceLock<Broker> = OnceLock::new();

/// The broker that all tests share but those that stop it.
pub fn shared() -> &'static Broker {
    SHARED.get_or_init(|| {
        if let Ok(bootstrap) = std::env::var("MILLRACE_TEST_BROKERS") {
            return Broker { bootstrap, kind: Kind::External };
        }
        match why_not_real() {
            None => Broker::start_apache(),
            Some(_) => {
                let mock = MockKafka::start().unwrap();
                Broker { bootstrap: mock.brokers().to_owned(), kind: Kind::Mock(mock) }
            }
        }
    })
}

/// Ends the shared broker; statics are never dropped.
pub fn stop_shared() {
    if let Some(Broker { kind: Kind::Apache(apache), .. }) = SHARED.get() {
        apache.lock().unwrap().stop();
    }
}

/// Why only the mock can be had; `None`: a real broker can.
pub fn why_not_real() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    REASON
        .get_or_init(|| {
            if std::env::var_os("MILLRACE_TEST_BROKERS").is_some() {
                return None;
            }
            match java_major() {
                None => return Some("there is no Java".to_owned()),
                Some(major) if major < 17 => return Some(format!("Java is {major}, Kafka needs 17")),
                Some(_) => {}
            }
            jars().err()
        })
        .clone()
}

/// Why no broker can be stopped and started by a test.
pub fn why_not_restarted() -> Option<String> {
    match std::env::var_os("MILLRACE_TEST_BROKERS") {
        Some(_) => Some("the brokers of MILLRACE_TEST_BROKERS belong to somebody else".to_owned()),
        None => why_not_real(),
    }
}

fn java_major() -> Option<u32> {
    let output = Command::new("java").arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.split('"').nth(1)?.split('.').next()?.parse().ok()
}

/// The folder with Kafka's jars, which Maven fills the first time.
pub(super) fn jars() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cache")));
    let folder = cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("millrace").join("kafka-jars");
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka").join("pom.xml");
    let wanted = std::fs::read_to_string(&pom).map_err(|error| error.to_string())?;
    // Written last, so that an interrupted download is seen, and another version is fetched anew.
    let complete = folder.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|have| have == wanted) {
        return Ok(folder);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    }
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .output()
        .map_err(|error| format!("mvn can't be run: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.contains("ERROR")).unwrap_or("no reason given").to_owned();
        return Err(format!("Maven could not fetch Kafka's jars: {line}"));
    }
    std::fs::write(&complete, wanted).map_err(|error| error.to_string())?;
    Ok(folder)
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

impl Broker {
    /// A broker of one's own, to be stopped and started.
    pub fn start_apache() -> Self {
        let mut apache = Apache::new(&jars().unwrap());
        apache.start();
        Self { bootstrap: apache.bootstrap(), kind: Kind::Apache(Box::new(Mutex::new(apache))) }
    }

    /// Brokers of a cluster that somebody else starts and stops.
    pub fn of_cluster(bootstrap: String) -> Self {
        Self { bootstrap, kind: Kind::Cluster }
    }

    /// How many copies there are of each topic.
    pub fn replication(&self) -> i32 {
        if matches!(self.kind, Kind::Cluster) { 3 } else { 1 }
    }

    /// Whether it is Apache Kafka rather than the mock.
    pub fn is_real(&self) -> bool {
        !matches!(self.kind, Kind::Mock(_))
    }

    /// Pulls the plug.
    pub fn stop(&self) {
        self.apache().lock().unwrap().stop();
    }

    /// Starts it again, on the same port with the same storage.
    pub fn start(&self) {
        self.apache().lock().unwrap().start();
    }

    fn apache(&self) -> &Mutex<Apache> {
        match &self.kind {
            Kind::Apache(apache) => apache,
            Kind::External | Kind::Cluster | Kind::Mock(_) => {
                panic!("only a broker that the test started can be stopped")
            }
        }
    }

    /// Makes a topic on the mock, where there is no admin protocol.
    pub fn create_mock_topic(&self, name: &str, partitions: i32) -> bool {
        match &self.kind {
            Kind::Mock(mock) => {
                mock.create_topic(name, partitions).unwrap();
                true
            }
            Kind::External | Kind::Cluster | Kind::Apache(_) => false,
        }
    }
}

/// One node that is broker and controller.
pub(super) struct Apache {
    directory: TempDir,
    classpath: String,
    port: u16,
    memory: &'static str,
    process: Option<Child>,
}

/// Any base64 UUID will do; the storage is new each time.
const CLUSTER_ID: &str = "bWlsbHJhY2UtdGVzdHMtMQ";

impl Apache {
    fn new(jars: &Path) -> Self {
        let (port, controller) = (free_port(), free_port());
        let properties = format!(
            "node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             broker.heartbeat.interval.ms=500\n\
             broker.session.timeout.ms=2000\n"
        );
        Self::node(jars, port, &properties, "-Xmx512m")
    }

    /// A node with these properties beside those that all have.
    pub(super) fn node(jars: &Path, port: u16, properties: &str, memory: &'static str) -> Self {
        let directory = tempfile::Builder::new().prefix("millrace-kafka-").tempdir().unwrap();
        let path = directory.path().display();
        let properties = format!(
            "{properties}\
             process.roles=broker,controller\n\
             inter.broker.listener.name=PLAINTEXT\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={path}/storage\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             transaction.state.log.num.partitions=4\n\
             transaction.max.timeout.ms=900000\n\
             group.initial.rebalance.delay.ms=0\n"
        );
        std::fs::write(directory.path().join("server.properties"), properties).unwrap();
        let log = "log4j.rootLogger=WARN, stdout\n\
                   log4j.appender.stdout=org.apache.log4j.ConsoleAppender\n\
                   log4j.appender.stdout.layout=org.apache.log4j.PatternLayout\n\
                   log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n\n";
        std::fs::write(directory.path().join("log4j.properties"), log).unwrap();
        let classpath = format!("{}/*", jars.display());
        let apache = Self { directory, classpath, port, memory, process: None };
        let output = Command::new("java")
            .args(apache.java_arguments("kafka.tools.StorageTool"))
            .args(["format", "-t", CLUSTER_ID, "-c"])
            .arg(apache.path("server.properties"))
            .output()
            .unwrap();
        assert!(output.status.success(), "formatting storage: {}", String::from_utf8_lossy(&output.stderr));
        apache
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn java_arguments(&self, class: &str) -> Vec<String> {
        let log = format!("-Dlog4j.configuration=file:{}", self.path("log4j.properties").display());
        let fixed = [self.memory, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", &log, "-cp", &self.classpath, class];
        fixed.map(str::to_owned).into()
    }

    /// The broker's JVM, which ends with the pipe to its standard input: should this process be killed, no broker stays behind.
    fn broker(&self) -> Command {
        let watch = r#"exec 3<&0; java "$@" & pid=$!; (cat <&3 >/dev/null; kill -KILL $pid 2>/dev/null) & wait $pid; code=$?; kill $! 2>/dev/null; exit $code"#;
        let mut command = Command::new("bash");
        command
            .args(["-c", watch, "bash"])
            .args(self.java_arguments("kafka.Kafka"))
            .arg(self.path("server.properties"));
        command.stdin(Stdio::piped());
        command
    }

    fn start(&mut self) {
        self.launch();
        self.wait_until_it_answers();
    }

    /// Starts the process, and waits for nothing.
    pub(super) fn launch(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = self.broker().stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.process = Some(child);
    }

    pub(super) fn wait_until_it_answers(&mut self) {
        let start = Instant::now();
        while !answers(&self.bootstrap()) {
            let ended = self.process.as_mut().and_then(|child| child.try_wait().unwrap());
            if ended.is_some() || start.elapsed() > Duration::from_secs(120) {
                let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(30).collect();
                panic!("Kafka did not start ({ended:?}):\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }

    /// Sends the JVM a signal.
    pub(super) fn signal(&self, signal: &str) {
        let Some(child) = &self.process else { return };
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let is_java =
            |pid: &&str| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "java");
        if let Some(java) = children.split_whitespace().find(is_java) {
            let sent = Command::new("kill").args([signal, java]).status().unwrap();
            assert!(sent.success(), "{signal} to {java}");
        }
    }

    /// Closing the pipe kills the JVM: a crash, not a shutdown.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Nothing was ever written: the JVM's watcher waits for the end of the stream.
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where ports begin that are given away here.
const FIRST_PORT: u16 = 15_000;

/// A port that nobody listens on now, and that nobody gets by chance until the broker listens there, or while it is down: connections and
/// listeners without a wish get theirs from the kernel's range (above 32,768 unless it is told otherwise), and tests make thousands of them.
pub(super) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768_u16);
    let ports = u32::from(end.saturating_sub(FIRST_PORT).max(1_000));
    // Another run of the tests begins elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % ports;
        let port = FIRST_PORT + u16::try_from(place).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Whether brokers answer a request for metadata with at least one broker in it.
fn answers(bootstrap: &str) -> bool {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("log_level", "0").create().unwrap();
    consumer.fetch_metadata(None, Duration::from_secs(2)).is_ok_and(|metadata| !metadata.brokers().is_empty())
}
