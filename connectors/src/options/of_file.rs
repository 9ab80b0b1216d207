//! Options of file sources.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{DECODE_OPTIONS, DecodeOptions, WithList, decode_options};
use crate::error::Result;

/// Options of a file source.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// `path`: a file, a directory (all files in it that don't start with a dot), or a pattern with `*` and `?` in its last part.
    pub path: String,
    /// `mode`: `once` (default) ends with the files; `follow` waits for more lines and more files.
    pub follow: bool,
    /// `format`, `on_error`, `delimiter`, `header`.
    pub decode: DecodeOptions,
    /// `threads`, default 2: files read at the same time.
    pub threads: usize,
    /// `poll_interval`, default 50 ms: how often a followed file is looked at.
    pub poll_interval: Duration,
}

impl FileOptions {
    /// Every option by name.
    pub const NAMES: &'static [&'static str] = &[
        "path",
        "mode",
        DECODE_OPTIONS[0],
        DECODE_OPTIONS[1],
        DECODE_OPTIONS[2],
        "header",
        "threads",
        "poll_interval",
    ];

    /// Reads the list.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let list = WithList::new("file", options, Self::NAMES, false)?;
        Ok(Self {
            path: list.required("path")?.to_owned(),
            follow: list.choice("mode", &[("once", false), ("follow", true)], false)?,
            decode: decode_options(&list, true)?,
            threads: list.number("threads", 1, 64)?.unwrap_or(2),
            poll_interval: list.duration("poll_interval", Duration::from_millis(50))?.max(Duration::from_millis(1)),
        })
    }
}
