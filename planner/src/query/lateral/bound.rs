//! A bound of LIMIT or OFFSET that the outer row says.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::Error;
use crate::error::ErrorKind;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    Limit,
    Offset,
}

impl Bound {
    /// The value of an integer as this bound: an error where it is negative.
    pub(super) fn of(self, value: Expr) -> Expr {
        let function =
            NotNegative { bound: self, signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable) };
        let value = Expr::Cast(Cast::new(Box::new(value), DataType::Int64));
        Arc::new(ScalarUDF::from(function)).call(vec![value])
    }
}

/// Its argument, which must not be negative.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NotNegative {
    bound: Bound,
    signature: Signature,
}

impl ScalarUDFImpl for NotNegative {
    fn name(&self) -> &str {
        match self.bound {
            Bound::Limit => "limit_of",
            Bound::Offset => "offset_of",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = args.args[0].to_array(args.number_rows)?;
        let numbers = values.as_primitive::<Int64Type>();
        if numbers.iter().flatten().any(|number| number < 0) {
            let (kind, what) = match self.bound {
                Bound::Limit => (ErrorKind::InvalidLimit, "LIMIT"),
                Bound::Offset => (ErrorKind::InvalidOffset, "OFFSET"),
            };
            return Err(Error::new(kind, format!("{what} must not be negative")).into());
        }
        Ok(ColumnarValue::Array(values))
    }
}
