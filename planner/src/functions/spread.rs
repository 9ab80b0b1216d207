//! `stddev` and `variance`: DataFusion's of floating point numbers; of integers and numerics they are exact until they are read, and numeric, as in
//! PostgreSQL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::{stddev, variance};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};

use super::definition::undefined;
use super::wide::Wide;
use crate::Error;
use crate::error::ErrorKind;

/// Digits behind the point of a spread of numerics.
pub const SPREAD_SCALE: i8 = 16;

/// The aggregates, as SQL calls them.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let inner = [
        (stddev::stddev_udaf(), Spread { sample: true, root: true }),
        (stddev::stddev_pop_udaf(), Spread { sample: false, root: true }),
        (variance::var_samp_udaf(), Spread { sample: true, root: false }),
        (variance::var_pop_udaf(), Spread { sample: false, root: false }),
    ];
    let own = |(inner, spread)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::from(SpreadFunction { inner, spread, signature }))
    };
    inner.into_iter().map(own).collect()
}

/// Which of the four spreads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    /// Over one less than the count (`var_samp`), rather than the count (`var_pop`).
    pub sample: bool,
    /// The square root (`stddev`).
    pub root: bool,
}

/// How many numbers there are, their sum and the sum of their squares: of integers, those of numerics without the point. Whatever is added can be
/// taken away again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// The numbers.
    pub count: i64,
    sum: Wide,
    squares: Wide,
}

impl Moments {
    /// Adds a number so many times; takes it away where that is below zero.
    #[inline]
    pub fn add(&mut self, value: i128, weight: i64) {
        let (magnitude, times) = (value.unsigned_abs(), u128::from(weight.unsigned_abs()));
        let signed = |term: Wide, negative: bool| if negative { term.negated() } else { term };
        let value_term = Wide::product(magnitude, times);
        let square = Wide::product(magnitude, magnitude);
        let square_term = if times == 1 { square } else { square.times(&Wide::product(times, 1)) };
        self.count += weight;
        self.sum = self.sum.plus(&signed(value_term, (value < 0) != (weight < 0)));
        self.squares = self.squares.plus(&signed(square_term, weight < 0));
    }

    /// Adds all that another has.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.plus(&other.sum);
        self.squares = self.squares.plus(&other.squares);
    }

    /// The spread with [`SPREAD_SCALE`] digits behind the point, of numbers with `scale` of them. `None`: there is none of so few numbers.
    ///
    /// # Errors
    /// If it has more than 38 digits.
    pub fn spread(&self, spread: Spread, scale: u32) -> std::result::Result<Option<i128>, OutOfRange> {
        let divisor = if spread.sample { self.count - 1 } else { self.count };
        let (Ok(count), Ok(divisor @ 1..)) = (u64::try_from(self.count), u64::try_from(divisor)) else {
            return Ok(None);
        };
        // (n * sum of squares - square of sum) over n * divisor.
        let scaled = self.squares.times(&Wide::product(u128::from(count), 1));
        let numerator = scaled.minus(&self.sum.squared());
        // A root needs twice the digits.
        let digits = u32::from(SPREAD_SCALE.unsigned_abs());
        let to = if spread.root { 2 * digits } else { digits };
        let variance = match to.checked_sub(2 * scale) {
            Some(more) => numerator.times_ten_to(more).over(&[count, divisor]),
            None => {
                let less = 2 * scale - to;
                let full = std::iter::repeat_n(10_u64.pow(19), (less / 19) as usize);
                let tens = full.chain(std::iter::once(10_u64.pow(less % 19)));
                numerator.over(&tens.chain([count, divisor]).collect::<Vec<_>>())
            }
        };
        let result = if spread.root { variance.root() } else { variance };
        let limit = 10_i128.pow(u32::from(DECIMAL128_MAX_PRECISION));
        match result.to_i128() {
            Some(result) if result < limit => Ok(Some(result)),
            _ => Err(OutOfRange),
        }
    }

    /// The two sums as bytes.
    pub fn sums_to_bytes(&self) -> [[u8; 64]; 2] {
        [self.sum.to_bytes(), self.squares.to_bytes()]
    }

    /// Of what [`Moments::sums_to_bytes`] gave.
    pub fn from_bytes(count: i64, sum: &[u8; 64], squares: &[u8; 64]) -> Self {
        Self { count, sum: Wide::from_bytes(sum), squares: Wide::from_bytes(squares) }
    }
}

/// A result has more digits than a numeric holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

#[derive(Debug, PartialEq, Eq, Hash)]
struct SpreadFunction {
    inner: Arc<AggregateUDF>,
    spread: Spread,
    signature: Signature,
}

/// Whether a result is of exact numbers.
fn is_exact(result: &DataType) -> bool {
    matches!(result, DataType::Decimal128(..))
}

