//! How a command reaches the server that uses a data directory: a socket in that directory, which only its owner may open.
//!
//! One line of JSON asks, one line answers.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use engine::Engine;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::error::Failure;

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";

/// The longest request; paths are far shorter.
const MAX_REQUEST_BYTES: u64 = 64 << 10;

/// What can be asked.
#[derive(Serialize, Deserialize)]
enum Request {
    /// Make a backup.
    Backup {
        /// In this directory, an absolute path.
        directory: PathBuf,
        /// How many are kept.
        keep: Option<usize>,
    },
}

/// What is answered.
#[derive(Serialize, Deserialize)]
enum Answer {
    /// The backup's number.
    Backup(u32),
    /// Why not.
    Failed(String),
}

/// Listens until the process ends. Without the socket everything else works, so that it can't be made is only logged.
pub(crate) fn listen(engine: Engine, data_dir: &Path) {
    let path = data_dir.join(SOCKET);
    // Left behind by a process that was killed: the directory is locked, so nobody else listens.
    let removed = match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let bound = removed.and_then(|()| UnixListener::bind(&path));
    let made = bound.and_then(|listener| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    match made {
        Ok(listener) => drop(tokio::spawn(serve(engine, listener))),
        Err(error) => tracing::warn!(%error, socket = %path.display(), "no backups can be made while this server runs"),
    }
}

async fn serve(engine: Engine, listener: UnixListener) {
    loop {
        match listener.accept().await {
            // One at a time: each works as fast as the disk does.
            Ok((stream, _)) => {
                if let Err(error) = converse(&engine, stream).await {
                    tracing::warn!(%error, "a command has gone before it was answered");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket has failed");
                return;
            }
        }
    }
}

async fn converse(engine: &Engine, stream: tokio::net::UnixStream) -> std::io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(reading.take(MAX_REQUEST_BYTES)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Backup { directory, keep }) => {
            let engine = engine.clone();
            let made = tokio::task::spawn_blocking(move || engine.backup(&directory, keep)).await;
            match made {
                Ok(Ok(made)) => Answer::Backup(made.number),
                Ok(Err(error)) => Answer::Failed(error.to_string()),
                Err(error) => Answer::Failed(error.to_string()),
            }
        }
        Err(error) => Answer::Failed(format!("not understood: {error}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    writing.write_all(text.as_bytes()).await
}

/// Lets the server that uses `data_dir` make a backup; `None` if none does.
pub(crate) fn ask_for_backup(data_dir: &Path, directory: &Path, keep: Option<usize>) -> Result<Option<u32>, Failure> {
    let path = data_dir.join(SOCKET);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(Failure::file(path, error)),
    };
    let directory = std::path::absolute(directory).map_err(|error| Failure::file(directory, error))?;
    let request = serde_json::to_string(&Request::Backup { directory, keep }).map_err(std::io::Error::from);
    let mut line = String::new();
    let exchanged = request.and_then(|request| {
        writeln!(stream, "{request}")?;
        BufReader::new(stream).read_line(&mut line)
    });
    exchanged.map_err(|error| Failure::file(&path, error))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Backup(number)) => Ok(Some(number)),
        Ok(Answer::Failed(why)) => Err(Failure::Setting(why)),
        Err(_) => Err(Failure::Setting("the server ended before the backup was whole".to_owned())),
    }
}
