//! DataFusion's functions of text that exist of bytea, too: these take both, and of bytea typing plans others in their place.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::functions::{string, unicode};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
};

/// The functions, to take the places of DataFusion's; `substr` is the one that checks its arguments.
pub(super) fn functions(substr: Arc<ScalarUDF>) -> Vec<Arc<ScalarUDF>> {
    use DataType::{BinaryView, Int32, Int64, Utf8};
    let pairs: &[&[DataType]] = &[&[BinaryView, BinaryView], &[BinaryView, Utf8]];
    let of = |inner, bytes: &[&[DataType]], result| shared(inner, bytes, result);
    vec![
        of(substr, &[&[BinaryView, Int64], &[BinaryView, Int64, Int64]], BinaryView),
        of(unicode::strpos(), &[&[BinaryView, BinaryView], &[BinaryView, Utf8], &[Utf8, BinaryView]], Int32),
        of(string::btrim(), pairs, BinaryView),
        of(string::ltrim(), pairs, BinaryView),
        of(string::rtrim(), pairs, BinaryView),
        of(string::octet_length(), &[&[BinaryView]], Int32),
        of(string::bit_length(), &[&[BinaryView]], Int32),
    ]
}

fn shared(inner: Arc<ScalarUDF>, bytes: &[&[DataType]], of_bytes: DataType) -> Arc<ScalarUDF> {
    // Text comes first, so that a literal is one.
    let also = bytes.iter().map(|types| TypeSignature::Exact(types.to_vec()));
    let all = std::iter::once(inner.signature().type_signature.clone()).chain(also).collect();
    let signature = Signature::one_of(all, inner.signature().volatility);
    Arc::new(ScalarUDF::from(Shared { inner, signature, of_bytes }))
}

#[derive(Debug)]
struct Shared {
    inner: Arc<ScalarUDF>,
    signature: Signature,
    /// The type of what is made of bytea.
    of_bytes: DataType,
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Shared {}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

impl ScalarUDFImpl for Shared {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if arg_types.iter().any(is_bytes) { Ok(self.of_bytes.clone()) } else { self.inner.return_type(arg_types) }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields.iter().any(|field| is_bytes(field.data_type())) {
            true => Ok(Arc::new(Field::new(self.name(), self.of_bytes.clone(), true))),
            false => self.inner.return_field_from_args(args),
        }
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.arg_fields.iter().any(|field| is_bytes(field.data_type())) {
            return internal_err!("{} of bytea was not planned", self.name());
        }
        self.inner.invoke_with_args(args)
    }
}
