//! Listening and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Error, Result};
use crate::wire::cancel::CancelKeys;
use crate::{http, wire};

/// Time that clients' statements get to end when the server stops; what runs longer loses its connection. A write that was not
/// answered by then has either happened whole or not at all.
const GRACE: Duration = Duration::from_secs(10);
/// Time before connections are taken again after the system had no room for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where PostgreSQL's clients connect.
    pub sql_addr: SocketAddr,
    /// Where HTTP is served.
    pub http_addr: SocketAddr,
    /// Listen on addresses that other machines can reach, although nothing keeps anybody out.
    pub insecure: bool,
    /// SQL connections at a time; PostgreSQL's clients are told `sorry, too many clients already` (53300) above it.
    pub max_connections: usize,
    /// The longest message that a client may send, in bytes: it bounds what one statement's text or parameters take.
    pub max_message_bytes: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            sql_addr: SocketAddr::from(([127, 0, 0, 1], 6565)),
            http_addr: SocketAddr::from(([127, 0, 0, 1], 6566)),
            insecure: false,
            max_connections: 1000,
            max_message_bytes: 64 << 20,
        }
    }
}

/// What connections share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) settings: ServerSettings,
    pub(crate) cancel_keys: CancelKeys,
    pub(crate) connections: Semaphore,
}

/// A server that listens. Dropping it stops nothing: [`Server::shutdown`] does.
pub struct Server {
    sql_addr: SocketAddr,
    http_addr: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens on both addresses (port 0 picks a free one) and serves until [`Server::shutdown`].
    ///
    /// # Errors
    /// If an address is taken, or isn't a loopback address and `insecure` isn't set.
    pub async fn start(engine: Engine, settings: ServerSettings) -> Result<Self> {
        http::metrics::install()?;
        let sql = bind(settings.sql_addr, settings.insecure).await?;
        let http = bind(settings.http_addr, settings.insecure).await?;
        let sql_addr = local_address(&sql, settings.sql_addr)?;
        let http_addr = local_address(&http, settings.http_addr)?;
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared {
            engine,
            cancel_keys: CancelKeys::default(),
            connections: Semaphore::new(settings.max_connections),
            settings,
        });
        Ok(Self { sql_addr, http_addr, stop, tasks: serve(sql, http, shared, stopping) })
    }

    /// Where PostgreSQL's clients connect.
    pub fn sql_addr(&self) -> SocketAddr {
        self.sql_addr
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Takes no more connections, tells idle clients goodbye, ends subscriptions, and gives running statements some seconds to finish.
    /// The engine is not shut down.
    pub async fn shutdown(self) {
        // Nobody listens any more if all tasks have ended.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a listener has failed");
            }
        }
    }
}

async fn bind(address: SocketAddr, insecure: bool) -> Result<TcpListener> {
    if !insecure && !address.ip().to_canonical().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })
}

fn local_address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr> {
    listener.local_addr().map_err(|source| Error::Bind { address, source })
}

/// The tasks of both listeners. (No async function, so that they are compiled here, and not in every crate that starts a server.)
fn serve(
    sql: TcpListener,
    http: TcpListener,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(accept(sql, Arc::clone(&shared), stopping.clone())),
        tokio::spawn(http::serve(http, shared, stopping)),
    ]
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let for_connections = stopping.clone();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            Some(ended) = connections.join_next() => report_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(wire::connection::serve(stream, Arc::clone(&shared), for_connections.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = tokio::time::timeout(GRACE, async {
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
    });
    if ended.await.is_err() {
        tracing::warn!(connections = connections.len(), "closing connections whose statements did not end in time");
        connections.shutdown().await;
    }
}

/// Completes when the server stops.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same.
    let _ = stopping.wait_for(|ends| *ends).await;
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked; its client was disconnected");
    }
}
