//! What can be wrong with a statement, as PostgreSQL says it: a message in lower case, then detail, then hint, and where.

use std::fmt;

use datafusion::common::{DataFusionError, SchemaError};
use sql::Span;

/// Results of planning.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of mistake it is; the server maps each kind to one SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is not SQL (42601).
    Syntax,
    /// No such relation (42P01).
    UndefinedTable,
    /// No such column (42703).
    UndefinedColumn,
    /// No such function or operator for these types (42883).
    UndefinedFunction,
    /// No such type, index, or other object (42704).
    UndefinedObject,
    /// No such schema (3F000).
    UndefinedSchema,
    /// No such parameter `$n` (42P02).
    UndefinedParameter,
    /// No such prepared statement (26000).
    UndefinedStatement,
    /// No such cursor (34000).
    UndefinedCursor,
    /// A name that is taken (42P07).
    DuplicateTable,
    /// A schema's name that is taken (42P06).
    DuplicateSchema,
    /// A column named twice (42701).
    DuplicateColumn,
    /// An alias named twice (42712).
    DuplicateAlias,
    /// A column name that fits several columns (42702).
    AmbiguousColumn,
    /// A call that fits several functions, or a parameter of unknown type (42P18).
    IndeterminateType,
    /// A value or expression of the wrong type (42804).
    DatatypeMismatch,
    /// A cast that doesn't exist (42846).
    CannotCoerce,
    /// A column that is neither grouped nor aggregated (42803).
    Grouping,
    /// A window function where none may be (42P20).
    Windowing,
    /// A table definition that contradicts itself (42P16).
    InvalidTableDefinition,
    /// ON CONFLICT and the like that match no key (42P10).
    InvalidColumnReference,
    /// The object is of another kind (42809).
    WrongObjectType,
    /// Others depend on it (2BP01).
    DependentObjects,
    /// NULL where there must be a value (23502).
    NotNullViolation,
    /// A text that is no value of the type (22P02).
    InvalidText,
    /// A date or time that doesn't exist (22007).
    InvalidDatetime,
    /// A number out of its type's range (22003).
    OutOfRange,
    /// Division by zero, found while planning (22012).
    DivisionByZero,
    /// A subquery that stands for one value has several rows (21000).
    CardinalityViolation,
    /// A text that is longer than its type allows (22001).
    StringTooLong,
    /// An argument that the function can't take (22023).
    InvalidParameterValue,
    /// A LIMIT below zero (2201W).
    InvalidLimit,
    /// An OFFSET below zero (2201X).
    InvalidOffset,
    /// A regular expression that can't be read (2201B).
    InvalidRegularExpression,
    /// An escape string that is not one character (22025).
    InvalidEscape,
    /// A logarithm that doesn't exist (2201E).
    InvalidLogarithm,
    /// A power or root that doesn't exist (2201F).
    InvalidPower,
    /// Bytes that are no text in an encoding (22021).
    InvalidEncoding,
    /// An index that is not within what it counts (2202E).
    InvalidSubscript,
    /// A value that would be larger than values can be, or more than a limit of this program allows (54000).
    LimitExceeded,
    /// What a view computes takes more memory than it may (53200).
    OutOfMemory,
    /// An unknown setting (42704 as PostgreSQL has it), or a WITH option that nobody knows.
    UnknownOption,
    /// A value that a setting or option can't have (22023).
    InvalidOption,
    /// A name that is reserved, or a change of what the system owns (42501).
    NotAllowed,
    /// A recursive query that refers to itself where it must not (42P19).
    InvalidRecursion,
    /// A value that a function or a type can't take, for one of the rarer reasons.
    Data(DataError),
    /// SQL that is understood but not done (0A000).
    Unsupported,
    /// A mistake of this program (XX000).
    Internal,
}

/// The rarer mistakes of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataError {
    /// A date or time whose fields are beyond what dates and times have (22008).
    DatetimeOverflow,
    /// An interval that is too long (22015).
    IntervalOverflow,
    /// A time zone's offset that is too large (22009).
    ZoneDisplacement,
    /// A part of a text of negative length (22011).
    Substring,
    /// Bounds or a number of buckets that can't be (2201G).
    WidthBucket,
    /// A number of buckets for `ntile` that can't be (22014).
    Ntile,
    /// A place for `nth_value` that can't be (22016).
    NthValue,
    /// An offset of a window's frame that can't be (22013).
    FrameOffset,
    /// NULL where a function takes none (22004).
    NullValue,
    /// A character that a text can't have (22P05).
    UntranslatableCharacter,
    /// A subscript of a JSON path that is no number, or beyond the array (22033).
    JsonSubscript,
    /// A JSON path's method on what is no number (22036).
    JsonNonNumeric,
    /// A JSON path's operand that is not one value (22038).
    JsonSingleton,
    /// No array where a JSON path needs one (22039).
    JsonArray,
    /// A member that isn't there (2203A).
    JsonMember,
    /// No number where a JSON path needs one (2203B).
    JsonNumber,
    /// No object where a JSON path needs one (2203C).
    JsonObject,
}

/// Why a statement can't be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind, which decides about the SQLSTATE.
    pub kind: ErrorKind,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// More about it, as a sentence.
    pub detail: Option<String>,
    /// What to do, as a sentence.
    pub hint: Option<String>,
    /// Where, in the whole text that was parsed.
    pub span: Option<Span>,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, hint: None, span: None }
    }

    /// SQL that isn't done; `construct` as the user knows it: `window functions in a materialized view`.
    pub fn unsupported(construct: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{construct} is not supported"))
    }

    /// A mistake of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// With more about it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With advice, if there is any.
    #[must_use]
    pub fn with_hint_if(mut self, hint: Option<String>) -> Self {
        if hint.is_some() {
            self.hint = hint;
        }
        self
    }

    /// With a place, unless it has one already.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        if self.span.is_none() {
            self.span = span.into();
        }
        self
    }

    /// Without a place: the text that it points into is not the user's.
    #[must_use]
    pub fn nowhere(mut self) -> Self {
        self.span = None;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "\nDETAIL: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nHINT: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<sql::Error> for Error {
    fn from(error: sql::Error) -> Self {
        let kind = if error.unsupported { ErrorKind::Unsupported } else { ErrorKind::Syntax };
        Self { kind, message: error.message, detail: None, hint: error.hint, span: error.span }
    }
}

/// Our own errors travel through DataFusion's planner as [`DataFusionError::External`] and come out as they went in.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        crate::query::datafusion_error::translate(error)
    }
}

impl From<SchemaError> for Error {
    fn from(error: SchemaError) -> Self {
        DataFusionError::SchemaError(Box::new(error), Box::new(None)).into()
    }
}
