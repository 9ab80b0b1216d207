//! `millrace demo`: the whole path with nothing installed.
//!
//! An in-process Kafka that others can reach over TCP, a producer of orders and payments, the views and the sink of
//! `examples/demo.sql`, and a server that psql can connect to. At the end it holds what the views and the sink topic say against
//! what the producer sent, and exits with 1 if they differ.

mod display;
mod facts;
mod probe;
mod producer;
mod verdict;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::server::{Server, ServerSettings};
use clap::Args;
use connectors::kafka::mock::MockKafka;
use engine::{Engine, Settings};

use crate::error::Failure;
use crate::script::{self, Silent};
use crate::server::{Stop, own_session, runtime};
use display::Display;
use facts::Facts;
use probe::Probe;
use producer::{Produced, Producer};

/// The script, as a file that can be read and run by hand.
const SCRIPT: &str = include_str!("../../../examples/demo.sql");
const SCRIPT_PATH: &str = "examples/demo.sql";

/// Where the script thinks Kafka is.
const SCRIPT_BROKERS: &str = "localhost:9092";

/// Topics of the script.
const ORDERS: &str = "orders";
const PAYMENTS: &str = "payments";
const TOTALS: &str = "customer-totals";
const PARTITIONS: i32 = 4;

/// How often the display shows something new on a terminal; elsewhere it is a line a second.
const REFRESH: Duration = Duration::from_millis(500);
const LINE: Duration = Duration::from_secs(1);

/// `millrace demo`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Ends by itself after so long, with a summary
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Orders a second
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Where psql can connect; another port is taken if this one is in use
    #[arg(long, env = "MILLRACE_SQL_ADDR", value_name = "ADDRESS", default_value_t = ServerSettings::default().sql_addr)]
    sql_addr: SocketAddr,
    /// Where the data lies meanwhile [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs until the time is over, or until Ctrl-C; either way with a summary.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    let broker = MockKafka::start().map_err(outside)?;
    for topic in [ORDERS, PAYMENTS] {
        broker.create_topic(topic, PARTITIONS).map_err(outside)?;
    }
    broker.create_topic(TOTALS, 1).map_err(outside)?;
    let brokers = broker.brokers().to_owned();

    let scratch = tempfile::Builder::new().prefix("millrace-demo-").tempdir();
    let scratch = scratch.map_err(|source| Failure::Process { what: "making a temporary directory", source })?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| scratch.path().to_owned());
    let _entered = runtime.enter();
    let engine = Engine::open(Settings { data_dir: Some(data_dir), ..Settings::default() })?;
    let outcome = runtime.block_on(show(arguments, &engine, &brokers));
    runtime.block_on(engine.shutdown())?;
    if outcome? { Ok(()) } else { Err(Failure::Reported) }
}

/// The demo itself; whether everything added up.
async fn show(arguments: &Arguments, engine: &Engine, brokers: &str) -> Result<bool, Failure> {
    let mut stop = Stop::new()?;
    let mut session = own_session(engine)?;
    let mut text = SCRIPT.replace(SCRIPT_BROKERS, brokers);
    for topic in [ORDERS, PAYMENTS] {
        // The mock broker answers a fetch that waits when its time is over, and not when a record comes.
        let source = format!("topic = '{topic}'");
        text = text.replace(&source, &format!("{source}, 'kafka.fetch.wait.max.ms' = '10'"));
    }
    script::run_text(&mut session, Path::new(SCRIPT_PATH), &text, &mut Silent).await?;
    let settings = ServerSettings {
        sql_addr: free_or_other(arguments.sql_addr),
        http_addr: SocketAddr::new(arguments.sql_addr.ip(), 0),
        ..ServerSettings::default()
    };
    let server = Server::start(engine.clone(), settings).await?;

    let producer = Producer::start(brokers, arguments.rate)?;
    let probe = Probe::start(own_session(engine)?, producer.probes());
    let mut display = Display::new(server.sql_addr(), server.http_addr(), brokers);
    display.welcome();

    let start = Instant::now();
    let end = arguments.seconds.map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
    let mut tick = tokio::time::interval(if display.is_live() { REFRESH } else { LINE });
    tick.tick().await;
    loop {
        tokio::select! {
            _ = stop.wait() => break,
            () = until(end) => break,
            _ = tick.tick() => {
                let facts = Facts::ask(&mut session).await?;
                display.show(start.elapsed(), &producer.produced(), &facts, &probe.latency());
            }
        }
    }
    let ran = start.elapsed();
    let produced: Produced = producer.stop()?;
    let latency = probe.stop().await?;
    let verdict = verdict::reach(&mut session, &produced, brokers, TOTALS).await?;
    display.finish();
    verdict.print(ran, &produced, &latency);
    server.shutdown().await;
    Ok(verdict.holds())
}

/// Waits for a moment; for ever if there is none.
async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// The address if nobody has it, else the same host with a port that the system picks.
fn free_or_other(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

/// A failure of the mock broker or of what talks to it.
fn outside(error: connectors::Error) -> Failure {
    Failure::Demo(error.to_string())
}
