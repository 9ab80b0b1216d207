//! Functions that may wait: `pg_sleep` and advisory locks. They wait without holding a thread, so that a cancelled statement stops waiting.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use async_trait::async_trait;
use catalog::CatalogType;
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use futures::future::BoxFuture;

use super::{FunctionContext, Value, array, external, value};
use crate::advisory::Key;
use crate::{Error, SqlType};

/// How a function is computed for one row without NULLs.
type Run = for<'a> fn(&'a FunctionContext, &'a [Value]) -> BoxFuture<'a, Value>;

/// One function.
struct Waiting {
    name: &'static str,
    returns: SqlType,
    signature: Signature,
    run: Run,
}

/// All of them.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    let void = || SqlType::Catalog(CatalogType::Void);
    let key = || {
        let forms = vec![
            TypeSignature::Exact(vec![DataType::Int64]),
            TypeSignature::Exact(vec![DataType::Int64, DataType::Int64]),
        ];
        Signature::one_of(forms, Volatility::Volatile)
    };
    let all: [(&'static str, SqlType, Signature, Run); 5] = [
        ("pg_sleep", void(), Signature::exact(vec![DataType::Float64], Volatility::Volatile), |_, arguments| {
            Box::pin(async move {
                let seconds = match arguments {
                    [Value::Float(seconds)] => seconds.max(0.0),
                    _ => 0.0,
                };
                tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).await;
                nothing()
            })
        }),
        ("pg_advisory_lock", void(), key(), |context, arguments| {
            Box::pin(async move {
                context.0.locks.lock(context.0.session, lock_key(arguments)).await;
                nothing()
            })
        }),
        ("pg_try_advisory_lock", SqlType::Boolean, key(), |context, arguments| {
            Box::pin(async move { context.0.locks.try_lock(context.0.session, lock_key(arguments)).into() })
        }),
        ("pg_advisory_unlock", SqlType::Boolean, key(), |context, arguments| {
            Box::pin(async move { context.0.locks.unlock(context.0.session, lock_key(arguments)).into() })
        }),
        ("pg_advisory_unlock_all", void(), Signature::nullary(Volatility::Volatile), |context, _| {
            Box::pin(async move {
                context.0.locks.unlock_all(context.0.session);
                nothing()
            })
        }),
    ];
    all.into_iter().map(|(name, returns, signature, run)| {
        let function = Waiting { name, returns, signature, run };
        Arc::new(AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf())
    })
}

/// The one value of `void`.
fn nothing() -> Value {
    Value::Text(String::new())
}

fn lock_key(arguments: &[Value]) -> Key {
    match arguments {
        [Value::Int(first), Value::Int(second)] => Key::Pair(*first, *second),
        [Value::Int(one)] => Key::One(*one),
        _ => Key::One(0),
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A function is its name: no two share one.
impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Waiting {}

impl Hash for Waiting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Waiting {
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

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        internal_err!("{} waits", self.name)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Waiting {
    /// Row after row.
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let context = args.config_options.extensions.get::<FunctionContext>().cloned();
        let context = context.ok_or_else(|| external(Error::internal(format!("{} needs a session", self.name))))?;
        let columns =
            args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<DataFusionResult<Vec<ArrayRef>>>()?;
        let mut results = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let values = columns.iter().map(|column| value(column, row)).collect::<DataFusionResult<Vec<_>>>()?;
            results.push(if values.contains(&Value::Null) { Value::Null } else { (self.run)(&context, &values).await });
        }
        let field: FieldRef = Arc::new(self.returns.field(self.name, true));
        let result = array(&results, &self.returns, &field)
            .ok_or_else(|| external(Error::internal(format!("{} gave a value of another type", self.name))))?;
        Ok(ColumnarValue::Array(result))
    }
}
