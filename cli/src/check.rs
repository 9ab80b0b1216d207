//! `millrace check`: would these files run? Parsed, bound and planned in order against a catalog in memory, as a migration would be.
//!
//! Nothing outside is touched: topics need not exist, no row is read. Every problem is printed as `file:line:column: message`,
//! with a hint where there is one; the exit code is 1 if there was any.

use std::path::{Path, PathBuf};

use clap::Args;
use engine::{Engine, Session, Settings, Statement};
use sql::StatementKind;

use crate::error::Failure;
use crate::script::Problem;
use crate::server::{own_session, runtime};

/// `millrace check FILE.sql…`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The files, in the order in which they would run: later ones see what earlier ones make
    #[arg(value_name = "FILE.sql", required = true)]
    files: Vec<PathBuf>,
}

/// Checks all files; an error in one statement doesn't hide those behind it, but a syntax error ends its file.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let engine = Engine::open(Settings { offline: true, workers: 1, ..Settings::default() })?;
    runtime.block_on(async {
        let mut session = own_session(&engine)?;
        let (mut statements, mut problems) = (0, 0);
        for path in &arguments.files {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
            let (checked, wrong) = check(&mut session, path, &text).await;
            statements += checked;
            problems += wrong.len();
            wrong.iter().for_each(|problem| eprintln!("{problem}"));
        }
        drop(session);
        engine.shutdown().await?;
        let files = arguments.files.len();
        if problems > 0 {
            eprintln!("{problems} of {statements} statements in {files} files would fail");
            return Err(Failure::Reported);
        }
        println!("{statements} statements in {files} files are fine");
        Ok(())
    })
}

/// The number of statements, and what is wrong.
async fn check(session: &mut Session, path: &Path, text: &str) -> (usize, Vec<Problem>) {
    let statements = match session.parse(text) {
        Ok(statements) => statements,
        Err(error) => return (1, vec![Problem::new(path, text, 0, error)]),
    };
    let mut problems = Vec::new();
    for statement in &statements {
        if let Err(error) = check_one(session, statement).await {
            problems.push(Problem::new(path, text, statement.span.start.byte_offset(text), error));
        }
    }
    (statements.len(), problems)
}

/// Plans a statement, and runs it if what it does is part of what the next ones see.
async fn check_one(session: &mut Session, statement: &Statement) -> Result<(), engine::Error> {
    let prepared = session.prepare(statement, &[]).await?;
    match &statement.kind {
        StatementKind::Query(_)
        | StatementKind::Insert(_)
        | StatementKind::Update(_)
        | StatementKind::Delete(_)
        | StatementKind::Truncate(_)
        | StatementKind::Copy(_)
        | StatementKind::Show(_)
        | StatementKind::Describe(_)
        | StatementKind::Subscribe(_)
        | StatementKind::Explain(_)
        | StatementKind::Execute(_)
        | StatementKind::Declare(_)
        | StatementKind::Fetch(_)
        | StatementKind::Close(_)
        // Whether a transaction commits makes no difference to what is planned inside it.
        | StatementKind::Transaction(_) => Ok(()),
        _ => session.execute(&prepared, Vec::new()).await.map(drop),
    }
}
