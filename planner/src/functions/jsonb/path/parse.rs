//! Reads a path: a lexer, and a function per level of precedence.

use datafusion::common::Result;

use super::{Arithmetic, Comparison, Method, Node, Path, Step};
use crate::error::ErrorKind;
use crate::functions::definition::invalid_text;
use crate::functions::jsonb::value::{Json, plain_number};

/// How deep a path may be nested.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A word: a key, a keyword, a method.
    Word(String),
    /// A text in quotes.
    Quoted(String),
    /// A number as it is written.
    Number(String),
    /// `$name` or `$"name"`.
    Variable(String),
    /// Anything else.
    Sign(&'static str),
}

const SIGNS: &[&str] = &[
    "**", "==", "!=", "<>", "<=", ">=", "&&", "||", "$", "@", ".", "[", "]", "(", ")", "{", "}", ",", "?", "*", "/",
    "%", "+", "-", "<", ">", "!", "=",
];

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(crate::Error::new(ErrorKind::Syntax, message).into())
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("/*") {
            match comment.split_once("*/") {
                Some((_, after)) => rest = after.trim_start(),
                None => return wrong("unexpected end of comment at end of jsonpath input"),
            }
            continue;
        }
        let (token, after) = match first {
            '"' => {
                let (text, after) = quoted(rest)?;
                (Token::Quoted(text), after)
            }
            '$' if rest[1..].starts_with('"') => {
                let (name, after) = quoted(&rest[1..])?;
                (Token::Variable(name), after)
            }
            '$' if rest[1..].starts_with(is_word) => {
                let end = rest[1..].find(|next| !is_word(next)).map_or(rest.len(), |end| end + 1);
                (Token::Variable(rest[1..end].to_owned()), &rest[end..])
            }
            '0'..='9' => number(rest)?,
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => number(rest)?,
            _ if is_word(first) => {
                let end = rest.find(|next| !is_word(next)).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), &rest[end..])
            }
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Token::Sign(sign), &rest[sign.len()..]),
                None => return wrong(format!("syntax error at or near \"{first}\" of jsonpath input")),
            },
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// A text in quotes and what is behind it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => {
                return match serde_json::from_str(&text[..=at]) {
                    Ok(value) => Ok((value, &text[at + 1..])),
                    Err(_) => wrong(format!("invalid escape sequence at or near {} of jsonpath input", &text[..=at])),
                };
            }
            _ => {}
        }
    }
    wrong("unterminated quoted string at end of jsonpath input")
}

