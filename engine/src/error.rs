//! What can go wrong, by what a client should do about it.

use std::fmt;

pub use planner::error::DataError;

/// What a client should do about an error; `server` maps each kind to an SQLSTATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is not a statement (42601).
    Syntax,
    /// A relation that doesn't exist (42P01).
    UndefinedTable,
    /// A column that doesn't exist (42703).
    UndefinedColumn,
    /// A function or operator that doesn't exist for these types (42883).
    UndefinedFunction,
    /// Any other object that doesn't exist: index, type, setting (42704).
    UndefinedObject,
    /// A schema that doesn't exist (3F000).
    UndefinedSchema,
    /// A column name that means more than one (42702).
    AmbiguousColumn,
    /// A relation of that name exists (42P07).
    DuplicateTable,
    /// A schema of that name exists (42P06).
    DuplicateSchema,
    /// A column is named twice (42701).
    DuplicateColumn,
    /// A prepared statement of that name exists (42P05).
    DuplicatePreparedStatement,
    /// A cursor of that name exists (42P03).
    DuplicateCursor,
    /// A prepared statement that doesn't exist (26000).
    UndefinedPreparedStatement,
    /// A cursor that doesn't exist (34000).
    UndefinedCursor,
    /// An expression of the wrong type (42804).
    DatatypeMismatch,
    /// An object of the wrong kind (42809).
    WrongObjectType,
    /// A cast that doesn't exist (42846).
    CannotCoerce,
    /// A parameter `$n` that doesn't exist (42P02).
    UndefinedParameter,
    /// An alias named twice (42712).
    DuplicateAlias,
    /// A table definition that contradicts itself (42P16).
    InvalidTableDefinition,
    /// ON CONFLICT that matches no key (42P10).
    InvalidColumnReference,
    /// A column that must be grouped or aggregated (42803).
    Grouping,
    /// A window function where none may be (42P20).
    Windowing,
    /// A recursive query that refers to itself where it must not (42P19).
    InvalidRecursion,
    /// A parameter whose type can't be found (42P18).
    IndeterminateDatatype,
    /// Text that is no value of its type (22P02).
    InvalidTextRepresentation,
    /// An option or setting with a bad value (22023).
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
    /// A value that can't be, for one of the rarer reasons.
    Data(DataError),
    /// A text longer than its type allows (22001).
    StringTooLong,
    /// A setting that can't be changed (55P02).
    CantChangeNow,
    /// A value that its type can't hold (22003).
    NumericOutOfRange,
    /// Division by zero (22012).
    DivisionByZero,
    /// A date or time out of range or badly written (22007).
    InvalidDatetime,
    /// Any other bad value (22000).
    DataException,
    /// A key that exists (23505).
    UniqueViolation,
    /// A row that one statement would change twice (21000).
    CardinalityViolation,
    /// A NULL where none may be (23502).
    NotNullViolation,
    /// Others depend on the object (2BP01).
    DependentObjects,
    /// Not supported; the message names what (0A000).
    Unsupported,
    /// A transaction that has failed takes no more statements (25P02).
    FailedTransaction,
    /// A statement that may not run in a transaction block (25001).
    ActiveTransaction,
    /// A statement that needs a transaction block outside of one (25P01).
    NoActiveTransaction,
    /// A write in a read-only transaction (25006).
    ReadOnlyTransaction,
    /// A savepoint that doesn't exist (3B001).
    UndefinedSavepoint,
    /// Another transaction changed the same rows: try again (40001).
    SerializationFailure,
    /// A message that the protocol doesn't allow here (08P01).
    ProtocolViolation,
    /// Cancelled by the user or by statement_timeout (57014).
    QueryCancelled,
    /// The user may not (42501).
    InsufficientPrivilege,
    /// Out of memory for this query, or for what a view computes (53200).
    OutOfMemory,
    /// The disk is full; writes wait until there is room (53100).
    DiskFull,
    /// A message or value beyond a limit (54000).
    LimitExceeded,
    /// A relation that is not ready: hydrating with `hydration_wait = off` (55000).
    NotReady,
    /// Something outside failed: a broker, a file (58030).
    External,
    /// The server is going away (57P01).
    ShuttingDown,
    /// The data directory is in use, damaged or of another format (XX001).
    Storage,
    /// A bug (XX000).
    Internal,
}

/// An error as a client sees it.
#[derive(Clone, Debug)]
pub struct Error {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What was wrong, in lower case, as PostgreSQL words it.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the statement's text, as a byte offset from 0.
    pub position: Option<usize>,
    /// What of a table it is about, where a program may want to know.
    pub subject: Option<Box<Subject>>,
}

/// What of a table an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The table's schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The column that may not be NULL, say.
    pub column: Option<String>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without detail, hint or position.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), detail: None, hint: None, position: None, subject: None }
    }

    /// A bug: something that never happens has happened.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// With more about it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what of a table it is about.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(Box::new(subject));
        self
    }

    /// With where it is, a byte offset in the statement's text.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
