//! `millrace server`: opens the engine, runs the init scripts, serves until told to stop.

use std::io::Write;

use ::server::Server;
use engine::{Engine, Session, SessionParameters};

use crate::config::ServerArguments;
use crate::control;
use crate::error::Failure;
use crate::script;

/// Runs a server; returns when it has drained.
pub(crate) fn run(arguments: ServerArguments) -> Result<(), Failure> {
    let config = arguments.resolve()?;
    let runtime = runtime()?;
    runtime.block_on(async {
        // Asked for before anything is opened, so that a signal during recovery isn't lost.
        let mut stop = Stop::new()?;
        ::server::install_metrics()?;
        let settings = config.engine.clone();
        let engine = tokio::task::spawn_blocking(move || Engine::open(settings));
        let engine = engine.await.map_err(|error| Failure::Process { what: "opening", source: error.into() })??;
        for path in &config.init {
            let mut session = engine.session(owner())?;
            script::run_file(&mut session, path, &mut script::Silent).await?;
        }
        if let Some(data_dir) = &config.engine.data_dir {
            control::listen(engine.clone(), data_dir);
        }
        let server = Server::start(engine.clone(), config.server).await?;
        announce(&server)?;
        let signal = stop.wait().await;
        tracing::info!(signal, "stopping");
        server.shutdown().await;
        engine.shutdown().await?;
        Ok(())
    })
}

/// The line that scripts wait for.
fn announce(server: &Server) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready sql={} http={}", server.sql_addr(), server.http_addr())
        .and_then(|()| stdout.flush())
        .map_err(|source| Failure::Process { what: "writing to stdout", source })
}

/// The runtime that sessions and network code run on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("millrace-io")
        .build()
        .map_err(|source| Failure::Process { what: "starting threads", source })
}

/// The session of the process itself.
pub(crate) fn owner() -> SessionParameters {
    SessionParameters { user: "millrace".to_owned(), database: "millrace".to_owned(), settings: Default::default() }
}

/// A session that belongs to the process.
pub(crate) fn own_session(engine: &Engine) -> Result<Session, Failure> {
    Ok(engine.session(owner())?)
}

/// SIGTERM and SIGINT.
pub(crate) struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|source| Failure::Process { what: "listening for signals", source });
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The name of the first that comes.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
