//! Where something stands in a text of SQL.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer;

/// A place between characters: line and column, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
}

impl Position {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The byte at which this position lies in `text`; the text's length if it lies behind its end.
    pub fn byte_offset(self, text: &str) -> usize {
        self.find(text).0
    }

    /// The character (from 1) at which this position lies in `text`, which is how the wire protocol counts.
    pub fn character(self, text: &str) -> usize {
        self.find(text).1 + 1
    }

    /// The position of the byte at `offset`.
    pub fn of_byte_offset(text: &str, offset: usize) -> Self {
        let mut position = Self::START;
        for (at, character) in text.char_indices() {
            if at >= offset {
                break;
            }
            position.advance(character);
        }
        position
    }

    /// The position in a whole text of something that stands at `self` in a part of it that begins at `start`.
    #[must_use]
    pub fn shifted_by(self, start: Self) -> Self {
        if self.line == 1 {
            Self { line: start.line, column: start.column + self.column - 1 }
        } else {
            Self { line: start.line + self.line - 1, column: self.column }
        }
    }

    fn advance(&mut self, character: char) {
        if character == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
    }

    fn find(self, text: &str) -> (usize, usize) {
        let mut here = Self::START;
        let mut characters = 0;
        for (at, character) in text.char_indices() {
            if here >= self {
                return (at, characters);
            }
            here.advance(character);
            characters += 1;
        }
        (text.len(), characters)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// From where to where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Its first character.
    pub start: Position,
    /// Behind its last character.
    pub end: Position,
}

impl Span {
    /// A span without length.
    pub fn at(start: Position) -> Self {
        Self { start, end: start }
    }

    /// The span that the parser gives; `None` for its empty span, which says that it does not know.
    pub fn of_parser(span: tokenizer::Span) -> Option<Self> {
        let start = position(span.start)?;
        Some(Self { start, end: position(span.end).unwrap_or(start) })
    }
}

/// The parser's location; `None` for its empty location.
pub(crate) fn position(location: tokenizer::Location) -> Option<Position> {
    let line = u32::try_from(location.line).ok().filter(|line| *line > 0)?;
    Some(Position { line, column: u32::try_from(location.column).unwrap_or(u32::MAX) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_lines() {
        let text = "sélect\n é, x";
        let x = Position { line: 2, column: 5 };
        assert_eq!(&text[x.byte_offset(text)..], "x");
        assert_eq!(x.character(text), 12);
        assert_eq!(Position::of_byte_offset(text, x.byte_offset(text)), x);
    }

    #[test]
    fn a_position_behind_the_end_is_the_end() {
        let end = Position { line: 9, column: 9 };
        assert_eq!(end.byte_offset("ab"), 2);
        assert_eq!(end.character("ab"), 3);
    }

    #[test]
    fn a_part_of_a_text_is_shifted_by_its_beginning() {
        let start = Position { line: 3, column: 5 };
        assert_eq!(Position { line: 1, column: 2 }.shifted_by(start), Position { line: 3, column: 6 });
        assert_eq!(Position { line: 2, column: 2 }.shifted_by(start), Position { line: 4, column: 2 });
    }
}
