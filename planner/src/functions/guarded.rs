//! DataFusion's functions behind checks: PostgreSQL fails where they give NaN, infinity, or a text larger than memory.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::definition::arrays;
use crate::Error;
use crate::error::{DataError, ErrorKind};

/// Bytes that a value may have: PostgreSQL's limit of an allocation.
const MAX_BYTES: i64 = 0x3fff_ffff;

/// Bytes that the values of a batch may have together: what an array of 32 bit offsets holds.
const MAX_BATCH_BYTES: i64 = i32::MAX as i64;

/// Bytes of the longest character.
const CHARACTER_BYTES: i64 = 4;

/// What is checked before a function is computed.
type Check = fn(&ScalarFunctionArgs) -> Result<()>;

/// The functions, to take the places of DataFusion's.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    use datafusion::functions::{math, string, unicode};
    let guarded: Vec<(Arc<ScalarUDF>, Check, bool)> = vec![
        (math::ln(), |args| numbers(args, 0, logarithm), false),
        (math::log2(), |args| numbers(args, 0, logarithm), false),
        (math::log10(), |args| numbers(args, 0, logarithm), false),
        (math::log(), log, false),
        (math::sqrt(), |args| numbers(args, 0, square_root), false),
        (math::power(), power, true),
        (math::exp(), |args| numbers(args, 0, exponent), true),
        (math::sin(), |args| numbers(args, 0, |value| within(value, value.is_finite())), false),
        (math::cos(), |args| numbers(args, 0, |value| within(value, value.is_finite())), false),
        (math::tan(), |args| numbers(args, 0, |value| within(value, value.is_finite())), false),
        (math::cot(), |args| numbers(args, 0, |value| within(value, value.is_finite())), false),
        (math::sinh(), |_| Ok(()), true),
        (math::cosh(), |_| Ok(()), true),
        (math::acos(), |args| numbers(args, 0, |value| within(value, value.abs() <= 1.0)), false),
        (math::asin(), |args| numbers(args, 0, |value| within(value, value.abs() <= 1.0)), false),
        (math::acosh(), |args| numbers(args, 0, |value| within(value, value >= 1.0)), false),
        (math::atanh(), |args| numbers(args, 0, |value| within(value, value.abs() <= 1.0)), false),
        (string::chr(), chr, false),
        (string::repeat(), repeat, false),
        (unicode::lpad(), pad, false),
        (unicode::rpad(), pad, false),
    ];
    let guard = |(inner, check, finite)| Arc::new(ScalarUDF::from(Guarded { inner, check, finite }));
    guarded.into_iter().map(guard).collect()
}

/// `substr`, which takes no negative length.
pub(super) fn substring() -> Arc<ScalarUDF> {
    let inner = datafusion::functions::unicode::substr();
    Arc::new(ScalarUDF::from(Guarded { inner, check: substr, finite: false }))
}

/// A function of DataFusion's that fails first where PostgreSQL's does.
#[derive(Debug)]
struct Guarded {
    inner: Arc<ScalarUDF>,
    check: Check,
    /// Whether an infinite result of finite arguments is an overflow.
    finite: bool,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Guarded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    /// Simpler forms, such as `y` for `log(x, power(x, y))`, would have lost the check.
    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Original(args))
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.check)(&args)?;
        if !self.finite {
            return self.inner.invoke_with_args(args);
        }
        let inputs = arrays(&args)?;
        let result = self.inner.invoke_with_args(args)?;
        let rows = inputs.first().map_or(1, |input| input.len());
        let values = cast(&result.to_array(rows)?, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        if values.iter().flatten().any(f64::is_infinite) {
            let inputs = inputs.iter().map(|input| floats(input.as_ref())).collect::<Result<Vec<_>>>()?;
            let given = |row: usize| inputs.iter().any(|input| input.is_valid(row) && input.value(row).is_infinite());
            let made = |row: &usize| values.is_valid(*row) && values.value(*row).is_infinite() && !given(*row);
            if (0..rows).any(|row| made(&row)) {
                return fail(ErrorKind::OutOfRange, "value out of range: overflow");
            }
        }
        Ok(result)
    }
}

fn fail<T>(kind: ErrorKind, message: &str) -> Result<T> {
    Err(Error::new(kind, message).into())
}