fn number(text: &str) -> Result<(Token, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.')
        && !(end > 0 && bytes.get(end + 1).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'*'))
    {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(sign) > sign {
            end = digits(sign);
        }
    }
    if text[end..].starts_with(is_word) {
        return wrong(format!(
            "trailing junk after numeric literal at or near \"{}\" of jsonpath input",
            &text[..=end]
        ));
    }
    Ok((Token::Number(text[..end].to_owned()), &text[end..]))
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is no path (42601, or 22P02 for the empty text); `datetime` (0A000).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return invalid_text("jsonpath", text);
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let lax = match parser.tokens.first() {
            Some(Token::Word(mode)) if mode == "strict" || mode == "lax" => {
                parser.at = 1;
                mode == "lax"
            }
            _ => true,
        };
        let root = parser.any()?;
        match parser.at == parser.tokens.len() {
            true => Ok(Self { lax, root }),
            false => parser.unexpected(),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) { Ok(()) } else { self.unexpected() }
    }

    fn unexpected<T>(&self) -> Result<T> {
        let near = match self.peek() {
            None => return wrong("syntax error at end of jsonpath input"),
            Some(Token::Word(text) | Token::Number(text)) => text.clone(),
            Some(Token::Quoted(text)) => text.clone(),
            Some(Token::Variable(name)) => format!("${name}"),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
        };
        wrong(format!("syntax error at or near \"{near}\" of jsonpath input"))
    }

    /// An expression or a condition.
    fn any(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(crate::Error::new(ErrorKind::LimitExceeded, "a jsonpath is nested too deeply").into());
        }
        let mut left = self.and()?;
        while self.take("||") {
            left = Node::Or(Box::new(self.condition(left)?), Box::new(self.and_condition()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Node> {
        let mut left = self.not()?;
        while self.take("&&") {
            let right = self.not()?;
            left = Node::And(Box::new(self.condition(left)?), Box::new(self.condition(right)?));
        }
        Ok(left)
    }

    fn and_condition(&mut self) -> Result<Node> {
        let node = self.and()?;
        self.condition(node)
    }

    /// What must be a condition.
    fn condition(&self, node: Node) -> Result<Node> {
        if node.is_predicate() { Ok(node) } else { self.unexpected() }
    }

    fn not(&mut self) -> Result<Node> {
        if self.take("!") {
            // Only what stands in parentheses, and exists, can be negated.
            let operand = self.primary()?;
            let operand = self.condition(operand)?;
            return Ok(Node::Not(Box::new(operand)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Node> {
        let left = self.sum()?;
        const COMPARISONS: &[(&str, Comparison)] = &[
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessEqual),
            (">=", Comparison::GreaterEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("=", Comparison::Equal),
        ];
        for (sign, comparison) in COMPARISONS {
            if self.take(sign) {
                return Ok(Node::Compare(*comparison, Box::new(left), Box::new(self.sum()?)));
            }
        }
        if self.take_word("like_regex") {
            let Some(Token::Quoted(pattern)) = self.peek().cloned() else { return self.unexpected() };
            self.at += 1;
            let mut flags = String::new();
            if self.take_word("flag") {
                let Some(Token::Quoted(written)) = self.peek().cloned() else { return self.unexpected() };
                self.at += 1;
                flags = written;
            }
            super::eval::like_regex(&pattern, &flags)?;
            return Ok(Node::LikeRegex(Box::new(left), pattern, flags));
        }
        if self.take_word("starts") {
            if !self.take_word("with") {
                return self.unexpected();
            }
            let prefix = match self.peek().cloned() {
                Some(Token::Quoted(text)) => Node::Literal(Json::String(text)),
                Some(Token::Variable(name)) => Node::Variable(name),
                _ => return self.unexpected(),
            };
            self.at += 1;
            return Ok(Node::StartsWith(Box::new(left), Box::new(prefix)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Node> {
        let mut left = self.product()?;
        loop {
            let op = match () {
                () if self.take("+") => Arithmetic::Add,
                () if self.take("-") => Arithmetic::Subtract,
                () => return Ok(left),
            };
            left = Node::Arithmetic(op, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Node> {
        let mut left = self.signed()?;
        loop {
            let op = match () {
                () if self.take("*") => Arithmetic::Multiply,
                () if self.take("/") => Arithmetic::Divide,
                () if self.take("%") => Arithmetic::Modulo,
                () => return Ok(left),
            };
            left = Node::Arithmetic(op, Box::new(left), Box::new(self.signed()?));
        }
    }

    fn signed(&mut self) -> Result<Node> {
        for (sign, minus) in [("+", false), ("-", true)] {
            if self.take(sign) {
                return Ok(Node::Sign(minus, Box::new(self.signed()?)));
            }
        }
        self.primary()
    }

    /// A value and the steps behind it.
    fn primary(&mut self) -> Result<Node> {
        let Some(token) = self.peek().cloned() else { return self.unexpected() };
        self.at += 1;
        let node = match token {
            Token::Sign("$") => Node::Root,
            Token::Sign("@") => Node::Current,
            Token::Sign("(") => {
                let inner = self.any()?;
                self.expect(")")?;
                if inner.is_predicate() && self.take_word("is") {
                    return if self.take_word("unknown") {
                        Ok(Node::IsUnknown(Box::new(inner)))
                    } else {
                        self.unexpected()
                    };
                }
                inner
            }
            Token::Variable(name) => Node::Variable(name),
            Token::Quoted(text) => Node::Literal(Json::String(text)),
            Token::Number(digits) => {
                let digits = if digits.starts_with('.') { format!("0{digits}") } else { digits };
                match plain_number(digits.trim_end_matches('.')) {
                    Some(digits) => Node::Literal(Json::Number(digits)),
                    None => return wrong("value overflows numeric format"),
                }
            }
            Token::Word(word) => match word.as_str() {
                "null" => Node::Literal(Json::Null),
                "true" => Node::Literal(Json::Bool(true)),
                "false" => Node::Literal(Json::Bool(false)),
                "last" => Node::Last,
                "exists" => {
                    self.expect("(")?;
                    let inner = self.any()?;
                    self.expect(")")?;
                    return Ok(Node::Exists(Box::new(inner)));
                }
                _ => {
                    self.at -= usize::from(self.at < self.tokens.len());
                    return self.unexpected();
                }
            },
            Token::Sign(_) => {
                self.at -= 1;
                return self.unexpected();
            }
        };
        self.steps(node)
    }

    fn steps(&mut self, mut node: Node) -> Result<Node> {
        loop {
            let step = if self.take(".") {
                self.behind_point()?
            } else if self.take("[") {
                self.subscripts()?
            } else if self.take("?") {
                self.expect("(")?;
                let condition = self.any()?;
                let condition = self.condition(condition)?;
                self.expect(")")?;
                Step::Filter(Box::new(condition))
            } else {
                return Ok(node);
            };
            node = Node::Step(Box::new(node), step);
        }
    }

    fn behind_point(&mut self) -> Result<Step> {
        if self.take("**") {
            return self.levels();
        }
        if self.take("*") {
            return Ok(Step::Members);
        }
        let name = match self.peek().cloned() {
            Some(Token::Word(word)) => word,
            Some(Token::Quoted(text)) => {
                self.at += 1;
                return Ok(Step::Member(text));
            }
            _ => return self.unexpected(),
        };
        self.at += 1;
        if !matches!(self.peek(), Some(Token::Sign("("))) {
            return Ok(Step::Member(name));
        }
        let methods =
            [Method::Type, Method::Size, Method::Double, Method::Ceiling, Method::Floor, Method::Abs, Method::KeyValue];
        if name == "datetime" {
            return Err(crate::Error::unsupported("jsonpath's method .datetime()").into());
        }
        let Some(method) = methods.into_iter().find(|method| method.name() == name) else { return self.unexpected() };
        self.expect("(")?;
        self.expect(")")?;
        Ok(Step::Method(method))
    }

    /// `{2}`, `{1 to last}` behind `**`.
    fn levels(&mut self) -> Result<Step> {
        if !self.take("{") {
            return Ok(Step::Below(Some(0), None));
        }
        let from = self.level()?;
        let until = if self.take_word("to") { self.level()? } else { from };
        self.expect("}")?;
        Ok(Step::Below(from, until))
    }

    fn level(&mut self) -> Result<Option<u32>> {
        if self.take_word("last") {
            return Ok(None);
        }
        match self.peek() {
            Some(Token::Number(digits)) => match digits.parse() {
                Ok(level) => {
                    self.at += 1;
                    Ok(Some(level))
                }
                Err(_) => self.unexpected(),
            },
            _ => self.unexpected(),
        }
    }

    fn subscripts(&mut self) -> Result<Step> {
        if self.take("*") {
            self.expect("]")?;
            return Ok(Step::AllElements);
        }
        let mut ranges = Vec::new();
        loop {
            let from = self.sum()?;
            let until = if self.take_word("to") { Some(self.sum()?) } else { None };
            ranges.push((from, until));
            if !self.take(",") {
                break;
            }
        }
        self.expect("]")?;
        Ok(Step::Elements(ranges))
    }
}
