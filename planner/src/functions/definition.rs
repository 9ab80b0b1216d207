//! A scalar function as data: what it is called, what it takes and gives, and how it is computed, a batch at a time.

use std::fmt;
use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::SqlType;
use datafusion::common::{Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// What a function gives, given what it takes.
pub(crate) type Returns = fn(&[FieldRef]) -> Result<SqlType>;

/// How a function is computed.
pub(crate) type Invoke = fn(&ScalarFunctionArgs) -> Result<ColumnarValue>;

/// One scalar function.
pub(crate) struct Definition {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    returns: Returns,
    invoke: Invoke,
}

impl Definition {
    pub(crate) fn new(name: &'static str, signature: Signature, returns: Returns, invoke: Invoke) -> Self {
        Self { name, aliases: Vec::new(), signature, returns, invoke }
    }

    pub(crate) fn with_alias(mut self, alias: &str) -> Self {
        self.aliases.push(alias.to_owned());
        self
    }
}

impl From<Definition> for std::sync::Arc<ScalarUDF> {
    fn from(definition: Definition) -> Self {
        Self::new(ScalarUDF::from(definition))
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A function is its name: no two definitions share one.
impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Definition {}

impl Hash for Definition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Definition {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("{} says what it returns with a field", self.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let sql_type = (self.returns)(args.arg_fields)?;
        // A numeric without precision of its own keeps the scale that the arguments lead to: the type that is returned says it.
        let field = match sql_type {
            SqlType::Numeric(Some((precision, scale))) => {
                Field::new(self.name, DataType::Decimal128(precision, scale), true)
            }
            other => other.field(self.name, true),
        };
        Ok(field.into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.invoke)(&args)
    }
}

/// Any of these lists of exact types, after the usual conversions.
pub(crate) fn one_of(lists: &[&[DataType]], volatility: Volatility) -> Signature {
    use datafusion::logical_expr::TypeSignature;
    let lists = lists
        .iter()
        .map(|types| if types.is_empty() { TypeSignature::Nullary } else { TypeSignature::Exact(types.to_vec()) });
    Signature::one_of(lists.collect(), volatility)
}

/// The arguments as arrays of one length.
pub(crate) fn arrays(args: &ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    ColumnarValue::values_to_arrays(&args.args)
}

/// A result computed over arrays: a scalar again if all arguments were scalars.
pub(crate) fn columnar(args: &ScalarFunctionArgs, result: ArrayRef) -> Result<ColumnarValue> {
    let all_scalar = !args.args.is_empty() && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if all_scalar && result.len() == 1 {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
    }
    Ok(ColumnarValue::Array(result))
}

/// The text of an argument that is the same for all rows.
pub(crate) fn constant_text(value: &ColumnarValue) -> Option<&str> {
    match value {
        ColumnarValue::Scalar(
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
        ) => Some(text),
        _ => None,
    }
}

/// `Err` with PostgreSQL's words for an argument that can't be.
pub(crate) fn invalid<T>(message: String) -> Result<T> {
    let error = crate::Error::new(crate::error::ErrorKind::InvalidParameterValue, message);
    Err(error.into())
}

/// `Err` that no function of this name takes such arguments.
pub(crate) fn undefined<T>(function: &str, fields: &[FieldRef]) -> Result<T> {
    let name = |field: &FieldRef| match field.data_type() {
        DataType::Null => "unknown".to_owned(),
        _ => SqlType::of_field(field)
            .map_or_else(|| "unknown".to_owned(), |sql_type| crate::query::operator::type_name(&sql_type)),
    };
    let names = fields.iter().map(name).collect::<Vec<_>>().join(", ");
    let error = crate::Error::new(
        crate::error::ErrorKind::UndefinedFunction,
        format!("function {function}({names}) does not exist"),
    );
    let hint = "No function matches the given name and argument types. You might need to add explicit type casts.";
    Err(error.with_hint(hint).into())
}

/// `Err` for a text that is no value of a type.
pub(crate) fn invalid_text<T>(sql_type: &str, text: &str) -> Result<T> {
    let message = format!("invalid input syntax for type {sql_type}: \"{text}\"");
    Err(crate::Error::new(crate::error::ErrorKind::InvalidText, message).into())
}

/// `Err` for what the signature should have kept away.
pub(crate) fn unexpected<T>(function: &str) -> Result<T> {
    exec_err!("{function} was given an argument of an unexpected type")
}
