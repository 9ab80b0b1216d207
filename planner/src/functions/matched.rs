//! `COALESCE`, `NULLIF`, `GREATEST` and `LEAST`, of which a literal without a type takes that of the other arguments. DataFusion's planner knows no such
//! literals: for it these stand in DataFusion's place, and [`crate::query`]'s typing plans DataFusion's again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::functions::core;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The functions, to take the places of DataFusion's.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let all = [core::coalesce(), core::nullif(), core::greatest(), core::least()];
    let matched = |inner| Matched { inner, signature: Signature::variadic_any(Volatility::Immutable) };
    all.into_iter().map(|inner| Arc::new(ScalarUDF::from(matched(inner)))).collect()
}

/// DataFusion's function of the name.
pub(crate) fn of_datafusion(name: &str) -> Option<Arc<ScalarUDF>> {
    Some(match name {
        "coalesce" => core::coalesce(),
        "nullif" => core::nullif(),
        "greatest" => core::greatest(),
        "least" => core::least(),
        _ => return None,
    })
}

/// See [the module](self).
#[derive(Debug)]
struct Matched {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl PartialEq for Matched {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Matched {}

impl Hash for Matched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Matched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("{} says what it returns with a field", self.name())
    }

    /// What DataFusion's gives; where that takes no such arguments, what the first one is that is no text.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match fields_with_udf(args.arg_fields, self.inner.as_ref()) {
            Ok(fields) => {
                let scalar_arguments = args.scalar_arguments;
                self.inner.return_field_from_args(ReturnFieldArgs { arg_fields: &fields, scalar_arguments })
            }
            Err(error) => {
                let known =
                    args.arg_fields.iter().find(|field| !field.data_type().is_string() && !field.data_type().is_null());
                known.cloned().ok_or(error)
            }
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} was not typed", self.name())
    }
}
