//! `BEGIN`, `START TRANSACTION`, `COMMIT`, `END`, `ROLLBACK`, `ABORT`, `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`, `SET TRANSACTION`.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// Transaction control.
#[derive(Clone, Debug, PartialEq)]
pub enum Transaction {
    /// BEGIN, or START TRANSACTION.
    Begin {
        /// Its modes.
        modes: Modes,
        /// START TRANSACTION.
        start: bool,
    },
    /// COMMIT.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(Ident),
    /// RELEASE.
    Release(Ident),
    /// ROLLBACK TO.
    RollbackTo(Ident),
    /// SET TRANSACTION.
    SetModes(Modes),
    /// SET SESSION CHARACTERISTICS.
    SetDefaults(Modes),
}

/// READ ONLY and ISOLATION LEVEL, as far as they are said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// In lower case: `read committed`.
    pub isolation: Option<String>,
}

impl Transaction {
    /// The command tag.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Begin { start: false, .. } => "BEGIN",
            Self::Begin { start: true, .. } => "START TRANSACTION",
            Self::Commit { .. } => "COMMIT",
            Self::Rollback { .. } | Self::RollbackTo(_) => "ROLLBACK",
            Self::Savepoint(_) => "SAVEPOINT",
            Self::Release(_) => "RELEASE",
            Self::SetModes(_) | Self::SetDefaults(_) => "SET",
        }
    }
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Transaction> {
    if cursor.words(&["START", "TRANSACTION"]) {
        return Ok(Transaction::Begin { modes: modes(cursor)?, start: true });
    }
    let words = ["BEGIN", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];
    let word = cursor.one_of(&words).ok_or_else(|| cursor.unexpected("TRANSACTION"))?;
    Ok(match word {
        "BEGIN" => {
            work(cursor);
            Transaction::Begin { modes: modes(cursor)?, start: false }
        }
        "COMMIT" | "END" => {
            let span = cursor.here();
            if cursor.word("PREPARED") {
                return Err(Error::unsupported("COMMIT PREPARED", span));
            }
            work(cursor);
            Transaction::Commit { chain: chain(cursor)? }
        }
        "SAVEPOINT" => Transaction::Savepoint(cursor.ident("a name for the savepoint")?),
        "RELEASE" => {
            cursor.word("SAVEPOINT");
            Transaction::Release(cursor.ident("the name of a savepoint")?)
        }
        _ => {
            let span = cursor.here();
            if cursor.word("PREPARED") {
                return Err(Error::unsupported("ROLLBACK PREPARED", span));
            }
            work(cursor);
            if cursor.word("TO") {
                cursor.word("SAVEPOINT");
                Transaction::RollbackTo(cursor.ident("the name of a savepoint")?)
            } else {
                Transaction::Rollback { chain: chain(cursor)? }
            }
        }
    })
}

fn work(cursor: &mut Cursor<'_>) {
    cursor.one_of(&["WORK", "TRANSACTION"]);
}

fn chain(cursor: &mut Cursor<'_>) -> Result<bool> {
    if !cursor.word("AND") {
        return Ok(false);
    }
    let chain = !cursor.word("NO");
    cursor.expect("CHAIN")?;
    Ok(chain)
}

/// Any number of modes, with commas or without.
pub(crate) fn modes(cursor: &mut Cursor<'_>) -> Result<Modes> {
    let mut modes = Modes::default();
    loop {
        if cursor.words(&["READ", "ONLY"]) {
            modes.read_only = Some(true);
        } else if cursor.words(&["READ", "WRITE"]) {
            modes.read_only = Some(false);
        } else if cursor.words(&["ISOLATION", "LEVEL"]) {
            modes.isolation = Some(isolation(cursor)?.to_owned());
        } else if cursor.words(&["NOT", "DEFERRABLE"]) || cursor.word("DEFERRABLE") {
            // It only concerns serializable transactions that wait, and none waits here.
        } else {
            return Ok(modes);
        }
        cursor.token(&Token::Comma);
    }
}

fn isolation(cursor: &mut Cursor<'_>) -> Result<&'static str> {
    let levels = [
        (&["SERIALIZABLE"][..], "serializable"),
        (&["REPEATABLE", "READ"], "repeatable read"),
        (&["READ", "COMMITTED"], "read committed"),
        (&["READ", "UNCOMMITTED"], "read uncommitted"),
    ];
    for (words, level) in levels {
        if cursor.words(words) {
            return Ok(level);
        }
    }
    Err(cursor.unexpected("an isolation level"))
}
