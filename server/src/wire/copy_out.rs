//! Endless results for psql: it shows rows only when a result has ended, but the lines of a COPY as they come.
//!
//! So SUBSCRIBE and EMIT CHANGES answer psql's simple queries as `COPY … TO STDOUT (HEADER)` would. Other clients, which know what to do with
//! rows as they come, get rows.

use engine::Rows;
use futures::StreamExt;
use pgwire::messages::copy::{CopyDone, CopyOutResponse};

use super::connection::Connection;
use super::socket::Socket;
use super::watch::{Failure, Watch};
use crate::encode::{self, CopyEncoder, Style};
use crate::error::WireError;

impl Connection {
    /// Whether the client would wait for the end of an endless result before it shows any of it.
    pub(crate) fn waits_for_the_end(&self) -> bool {
        self.session.setting("application_name").as_deref() == Some("psql")
    }
}

/// Sends a header and then each row as a line; returns the tag once there are no more.
pub(crate) async fn copy_out(
    mut rows: Rows,
    socket: &mut Socket,
    watch: &Watch,
    style: &Style,
    text: &str,
) -> Result<String, Failure> {
    let failed = |error| Failure::from(WireError::of_engine(error, text));
    // Columns are at most 1,664, as the planner sees to.
    socket.send(&CopyOutResponse::new(0, rows.columns.len() as i16, vec![0; rows.columns.len()]));
    encode::copy_header(&rows.columns, &mut socket.output);
    let mut count = 0;
    while let Some(batch) = watch.wait(socket, rows.batches.next()).await? {
        let batch = batch.map_err(failed)?;
        let arrays = encode::arrays(&batch, &rows.columns).map_err(failed)?;
        let mut encoder = CopyEncoder::new(&arrays, &rows.columns, style).map_err(failed)?;
        for row in 0..batch.num_rows() {
            encoder.encode(row, &mut socket.output);
            if socket.is_full() {
                socket.flush().await?;
            }
        }
        count += batch.num_rows();
    }
    socket.send(&CopyDone::new());
    Ok(format!("COPY {count}"))
}
