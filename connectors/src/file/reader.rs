//! One file: large reads, whole lines, batches.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use memchr::{memchr, memrchr};

use crate::error::{Error, Result};
use crate::formats::csv::record_length;
use crate::formats::{Decoder, RecordMeta};
use crate::options::{Csv, FileOptions, Format};
use crate::source::{BatchSender, PartitionId, SourceBatch, SourceSpec, now_ms};

/// What is read at once, and the size of a batch in bytes.
const CHUNK: usize = 1 << 20;
/// Rows of a batch, at most.
const BATCH_ROWS: usize = 8192;
/// The longest line: beyond this a file is hardly made of lines.
const LONGEST_LINE: usize = 64 << 20;

/// A file's length.
pub(crate) fn length(path: &Path) -> Result<i64> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() as i64),
        Err(error) => Err(Error::Io { path: path.to_owned(), error }),
    }
}

/// The position behind the last end of a line.
pub(crate) fn last_line_end(path: &Path) -> Result<i64> {
    const CHUNK: u64 = 64 << 10;
    let find = || {
        let mut file = File::open(path)?;
        let mut end = file.metadata()?.len();
        let mut chunk = Vec::new();
        while end > 0 {
            let start = end.saturating_sub(CHUNK);
            chunk.resize((end - start) as usize, 0);
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut chunk)?;
            if let Some(at) = memrchr(b'\n', &chunk) {
                return Ok((start as usize + at + 1) as i64);
            }
            end = start;
        }
        Ok(0)
    };
    find().map_err(|error| Error::Io { path: path.to_owned(), error })
}

/// Reads a file from a position on.
pub(crate) struct Reader {
    path: PathBuf,
    partition: PartitionId,
    csv: Option<Csv>,
    follow: bool,
    /// It ends before this position.
    until: Option<i64>,
    decoder: Decoder,
    file: Option<File>,
    /// Where the first byte of `buffer` stands in the file.
    base: i64,
    /// Bytes read that no batch covers yet: the start of a line.
    buffer: Vec<u8>,
    /// There was nothing more at the last look.
    idle: bool,
}

impl Reader {
    pub(crate) fn new(
        spec: &SourceSpec,
        options: &FileOptions,
        partition: PartitionId,
        path: PathBuf,
        start: i64,
        until: Option<i64>,
        follow: bool,
    ) -> Result<Self> {
        let csv = match options.decode.format {
            Format::Csv(csv) => Some(csv),
            Format::Json => None,
        };
        let decoder = Decoder::new(&spec.columns, None, &options.decode)?;
        Ok(Self {
            path,
            partition,
            csv,
            follow,
            until,
            decoder,
            file: None,
            base: start,
            buffer: Vec::new(),
            idle: false,
        })
    }

    /// Whether there was nothing more at the last look.
    pub(crate) fn idle(&self) -> bool {
        self.idle
    }

    /// Makes it read again, if the file has grown.
    pub(crate) fn look_again(&mut self) {
        self.idle = !length(&self.path).is_ok_and(|length| length != self.base + self.buffer.len() as i64);
    }

    /// Reads a chunk and sends its lines. `false`: nothing more for now, or ever.
    pub(crate) fn read(
        &mut self,
        output: &BatchSender,
        stop: &AtomicBool,
        skipped: &AtomicU64,
    ) -> Result<bool, String> {
        let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        if self.file.is_none() {
            self.open().map_err(|error| error.to_string())?;
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        let length = file.metadata().map_err(|error| failed(&self.path, error))?.len() as i64;
        let position = self.base + self.buffer.len() as i64;
        if length < position {
            return Err(format!(
                "{} has become shorter: it ends at {length}, and was read to {position}",
                self.path.display()
            ));
        }
        let limit = self.until.map_or(length, |until| until.min(length));
        let wanted = CHUNK.min(usize::try_from(limit - position).unwrap_or(0));
        let held = self.buffer.len();
        self.buffer.resize(held + wanted, 0);
        file.read_exact(&mut self.buffer[held..]).map_err(|error| failed(&self.path, error))?;
        let at_end = position + wanted as i64 >= limit;
        let complete = self.complete_lines(at_end && !self.follow);
        if complete == 0 && self.buffer.len() > LONGEST_LINE {
            return Err(format!(
                "{}: the line at byte {} has over {LONGEST_LINE} bytes",
                self.path.display(),
                self.base
            ));
        }
        if !self.send_lines(complete, output, stop, skipped)? {
            return Ok(false);
        }
        self.buffer.drain(..complete);
        self.base += complete as i64;
        self.idle = at_end;
        Ok(!at_end)
    }

    /// Opens the file at its position; for CSV with a header its first line is read first, wherever the position is.
    fn open(&mut self) -> Result<()> {
        let path = self.path.clone();
        let failed = |error| Error::Io { path: path.clone(), error };
        let mut file = File::open(&self.path).map_err(failed)?;
        if self.csv.is_some_and(|csv| csv.header) {
            let mut start = Vec::new();
            let header = loop {
                let read = file.by_ref().take(64 << 10).read_to_end(&mut start).map_err(failed)?;
                match record_length(&start) {
                    Some(length) => break length,
                    None if read == 0 && self.follow => return Ok(()),
                    None if read == 0 => break start.len(),
                    None => {}
                }
            };
            if !start.is_empty() {
                let line = start[..header].trim_ascii_end();
                self.decoder.header(line)?;
            }
            self.base = self.base.max(header as i64);
        }
        file.seek(SeekFrom::Start(self.base as u64)).map_err(failed)?;
        self.file = Some(file);
        Ok(())
    }

    /// How many bytes of the buffer are whole lines; at the end of a file that nobody writes to the last line needs no line break.
    fn complete_lines(&self, at_end: bool) -> usize {
        if at_end {
            return self.buffer.len();
        }
        if self.csv.is_none() {
            return memrchr(b'\n', &self.buffer).map_or(0, |last| last + 1);
        }
        let mut complete = 0;
        while let Some(length) = record_length(&self.buffer[complete..]) {
            complete += length;
        }
        complete
    }

    /// Decodes the first `complete` bytes and sends them in batches. `false`: nobody listens any more.
    fn send_lines(
        &mut self,
        complete: usize,
        output: &BatchSender,
        stop: &AtomicBool,
        skipped: &AtomicU64,
    ) -> Result<bool, String> {
        let mut first = 0; // of the batch
        let mut at = 0;
        while at < complete {
            let rest = &self.buffer[at..complete];
            let length = match self.csv {
                None => memchr(b'\n', rest).map_or(rest.len(), |end| end + 1),
                Some(_) => record_length(rest).unwrap_or(rest.len()),
            };
            let line = &rest[..length];
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let offset = self.base + at as i64;
            at += length;
            if !line.is_empty() {
                let meta = RecordMeta { partition: self.partition, offset, ..RecordMeta::default() };
                self.decoder.push(Some(line), &meta)?;
            }
            if self.decoder.rows() >= BATCH_ROWS || at == complete {
                let decoded = self.decoder.finish().map_err(|error| error.to_string())?;
                skipped.fetch_add(decoded.skipped, Ordering::Relaxed);
                let sent = output.send_unless(
                    stop,
                    SourceBatch {
                        partition: self.partition,
                        first_offset: self.base + first as i64,
                        next_offset: self.base + at as i64,
                        delta: decoded.delta,
                        dead_letters: decoded.dead_letters,
                        bytes: decoded.bytes,
                        created_ms: Some(now_ms()),
                        arrived: Instant::now(),
                    },
                );
                if !sent {
                    return Ok(false);
                }
                first = at;
            }
        }
        Ok(true)
    }
}
