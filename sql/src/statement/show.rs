//! `SHOW SOURCES | TABLES | …`, `SHOW COLUMNS FROM name`, `SHOW CREATE name`, and `SHOW setting`.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::Result;
use crate::cursor::Cursor;

/// SHOW.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// Objects of a kind.
    List {
        /// Which.
        list: ShowList,
        /// FROM or IN a schema; `None`: those of the search path.
        schema: Option<Ident>,
        /// LIKE pattern.
        like: Option<String>,
    },
    /// The columns of a relation.
    Columns(ObjectName),
    /// The statement that made an object.
    Create(ObjectName),
    /// A setting, in lower case.
    Setting(String),
    /// All settings.
    All,
}

/// What SHOW lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowList {
    /// Sources.
    Sources,
    /// Streams.
    Streams,
    /// Tables.
    Tables,
    /// Views, plain ones and materialized ones.
    Views,
    /// Materialized views.
    MaterializedViews,
    /// Sinks.
    Sinks,
    /// Indexes.
    Indexes,
    /// Schemas.
    Schemas,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Show> {
    cursor.expect("SHOW")?;
    if cursor.word("CREATE") {
        if !cursor.words(&["MATERIALIZED", "VIEW"]) {
            cursor.one_of(&["SOURCE", "STREAM", "TABLE", "VIEW", "SINK", "INDEX"]);
        }
        return Ok(Show::Create(cursor.name("a name")?));
    }
    if cursor.word("COLUMNS") {
        if cursor.one_of(&["FROM", "IN"]).is_none() {
            return Err(cursor.unexpected("FROM"));
        }
        return Ok(Show::Columns(cursor.name("the name of a relation")?));
    }
    if let Some(list) = list(cursor) {
        let schema = match cursor.one_of(&["FROM", "IN"]) {
            Some(_) => Some(cursor.ident("the name of a schema")?),
            None => None,
        };
        let like = if cursor.word("LIKE") { Some(cursor.string("a pattern in quotes")?) } else { None };
        return Ok(Show::List { list, schema, like });
    }
    setting(cursor)
}

fn list(cursor: &mut Cursor<'_>) -> Option<ShowList> {
    if cursor.words(&["MATERIALIZED", "VIEWS"]) {
        return Some(ShowList::MaterializedViews);
    }
    Some(match cursor.one_of(&["SOURCES", "STREAMS", "TABLES", "VIEWS", "SINKS", "INDEXES", "SCHEMAS"])? {
        "SOURCES" => ShowList::Sources,
        "STREAMS" => ShowList::Streams,
        "TABLES" => ShowList::Tables,
        "VIEWS" => ShowList::Views,
        "SINKS" => ShowList::Sinks,
        "INDEXES" => ShowList::Indexes,
        _ => ShowList::Schemas,
    })
}

fn setting(cursor: &mut Cursor<'_>) -> Result<Show> {
    if cursor.word("ALL") {
        return Ok(Show::All);
    }
    let spelled = [
        (&["TIME", "ZONE"][..], "timezone"),
        (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
        (&["SESSION", "AUTHORIZATION"], "session_authorization"),
    ];
    for (words, name) in spelled {
        if cursor.words(words) {
            return Ok(Show::Setting(name.to_owned()));
        }
    }
    let mut name = cursor.ident("SOURCES, TABLES, VIEWS, …, or a setting")?.value.to_lowercase();
    while cursor.token(&Token::Period) {
        name = format!("{name}.{}", cursor.ident("a setting")?.value.to_lowercase());
    }
    Ok(Show::Setting(name))
}
