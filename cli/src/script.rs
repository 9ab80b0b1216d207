//! SQL files: run statement by statement, with errors as `file:line:column`.

use std::fmt;
use std::path::{Path, PathBuf};

use ::server::text::Text;
use engine::{Response, ResultColumn, Session};
use futures::StreamExt;

use crate::error::Failure;

/// A place in a file and what is wrong there.
#[derive(Debug)]
pub(crate) struct Problem {
    path: PathBuf,
    line: usize,
    column: usize,
    error: engine::Error,
}

impl Problem {
    /// An error whose position, if it has one, is a byte offset in `text`; otherwise it is at `offset`.
    pub(crate) fn new(path: &Path, text: &str, offset: usize, error: engine::Error) -> Self {
        let at = error.position.unwrap_or(offset).min(text.len());
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        Self { path: path.to_owned(), line, column, error }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, error } = self;
        write!(f, "{}:{line}:{column}: {}", path.display(), error.message)?;
        if let Some(detail) = &error.detail {
            write!(f, "\n  detail: {detail}")?;
        }
        if let Some(hint) = &error.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Takes what a script prints.
pub(crate) trait Output {
    /// Rows of an answer; called once for each batch of a live query, otherwise once with all of them.
    fn rows(&mut self, columns: &[ResultColumn], rows: &[Vec<Option<String>>]);
    /// The command tag at a statement's end.
    fn tag(&mut self, tag: &str);
    /// A notice.
    fn notice(&mut self, severity: &str, message: &str);
}

/// Says nothing, for init scripts; notices go to the log.
pub(crate) struct Silent;

impl Output for Silent {
    fn rows(&mut self, _columns: &[ResultColumn], _rows: &[Vec<Option<String>>]) {}

    fn tag(&mut self, _tag: &str) {}

    fn notice(&mut self, severity: &str, message: &str) {
        tracing::info!(severity, "{message}");
    }
}

/// Runs every statement of a file; ends at the first error, which it prints.
pub(crate) async fn run_file(session: &mut Session, path: &Path, output: &mut dyn Output) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
    run_text(session, path, &text, output).await
}

/// As [`run_file`], with the text at hand.
pub(crate) async fn run_text(
    session: &mut Session,
    path: &Path,
    text: &str,
    output: &mut dyn Output,
) -> Result<(), Failure> {
    let report = |offset, error| {
        eprintln!("{}", Problem::new(path, text, offset, error));
        Failure::Reported
    };
    for statement in session.parse(text).map_err(|error| report(0, error))? {
        let outcome = run_statement(session, &statement, output).await;
        for notice in session.take_notices() {
            output.notice(notice.severity, &notice.message);
        }
        outcome.map_err(|error| {
            session.fail_transaction();
            report(statement.span.start.byte_offset(text), error)
        })?;
    }
    Ok(())
}

async fn run_statement(
    session: &mut Session,
    statement: &engine::Statement,
    output: &mut dyn Output,
) -> engine::Result<()> {
    match session.run(statement).await? {
        Response::Empty => {}
        Response::Done { tag } => output.tag(&tag),
        Response::Rows(mut answer) => {
            let text = Text::of(|name| session.setting(name));
            let mut rows = Vec::new();
            while let Some(batch) = answer.batches.next().await {
                rows.extend(text.rows(&answer.columns, &batch?)?);
                if answer.live {
                    output.rows(&answer.columns, &rows);
                    rows.clear();
                }
            }
            if !answer.live {
                output.rows(&answer.columns, &rows);
            }
        }
    }
    Ok(())
}

/// The rows of one query as text, NULL as the empty string.
pub(crate) async fn rows(session: &mut Session, query: &str) -> Result<Vec<Vec<String>>, Failure> {
    let mut all = Collect::default();
    for statement in session.parse(query)? {
        run_statement(session, &statement, &mut all).await?;
    }
    Ok(all.0)
}

/// Keeps rows.
#[derive(Default)]
struct Collect(Vec<Vec<String>>);

impl Output for Collect {
    fn rows(&mut self, _columns: &[ResultColumn], rows: &[Vec<Option<String>>]) {
        self.0.extend(rows.iter().map(|row| row.iter().map(|value| value.clone().unwrap_or_default()).collect()));
    }

    fn tag(&mut self, _tag: &str) {}

    fn notice(&mut self, _severity: &str, _message: &str) {}
}
