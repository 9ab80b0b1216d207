//! A connection's two halves: frames come in, messages go out through a buffer that is bounded.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::message::{Frame, is_extended};

/// Output is sent when this much has gathered: large enough that a system call costs little per row, small enough to stay in the
/// processor's cache. A row adds to it whole, so a connection's memory is this plus its largest row.
const OUTPUT_BYTES: usize = 64 << 10;
/// A buffer that a large row has grown is given back above this size.
const KEEP_BYTES: usize = 1 << 20;
/// How far the connection reads ahead while a statement runs, only to notice that the client has gone.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// Room made in the input buffer for one read.
const READ_BYTES: usize = 16 << 10;
/// Type and length.
const HEADER_BYTES: usize = 5;

/// A message, or why there is none.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message.
    Frame(Frame),
    /// A message that was longer than allowed; it has been read and thrown away.
    TooLong { kind: u8, bytes: usize },
    /// The client has gone.
    End,
}

/// Both halves and their buffers.
pub(crate) struct Socket {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    /// What waits to be sent; messages may be appended to it directly.
    pub(crate) output: BytesMut,
    max_message_bytes: usize,
}

impl Socket {
    /// Over a connection whose client may send messages up to `max_message_bytes`.
    pub(crate) fn new(stream: TcpStream, max_message_bytes: usize) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer, input: BytesMut::new(), output: BytesMut::new(), max_message_bytes }
    }

    /// The longest message that the client may send.
    pub(crate) fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Appends a message to the output.
    pub(crate) fn send(&mut self, message: &impl Message) {
        let start = self.output.len();
        if let Err(error) = message.encode(&mut self.output) {
            // Only a message beyond the protocol's own limits: a setting's text of 30 kB, say.
            tracing::warn!(%error, "a message was left out because it can't be encoded");
            self.output.truncate(start);
        }
    }

    /// Whether the output should be sent before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_BYTES
    }

    /// Sends all output; waits while the client doesn't read.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.output.has_remaining() {
            let sent = self.writer.write_buf(&mut self.output).await?;
            if sent == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if self.output.capacity() > KEEP_BYTES {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// The next message, if all of it has come already and it isn't longer than allowed.
    pub(crate) fn whole_frame(&mut self) -> Option<Frame> {
        let (kind, length) = header(&self.input)?;
        if length < 4 || length > self.max_message_bytes || self.input.len() < 1 + length {
            return None;
        }
        let mut frame = self.input.split_to(1 + length);
        frame.advance(HEADER_BYTES);
        Some(Frame { kind, body: frame.freeze() })
    }

    /// The next message. Sends the output first if it has to wait. Can be dropped and called again.
    pub(crate) async fn receive(&mut self) -> io::Result<Received> {
        loop {
            if let Some(received) = self.take_frame().await? {
                return Ok(received);
            }
            self.flush().await?;
            if self.read().await? == 0 {
                return Ok(Received::End);
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.input.reserve(READ_BYTES);
        self.reader.read_buf(&mut self.input).await
    }

    async fn take_frame(&mut self) -> io::Result<Option<Received>> {
        if let Some(frame) = self.whole_frame() {
            return Ok(Some(Received::Frame(frame)));
        }
        let Some((kind, length)) = header(&self.input) else { return Ok(None) };
        if length < 4 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message shorter than its own length"));
        }
        if length > self.max_message_bytes {
            self.skip(1 + length).await?;
            return Ok(Some(Received::TooLong { kind, bytes: length }));
        }
        self.input.reserve((1 + length - self.input.len()).min(KEEP_BYTES));
        Ok(None)
    }

    async fn skip(&mut self, mut bytes: usize) -> io::Result<()> {
        loop {
            let now = bytes.min(self.input.len());
            self.input.advance(now);
            bytes -= now;
            if bytes == 0 {
                return Ok(());
            }
            if self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether the messages that have already come say that the pipeline ends (Sync) before another statement is run in it.
    pub(crate) fn pipeline_ends_here(&self) -> bool {
        let mut rest: &[u8] = &self.input;
        while let Some((kind, length)) = header(rest) {
            match kind {
                b'S' => return true,
                b'C' | b'D' | b'H' if is_extended(kind) => {}
                _ => return false,
            }
            match rest.get(1 + length..) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        false
    }

    /// Completes when the client has gone. Reads ahead a little meanwhile.
    pub(crate) async fn gone(&mut self) {
        loop {
            if self.input.len() >= READ_AHEAD_BYTES {
                return std::future::pending().await;
            }
            match self.read().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// A start-up packet: a length that counts itself, then the body. `None` if the client has gone.
    pub(crate) async fn receive_startup(&mut self, max_bytes: usize) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.input.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if !(8..=max_bytes).contains(&length) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid length of startup packet"));
                }
                if self.input.len() >= length {
                    return Ok(Some(self.input.split_to(length).freeze()));
                }
            }
            self.flush().await?;
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether the client sent more than it has been answered: unencrypted bytes behind an SSLRequest, say.
    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }
}

fn header(bytes: &[u8]) -> Option<(u8, usize)> {
    let (kind, rest) = bytes.split_first()?;
    let length = rest.first_chunk::<4>()?;
    Some((*kind, u32::from_be_bytes(*length) as usize))
}