fn floats(column: &dyn Array) -> Result<Float64Array> {
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn integers(column: &dyn Array) -> Result<Int64Array> {
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Checks each value of an argument.
fn numbers(args: &ScalarFunctionArgs, index: usize, check: impl Fn(f64) -> Result<()>) -> Result<()> {
    floats(arrays(args)?[index].as_ref())?.iter().flatten().try_for_each(check)
}

fn logarithm(value: f64) -> Result<()> {
    if value == 0.0 {
        return fail(ErrorKind::InvalidLogarithm, "cannot take logarithm of zero");
    }
    if value < 0.0 {
        return fail(ErrorKind::InvalidLogarithm, "cannot take logarithm of a negative number");
    }
    Ok(())
}

/// e to less is nearer to zero than any number but zero.
const LEAST_EXPONENT: f64 = -745.133_219_101_941_2;

fn exponent(value: f64) -> Result<()> {
    match value.is_finite() && value < LEAST_EXPONENT {
        true => fail(ErrorKind::OutOfRange, "value out of range: underflow"),
        false => Ok(()),
    }
}

fn square_root(value: f64) -> Result<()> {
    match value < 0.0 {
        true => fail(ErrorKind::InvalidPower, "cannot take square root of a negative number"),
        false => Ok(()),
    }
}

fn within(value: f64, inside: bool) -> Result<()> {
    if inside || value.is_nan() { Ok(()) } else { fail(ErrorKind::OutOfRange, "input is out of range") }
}

/// `log(value)` and `log(base, value)`; no logarithm has the base 1.
fn log(args: &ScalarFunctionArgs) -> Result<()> {
    let columns = arrays(args)?;
    for column in &columns {
        floats(column.as_ref())?.iter().flatten().try_for_each(logarithm)?;
    }
    match columns.as_slice() {
        [base, _] if floats(base.as_ref())?.iter().flatten().any(|base| base == 1.0) => {
            fail(ErrorKind::DivisionByZero, "division by zero")
        }
        _ => Ok(()),
    }
}

fn power(args: &ScalarFunctionArgs) -> Result<()> {
    let columns = arrays(args)?;
    let [base, exponent] = columns.as_slice() else { return Ok(()) };
    let (base, exponent) = (floats(base.as_ref())?, floats(exponent.as_ref())?);
    for (base, exponent) in base.iter().zip(&exponent) {
        let (Some(base), Some(exponent)) = (base, exponent) else { continue };
        if base == 0.0 && exponent < 0.0 {
            return fail(ErrorKind::InvalidPower, "zero raised to a negative power is undefined");
        }
        if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
            let message = "a negative number raised to a non-integer power yields a complex result";
            return fail(ErrorKind::InvalidPower, message);
        }
    }
    Ok(())
}

fn chr(args: &ScalarFunctionArgs) -> Result<()> {
    for code in integers(arrays(args)?[0].as_ref())?.iter().flatten() {
        if code == 0 {
            return fail(ErrorKind::LimitExceeded, "null character not permitted");
        }
        if code < 0 {
            return fail(ErrorKind::InvalidParameterValue, "character number must be positive");
        }
        if u32::try_from(code).ok().and_then(char::from_u32).is_none() {
            let what = if code > 0x10_ffff { "too large" } else { "not valid" };
            return fail(ErrorKind::LimitExceeded, &format!("requested character {what} for encoding: {code}"));
        }
    }
    Ok(())
}

/// Fails if a text of a batch, or all of them together, would be too long.
fn sizes(sizes: impl Iterator<Item = Option<i64>>) -> Result<()> {
    let too_large = || fail(ErrorKind::LimitExceeded, "requested length too large");
    let mut all: i64 = 0;
    for size in sizes {
        match size {
            Some(size @ ..=MAX_BYTES) => all += size.max(0),
            _ => return too_large(),
        }
        if all > MAX_BATCH_BYTES {
            return too_large();
        }
    }
    Ok(())
}

/// Bytes of each text, 0 for NULL.
fn lengths(column: &dyn Array) -> Result<Vec<i64>> {
    let texts = cast(column, &DataType::Utf8View)?;
    let texts = texts.as_string_view();
    Ok(texts.iter().map(|text| text.map_or(0, |text| text.len() as i64)).collect())
}

fn repeat(args: &ScalarFunctionArgs) -> Result<()> {
    let columns = arrays(args)?;
    let times = integers(columns[1].as_ref())?;
    let lengths = lengths(columns[0].as_ref())?;
    sizes(lengths.iter().zip(&times).map(|(length, times)| length.checked_mul(times.unwrap_or(0).max(0))))
}

fn substr(args: &ScalarFunctionArgs) -> Result<()> {
    let columns = arrays(args)?;
    let Some(counts) = columns.get(2) else { return Ok(()) };
    match integers(counts.as_ref())?.iter().flatten().any(|count| count < 0) {
        true => fail(ErrorKind::Data(DataError::Substring), "negative substring length not allowed"),
        false => Ok(()),
    }
}

fn pad(args: &ScalarFunctionArgs) -> Result<()> {
    let columns = arrays(args)?;
    let wanted = integers(columns[1].as_ref())?;
    // What a character of the filling takes, of which there are as many as are wanted at most.
    let wide = match columns.get(2) {
        Some(filling) => {
            let filling = cast(filling, &DataType::Utf8View)?;
            filling.as_string_view().iter().flatten().any(|text| !text.is_ascii())
        }
        None => false,
    };
    let bytes = if wide { CHARACTER_BYTES } else { 1 };
    let lengths = lengths(columns[0].as_ref())?;
    sizes(lengths.iter().zip(&wanted).map(|(length, wanted)| {
        let wanted = wanted.unwrap_or(0).max(0);
        if wanted > MAX_BYTES / CHARACTER_BYTES {
            return None;
        }
        wanted.checked_mul(bytes)?.checked_add(*length)
    }))
}
