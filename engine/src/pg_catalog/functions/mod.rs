//! The functions that go with the catalog: names of things by OID and the other way round, definitions, privileges, sizes, the server itself.
//!
//! What they read is in the [`FunctionContext`], an extension of the query's configuration, so that the functions themselves are the same for
//! all sessions. They are computed row by row: catalogs are small.

mod definitions;
mod names;
mod privileges;
mod session;
mod waiting;

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result as DataFusionResult, ScalarValue};
use datafusion::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::objects::Names;
use super::rows::{Value, array};
use crate::advisory::AdvisoryLocks;
use crate::published::Published;
use crate::query::external;
use crate::session::SessionRelations;
use crate::session::variables::{Variables, Wishes};
use crate::{Error, Result, SqlType};

/// What the functions of a query see.
#[derive(Clone)]
pub(crate) struct FunctionContext(Arc<Seen>);

struct Seen {
    published: Arc<Published>,
    variables: Variables,
    wishes: Wishes,
    user: String,
    database: String,
    session: i32,
    started_us: i64,
    locks: Arc<AdvisoryLocks>,
    /// Made when a function first asks for it.
    names: OnceLock<Names>,
}

impl FunctionContext {
    /// As a session sees it.
    pub(crate) fn of(session: &SessionRelations) -> Self {
        let started = session.shared.started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(Arc::new(Seen {
            published: session.published.clone(),
            variables: session.variables.clone(),
            wishes: session.wishes.clone(),
            user: session.user.clone(),
            database: session.database.clone(),
            session: session.session,
            started_us: i64::try_from(started.as_micros()).unwrap_or(i64::MAX),
            locks: session.shared.advisory_locks.clone(),
            names: OnceLock::new(),
        }))
    }

    fn catalog(&self) -> &catalog::Catalog {
        &self.0.published.catalog
    }

    /// What is in `pg_class`.
    fn names(&self) -> &Names {
        self.0.names.get_or_init(|| Names::of(self.catalog()))
    }

    /// The OID in `pg_class` of a name.
    fn class_oid(&self, schema: Option<&str>, name: &str) -> Option<u32> {
        self.names().oid(&self.search_path(), schema, name)
    }

    /// The schemas in which bare names are looked for, `pg_catalog` aside.
    fn search_path(&self) -> Vec<String> {
        let path = self.0.variables.get("search_path").unwrap_or_default();
        let names = path.split(',').map(|name| name.trim().trim_matches('"'));
        let names = names.map(|name| if name == "$user" { self.0.user.as_str() } else { name });
        names.filter(|name| self.catalog().has_schema(name)).map(str::to_owned).collect()
    }
}

impl fmt::Debug for FunctionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionContext").field("session", &self.0.session).finish_non_exhaustive()
    }
}

impl ConfigExtension for FunctionContext {
    const PREFIX: &'static str = "millrace";
}

impl ExtensionOptions for FunctionContext {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> DataFusionResult<()> {
        Err(DataFusionError::Configuration(format!("there is no option {key}")))
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

/// How a function is computed for one row.
type Compute = fn(&FunctionContext, &[Value]) -> Result<Value>;

/// One function.
struct Function {
    name: &'static str,
    returns: SqlType,
    /// NULL in, NULL out.
    strict: bool,
    compute: Compute,
    signature: Signature,
}

impl Function {
    /// NULL if an argument is.
    fn strict(name: &'static str, returns: SqlType, compute: Compute) -> Self {
        Self { name, returns, strict: true, compute, signature: any_arguments() }
    }

    /// Sees NULLs.
    fn lenient(name: &'static str, returns: SqlType, compute: Compute) -> Self {
        Self { name, returns, strict: false, compute, signature: any_arguments() }
    }

    /// Called as often as the query says, and never ahead of it.
    fn volatile(mut self) -> Self {
        self.signature.volatility = Volatility::Volatile;
        self
    }
}

/// The types of arguments are looser than PostgreSQL's: an OID may be any integer or its text.
fn any_arguments() -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Stable)
}

/// All of them.
pub(crate) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let all = names::functions()
        .into_iter()
        .chain(definitions::functions())
        .chain(privileges::functions())
        .chain(session::functions());
    all.map(|function| Arc::new(ScalarUDF::from(function))).chain(waiting::functions())
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A function is its name: no two share one.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.returns.data_type())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        Ok(Arc::new(self.returns.field(self.name, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let context = args
            .config_options
            .extensions
            .get::<FunctionContext>()
            .ok_or_else(|| external(Error::internal(format!("{} needs a session", self.name))))?;
        // One row is enough if nothing differs between rows.
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<DataFusionResult<Vec<ArrayRef>>>()?;
        let mut results = Vec::with_capacity(rows);
        let mut values = Vec::with_capacity(columns.len());
        for row in 0..rows {
            values.clear();
            for column in &columns {
                values.push(value(column, row)?);
            }
            results.push(if self.strict && values.contains(&Value::Null) {
                Value::Null
            } else {
                (self.compute)(context, &values).map_err(external)?
            });
        }
        let field: FieldRef = Arc::new(self.returns.field(self.name, true));
        let result = array(&results, &self.returns, &field)
            .ok_or_else(|| external(Error::internal(format!("{} gave a value of another type", self.name))))?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// A value of an argument, as loosely typed as functions take it.
fn value(array: &ArrayRef, row: usize) -> DataFusionResult<Value> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        data_type if data_type.is_integer() => {
            let number = arrow::compute::cast(&array.slice(row, 1), &DataType::Int64)?;
            Value::Int(number.as_primitive::<Int64Type>().value(0))
        }
        data_type if data_type.is_floating() => {
            let number = arrow::compute::cast(&array.slice(row, 1), &DataType::Float64)?;
            Value::Float(number.as_primitive::<Float64Type>().value(0))
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Value::List((0..elements.len()).map(|index| value(&elements, index)).collect::<DataFusionResult<_>>()?)
        }
        _ => {
            let text = arrow::compute::cast(&array.slice(row, 1), &DataType::Utf8)?;
            Value::Text(text.as_string::<i32>().value(0).to_owned())
        }
    })
}

/// An argument as an OID: a number, or a number's text.
fn oid(value: &Value) -> Option<u32> {
    match value {
        Value::Int(number) => u32::try_from(*number).ok(),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// An argument as text; empty if it is none.
fn text(value: Option<&Value>) -> &str {
    match value {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

/// An argument as an integer.
fn integer(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Int(number)) => Some(*number),
        Some(Value::Float(number)) => Some(*number as i64),
        Some(Value::Text(text)) => text.trim().parse().ok(),
        _ => None,
    }
}
