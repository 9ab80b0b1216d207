//! `SUBSCRIBE [TO] name | (query) [WITH (snapshot = false)]`.

use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::options::{self, Options};
use super::query::{self, Query};
use crate::Result;
use crate::cursor::Cursor;

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// What is followed.
    pub target: SubscribeTarget,
    /// The WITH list.
    pub options: Options,
}

/// What is followed.
#[derive(Clone, Debug, PartialEq)]
pub enum SubscribeTarget {
    /// A relation.
    Name(ObjectName),
    /// A query.
    Query(Query),
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Subscribe> {
    cursor.expect("SUBSCRIBE")?;
    cursor.word("TO");
    let target = if cursor.token(&Token::LParen) {
        let query = query::parse(cursor)?;
        cursor.expect_token(&Token::RParen)?;
        SubscribeTarget::Query(query)
    } else {
        SubscribeTarget::Name(cursor.name("the name of a relation, or a query in parentheses")?)
    };
    let mut options = Options::default();
    options::parse(cursor, &mut options)?;
    Ok(Subscribe { target, options })
}