impl AggregateUDFImpl for SpreadFunction {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [given] = arg_types else { return undefined(self.name(), &fields(arg_types)) };
        Ok(vec![match given {
            DataType::Decimal128(..) => given.clone(),
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal256(_, scale) => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale)
            }
            integer if integer.is_integer() => DataType::Int64,
            DataType::Null | DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
            _ => return undefined(self.name(), &fields(arg_types)),
        }])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match arg_types {
            [given] if given.is_integer() || given.is_decimal() => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION, SPREAD_SCALE)
            }
            _ => DataType::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !is_exact(args.return_type()) {
            return self.inner.accumulator(args);
        }
        if args.is_distinct {
            return Err(Error::unsupported(format!("{}(DISTINCT …) here", self.name())).into());
        }
        Ok(Box::new(Exact { moments: Moments::default(), scale: 0, spread: self.spread }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !is_exact(args.return_type()) {
            return self.inner.state_fields(args);
        }
        let field = |name, data_type| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        Ok(vec![
            field("count", DataType::Int64),
            field("scale", DataType::Int64),
            field("sum", DataType::Binary),
            field("squares", DataType::Binary),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !is_exact(args.return_type()) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }
}

fn fields(types: &[DataType]) -> Vec<FieldRef> {
    types.iter().map(|data_type| Arc::new(Field::new("", data_type.clone(), true))).collect()
}

/// A spread of exact numbers.
#[derive(Debug)]
struct Exact {
    moments: Moments,
    /// Digits behind the point of the numbers.
    scale: u32,
    spread: Spread,
}

impl Exact {
    fn change(&mut self, values: &ArrayRef, weight: i64) -> Result<()> {
        match values.data_type() {
            DataType::Decimal128(_, scale) => {
                self.scale = u32::from(scale.max(&0).unsigned_abs());
                let values = values.as_primitive::<Decimal128Type>();
                values.iter().flatten().for_each(|value| self.moments.add(value, weight));
            }
            _ => {
                let values = cast(values, &DataType::Int64)?;
                let values = values.as_primitive::<Int64Type>();
                values.iter().flatten().for_each(|value| self.moments.add(i128::from(value), weight));
            }
        }
        Ok(())
    }
}

impl Accumulator for Exact {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [counts, scales, sums, squares] = states else { return internal_err!("a spread has four states") };
        let (counts, scales): (&Int64Array, &Int64Array) = (counts.as_primitive(), scales.as_primitive());
        let (sums, squares): (&BinaryArray, &BinaryArray) = (sums.as_binary(), squares.as_binary());
        for row in (0..counts.len()).filter(|row| counts.is_valid(*row)) {
            let (Ok(sum), Ok(squares)) = (sums.value(row).try_into(), squares.value(row).try_into()) else {
                return internal_err!("the state of a spread has another length");
            };
            self.moments.merge(&Moments::from_bytes(counts.value(row), sum, squares));
            self.scale = self.scale.max(scales.value(row).unsigned_abs() as u32);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let [sum, squares] = self.moments.sums_to_bytes().map(|bytes| ScalarValue::Binary(Some(bytes.to_vec())));
        Ok(vec![
            ScalarValue::Int64(Some(self.moments.count)),
            ScalarValue::Int64(Some(i64::from(self.scale))),
            sum,
            squares,
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.moments.spread(self.spread, self.scale) {
            Ok(spread) => Ok(ScalarValue::Decimal128(spread, DECIMAL128_MAX_PRECISION, SPREAD_SCALE)),
            Err(OutOfRange) => Err(Error::new(ErrorKind::OutOfRange, "numeric field overflow").into()),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIANCE: Spread = Spread { sample: true, root: false };
    const DEVIATION: Spread = Spread { sample: true, root: true };

    fn of(values: &[i128]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value, 1));
        moments
    }

    #[test]
    fn spreads_have_postgresqls_digits() {
        let moments = of(&[1, 2, 3, 4]);
        assert_eq!(moments.spread(VARIANCE, 0), Ok(Some(16_666_666_666_666_667)));
        assert_eq!(moments.spread(DEVIATION, 0), Ok(Some(12_909_944_487_358_056)));
        assert_eq!(moments.spread(Spread { sample: false, root: false }, 0), Ok(Some(12_500_000_000_000_000)));
        assert_eq!(of(&[150, 250, 375]).spread(DEVIATION, 2), Ok(Some(11_273_124_382_057_236)));
        assert_eq!(of(&[1, 2, 4]).spread(DEVIATION, 3), Ok(Some(15_275_252_316_519)));
        // 0.000…1 with 12 digits: more than half of the result's are the square's.
        assert_eq!(of(&[1_500_000_000_000, 2_500_000_000_000]).spread(VARIANCE, 12), Ok(Some(5_000_000_000_000_000)));
    }

    #[test]
    fn what_is_taken_away_leaves_nothing_behind() {
        let mut moments = of(&[5, -7]);
        let before = moments;
        moments.add(i128::MAX / 2, 3);
        moments.add(-i128::MAX / 2, 1);
        moments.add(i128::MAX / 2, -3);
        moments.add(-i128::MAX / 2, -1);
        assert_eq!(moments, before);
        let [sum, squares] = before.sums_to_bytes();
        assert_eq!(Moments::from_bytes(2, &sum, &squares), before);
        assert_eq!(of(&[1]).spread(VARIANCE, 0), Ok(None));
        assert_eq!(of(&[10_i128.pow(37), 0]).spread(VARIANCE, 0), Err(OutOfRange));
    }
}
