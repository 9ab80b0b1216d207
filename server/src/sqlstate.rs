//! The only table of SQLSTATE codes: what each kind of error is called on the wire.

use engine::{DataError, ErrorKind};

/// Five characters that programs test for; PostgreSQL's where PostgreSQL has the error.
pub fn sqlstate(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Syntax => "42601",
        ErrorKind::UndefinedTable => "42P01",
        ErrorKind::UndefinedColumn => "42703",
        ErrorKind::UndefinedFunction => "42883",
        ErrorKind::UndefinedObject => "42704",
        ErrorKind::UndefinedSchema => "3F000",
        ErrorKind::AmbiguousColumn => "42702",
        ErrorKind::DuplicateTable => "42P07",
        ErrorKind::DuplicateSchema => "42P06",
        ErrorKind::DuplicateColumn => "42701",
        ErrorKind::DuplicatePreparedStatement => "42P05",
        ErrorKind::DuplicateCursor => "42P03",
        ErrorKind::UndefinedPreparedStatement => "26000",
        ErrorKind::UndefinedCursor => "34000",
        ErrorKind::DatatypeMismatch => "42804",
        ErrorKind::WrongObjectType => "42809",
        ErrorKind::CannotCoerce => "42846",
        ErrorKind::UndefinedParameter => "42P02",
        ErrorKind::DuplicateAlias => "42712",
        ErrorKind::InvalidTableDefinition => "42P16",
        ErrorKind::InvalidColumnReference => "42P10",
        ErrorKind::Grouping => "42803",
        ErrorKind::Windowing => "42P20",
        ErrorKind::InvalidRecursion => "42P19",
        ErrorKind::IndeterminateDatatype => "42P18",
        ErrorKind::InvalidTextRepresentation => "22P02",
        ErrorKind::InvalidParameterValue => "22023",
        ErrorKind::CantChangeNow => "55P02",
        ErrorKind::NumericOutOfRange => "22003",
        ErrorKind::DivisionByZero => "22012",
        ErrorKind::InvalidDatetime => "22007",
        ErrorKind::DataException => "22000",
        ErrorKind::InvalidLimit => "2201W",
        ErrorKind::InvalidOffset => "2201X",
        ErrorKind::InvalidRegularExpression => "2201B",
        ErrorKind::InvalidEscape => "22025",
        ErrorKind::InvalidLogarithm => "2201E",
        ErrorKind::InvalidPower => "2201F",
        ErrorKind::InvalidEncoding => "22021",
        ErrorKind::InvalidSubscript => "2202E",
        ErrorKind::Data(DataError::DatetimeOverflow) => "22008",
        ErrorKind::Data(DataError::IntervalOverflow) => "22015",
        ErrorKind::Data(DataError::ZoneDisplacement) => "22009",
        ErrorKind::Data(DataError::Substring) => "22011",
        ErrorKind::Data(DataError::WidthBucket) => "2201G",
        ErrorKind::Data(DataError::Ntile) => "22014",
        ErrorKind::Data(DataError::NthValue) => "22016",
        ErrorKind::Data(DataError::FrameOffset) => "22013",
        ErrorKind::Data(DataError::NullValue) => "22004",
        ErrorKind::Data(DataError::UntranslatableCharacter) => "22P05",
        ErrorKind::Data(DataError::JsonSubscript) => "22033",
        ErrorKind::Data(DataError::JsonNonNumeric) => "22036",
        ErrorKind::Data(DataError::JsonSingleton) => "22038",
        ErrorKind::Data(DataError::JsonArray) => "22039",
        ErrorKind::Data(DataError::JsonMember) => "2203A",
        ErrorKind::Data(DataError::JsonNumber) => "2203B",
        ErrorKind::Data(DataError::JsonObject) => "2203C",
        ErrorKind::StringTooLong => "22001",
        ErrorKind::CardinalityViolation => "21000",
        ErrorKind::UniqueViolation => "23505",
        ErrorKind::NotNullViolation => "23502",
        ErrorKind::DependentObjects => "2BP01",
        ErrorKind::Unsupported => "0A000",
        ErrorKind::FailedTransaction => "25P02",
        ErrorKind::ActiveTransaction => "25001",
        ErrorKind::NoActiveTransaction => "25P01",
        ErrorKind::ReadOnlyTransaction => "25006",
        ErrorKind::UndefinedSavepoint => "3B001",
        ErrorKind::SerializationFailure => "40001",
        ErrorKind::ProtocolViolation => "08P01",
        ErrorKind::QueryCancelled => "57014",
        ErrorKind::InsufficientPrivilege => "42501",
        ErrorKind::OutOfMemory => "53200",
        ErrorKind::DiskFull => "53100",
        ErrorKind::LimitExceeded => "54000",
        ErrorKind::NotReady => "55000",
        ErrorKind::External => "58030",
        ErrorKind::ShuttingDown => "57P01",
        ErrorKind::Storage => "XX001",
        ErrorKind::Internal => "XX000",
    }
}

/// What a client did wrong on the wire: the message made no sense at this point.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// The client asks for what this server does not offer.
pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
/// A start-up packet without what it must have.
pub const INVALID_AUTHORIZATION: &str = "28000";
/// A portal that is done and returns no rows was executed again.
pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
/// Bytes that are not UTF-8.
pub const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
/// A binary parameter of the wrong length or shape.
pub const INVALID_BINARY_REPRESENTATION: &str = "22P03";
/// No room for another connection.
pub const TOO_MANY_CONNECTIONS: &str = "53300";
/// A message or a number of things beyond a limit of the server.
pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
/// The server shuts down.
pub const ADMIN_SHUTDOWN: &str = "57P01";
/// A transaction was left open for longer than `idle_in_transaction_session_timeout`.
pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
/// A function that doesn't exist.
pub const UNDEFINED_FUNCTION: &str = "42883";
/// A statement text with more than one statement where one is meant.
pub const SYNTAX_ERROR: &str = "42601";
