//! PostgreSQL's functions on arrays, where DataFusion's count, compare or look at NULL in another way.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, ListArray, ListBuilder, StringViewBuilder, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use arrow::row::{OwnedRow, RowConverter, SortField};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, Returns, arrays, columnar, undefined, unexpected};
use crate::Error;
use crate::error::{DataError, ErrorKind};

/// Elements that `array_fill` makes at most.
const MAX_ELEMENTS: i64 = 1 << 24;

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    let between = |least: usize, most: usize| {
        Signature::one_of((least..=most).map(TypeSignature::Any).collect(), Volatility::Immutable)
    };
    let integer: Returns = |fields| array_or("array function", fields, SqlType::Integer);
    vec![
        Definition::new("array_position", between(2, 3), integer, position),
        Definition::new(
            "array_positions",
            any(2),
            |fields| array_or("array_positions", fields, SqlType::Array(Box::new(SqlType::Integer))),
            positions,
        ),
        Definition::new("array_remove", any(2), of_first, |args| edited(args, false)),
        Definition::new("array_replace", any(3), of_first, |args| edited(args, true)),
        Definition::new("cardinality", any(1), integer, |args| numbers(args, |list| Some(count(list)))),
        Definition::new("array_ndims", any(1), integer, |args| {
            numbers(args, |list| (count(list) > 0).then(|| dimensions(list).len() as i32))
        }),
        Definition::new("array_length", any(2), integer, length),
        Definition::new("array_dims", any(1), |fields| array_or("array_dims", fields, SqlType::Text), dims),
        Definition::new("array_fill", any(2), |fields| Ok(filled_type(fields)), fill),
        Definition::new("trim_array", any(2), of_first, trim),
        Definition::new("array_cat", any(2), of_either, cat),
        // `array[i]`, `array[i][j]`.
        Definition::new(
            "array_subscript",
            Signature::new(TypeSignature::VariadicAny, Volatility::Immutable),
            |fields| match fields[0].data_type() {
                DataType::List(_) | DataType::Null => Ok(innermost(fields)),
                // Planned to members and elements, of what is jsonb once it is typed: until then CASE is a text.
                _ => Ok(SqlType::Jsonb),
            },
            subscript,
        ),
        // `array[i:j]`, a pair of bounds for each dimension; NULL where one is left out.
        Definition::new(
            "array_part",
            Signature::new(TypeSignature::VariadicAny, Volatility::Immutable),
            of_first,
            part,
        ),
        Definition::new("array_overlap", any(2), |_| Ok(SqlType::Boolean), |args| compared(args, overlaps)),
        Definition::new("array_contains", any(2), |_| Ok(SqlType::Boolean), |args| compared(args, contains)),
    ]
}

fn array_or(function: &str, fields: &[FieldRef], result: SqlType) -> Result<SqlType> {
    match fields[0].data_type() {
        DataType::List(_) | DataType::Null => Ok(result),
        _ => undefined(function, fields),
    }
}

fn of_first(fields: &[FieldRef]) -> Result<SqlType> {
    match SqlType::of_field(&fields[0]) {
        Some(array @ SqlType::Array(_)) => Ok(array),
        _ => undefined("array function", fields),
    }
}

/// The type of the array among two arguments of which one may be NULL.
fn of_either(fields: &[FieldRef]) -> Result<SqlType> {
    let arrays = fields.iter().filter(|field| matches!(field.data_type(), DataType::List(_)));
    match arrays.filter_map(|field| SqlType::of_field(field)).next() {
        Some(array) => Ok(array),
        None => undefined("array_cat", fields),
    }
}

fn filled_type(fields: &[FieldRef]) -> SqlType {
    SqlType::Array(Box::new(SqlType::of_field(&fields[0]).unwrap_or(SqlType::Text)))
}

fn innermost(fields: &[FieldRef]) -> SqlType {
    let mut sql_type = SqlType::of_field(&fields[0]).unwrap_or(SqlType::Text);
    while let SqlType::Array(element) = sql_type {
        sql_type = *element;
    }
    sql_type
}

fn lists(column: &ArrayRef) -> Result<ListArray> {
    match column.as_list_opt::<i32>() {
        Some(lists) => Ok(lists.clone()),
        None => unexpected("an array function"),
    }
}

/// What tells whether two values are the same, NULL among them.
struct Same(RowConverter, DataType);

impl Same {
    fn of(data_type: &DataType) -> Result<Self> {
        Ok(Self(RowConverter::new(vec![SortField::new(data_type.clone())])?, data_type.clone()))
    }

    fn rows(&mut self, values: &ArrayRef) -> Result<Vec<OwnedRow>> {
        let values = if *values.data_type() == self.1 { values.clone() } else { cast(values, &self.1)? };
        let rows = self.0.convert_columns(&[values])?;
        Ok(rows.iter().map(|row| row.owned()).collect())
    }
}

fn element_type(lists: &ListArray) -> DataType {
    lists.value_type()
}

fn several_dimensions<T>() -> Result<T> {
    let message = "searching for elements in multidimensional arrays is not supported";
    Err(Error::new(ErrorKind::Unsupported, message).into())
}

/// For each row the elements' keys and the sought one's.
fn searched(
    columns: &[ArrayRef],
    mut found: impl FnMut(usize, Option<(&[OwnedRow], &OwnedRow)>) -> Result<()>,
) -> Result<()> {
    let lists = lists(&columns[0])?;
    if matches!(element_type(&lists), DataType::List(_)) {
        return several_dimensions();
    }
    let mut same = Same::of(&element_type(&lists))?;
    let wanted = same.rows(&columns[1])?;
    let all = same.rows(lists.values())?;
    for (row, wanted) in wanted.iter().enumerate() {
        if lists.is_null(row) {
            found(row, None)?;
            continue;
        }
        let (first, after) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
        found(row, Some((&all[first..after], wanted)))?;
    }
    Ok(())
}

fn position(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let starts = columns.get(2).map(|starts| cast(starts, &DataType::Int64)).transpose()?;
    let mut builder = Int32Builder::new();
    searched(&columns, |row, elements| {
        let start = starts.as_ref().map_or(1, |starts| starts.as_primitive::<Int64Type>().value(row));
        let skipped = usize::try_from(start - 1).unwrap_or(0);
        builder.append_option(elements.and_then(|(elements, wanted)| {
            let at = elements.iter().skip(skipped).position(|element| element == wanted)?;
            Some((at + skipped) as i32 + 1)
        }));
        Ok(())
    })?;
    columnar(args, Arc::new(builder.finish()))
}

fn positions(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let mut builder = ListBuilder::new(Int32Builder::new()).with_field(Field::new("item", DataType::Int32, true));
    searched(&arrays(args)?, |_, elements| {
        for (at, _) in elements
            .iter()
            .flat_map(|(elements, wanted)| elements.iter().enumerate().filter(move |(_, element)| element == wanted))
        {
            builder.values().append_value(at as i32 + 1);
        }
        builder.append(elements.is_some());
        Ok(())
    })?;
    columnar(args, Arc::new(builder.finish()))
}

/// Without the elements that are a value, or with another one in their place.
fn edited(args: &ScalarFunctionArgs, replace: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let lists = lists(&columns[0])?;
    let values = lists.values();
    // What replaces stands behind the elements: one for each row.
    let pool = match columns.get(2) {
        Some(new) => concat(&[values.as_ref(), cast(new, values.data_type())?.as_ref()])?,
        None => values.clone(),
    };
    let (mut kept, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    searched(&columns, |row, elements| {
        let before = kept.len();
        if let Some((elements, wanted)) = elements {
            let first = lists.value_offsets()[row] as u32;
            for (at, element) in elements.iter().enumerate() {
                match (element == wanted, replace) {
                    (true, true) => kept.push((values.len() + row) as u32),
                    (true, false) => {}
                    (false, _) => kept.push(first + at as u32),
                }
            }
        }
        lengths.push(kept.len() - before);
        valid.push(elements.is_some());
        Ok(())
    })?;
    let items = take(&pool, &UInt32Array::from(kept), None)?;
    rebuilt(args, items, lengths, valid)
}

/// A column of arrays out of all their elements, in the type that the function returns.
fn rebuilt(args: &ScalarFunctionArgs, items: ArrayRef, lengths: Vec<usize>, valid: Vec<bool>) -> Result<ColumnarValue> {
    let DataType::List(item) = args.return_field.data_type() else { return unexpected("an array function") };
    let items = if items.data_type() == item.data_type() { items } else { cast(&items, item.data_type())? };
    let list = ListArray::try_new(
        item.clone(),
        OffsetBuffer::<i32>::from_lengths(lengths),
        items,
        Some(NullBuffer::from(valid)),
    )?;
    columnar(args, Arc::new(list))
}

/// How many elements there are, in all dimensions.
fn count(list: &ArrayRef) -> i32 {
    match list.as_list_opt::<i32>() {
        Some(inner) => (0..inner.len()).map(|row| count(&inner.value(row))).sum(),
        None => list.len() as i32,
    }
}

/// The length of each dimension.
fn dimensions(list: &ArrayRef) -> Vec<usize> {
    let mut lengths = vec![list.len()];
    if let Some(inner) = list.as_list_opt::<i32>()
        && !inner.is_empty()
    {
        lengths.extend(dimensions(&inner.value(0)));
    }
    lengths
}

fn numbers(args: &ScalarFunctionArgs, of: impl Fn(&ArrayRef) -> Option<i32>) -> Result<ColumnarValue> {
    let lists = lists(&arrays(args)?[0])?;
    let numbers = (0..lists.len()).map(|row| lists.is_valid(row).then(|| of(&lists.value(row))).flatten());
    columnar(args, Arc::new(numbers.collect::<arrow::array::Int32Array>()))
}

fn length(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let lists = lists(&columns[0])?;
    let wanted = cast(&columns[1], &DataType::Int64)?;
    let wanted = wanted.as_primitive::<Int64Type>();
    let lengths = (0..lists.len()).map(|row| {
        let known = lists.is_valid(row) && wanted.is_valid(row);
        let lengths = known.then(|| dimensions(&lists.value(row)))?;
        let at = usize::try_from(wanted.value(row) - 1).ok()?;
        lengths.get(at).filter(|_| lengths[0] > 0).map(|length| *length as i32)
    });
    columnar(args, Arc::new(lengths.collect::<arrow::array::Int32Array>()))
}

/// `[1:2][1:3]`
fn dims(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let lists = lists(&arrays(args)?[0])?;
    let mut builder = StringViewBuilder::new();
    for row in 0..lists.len() {
        let lengths = if lists.is_valid(row) { dimensions(&lists.value(row)) } else { vec![0] };
        let text = lengths.iter().map(|length| format!("[1:{length}]")).collect::<String>();
        builder.append_option((lengths[0] > 0).then_some(text));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `array_fill(value, ARRAY[length])`.
fn fill(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let lengths = lists(&columns[1])?;
    let (mut kept, mut counts, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..lengths.len() {
        let wanted = cast(&lengths.value(row), &DataType::Int64)?;
        let wanted = wanted.as_primitive::<Int64Type>();
        if wanted.null_count() > 0 {
            let kind = ErrorKind::Data(DataError::NullValue);
            return Err(Error::new(kind, "dimension values cannot be null").into());
        }
        let wanted = match wanted.values() as &[i64] {
            [] => 0,
            [length] => *length,
            _ => return Err(Error::unsupported("array_fill with several dimensions").into()),
        };
        if !(0..=MAX_ELEMENTS).contains(&wanted) || kept.len() as i64 + wanted > MAX_ELEMENTS {
            let message = format!("array size exceeds the maximum allowed ({MAX_ELEMENTS})");
            return Err(Error::new(ErrorKind::LimitExceeded, message).into());
        }
        kept.extend(std::iter::repeat_n(row as u32, wanted as usize));
        counts.push(wanted as usize);
        valid.push(lengths.is_valid(row));
    }
    rebuilt(args, take(&columns[0], &UInt32Array::from(kept), None)?, counts, valid)
}

/// Without its last elements.
fn trim(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let lists = lists(&columns[0])?;
    let cut = cast(&columns[1], &DataType::Int64)?;
    let cut = cut.as_primitive::<Int64Type>();
    let (mut kept, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..lists.len() {
        let is_valid = lists.is_valid(row) && cut.is_valid(row);
        let length = if is_valid { i64::from(lists.value_length(row)) } else { 0 };
        if is_valid && !(0..=length).contains(&cut.value(row)) {
            let message = format!("number of elements to trim must be between 0 and {length}");
            return Err(Error::new(ErrorKind::InvalidSubscript, message).into());
        }
        let left = if is_valid { (length - cut.value(row)) as u32 } else { 0 };
        let first = lists.value_offsets()[row] as u32;
        kept.extend(first..first + left);
        lengths.push(left as usize);
        valid.push(is_valid);
    }
    rebuilt(args, take(lists.values(), &UInt32Array::from(kept), None)?, lengths, valid)
}

/// Both arrays' elements; NULL counts as no array.
fn cat(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let target = args.return_field.data_type();
    let columns = columns.iter().map(|column| cast(column, target)).collect::<std::result::Result<Vec<_>, _>>()?;
    let (left, right) = (lists(&columns[0])?, lists(&columns[1])?);
    let pool = concat(&[left.values().as_ref(), right.values().as_ref()])?;
    let (mut kept, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    let behind = left.values().len() as u32;
    for row in 0..left.len() {
        let before = kept.len();
        for (list, moved) in [(&left, 0), (&right, behind)] {
            if list.is_valid(row) {
                kept.extend(list.value_offsets()[row] as u32 + moved..list.value_offsets()[row + 1] as u32 + moved);
            }
        }
        lengths.push(kept.len() - before);
        valid.push(left.is_valid(row) || right.is_valid(row));
    }
    rebuilt(args, take(&pool, &UInt32Array::from(kept), None)?, lengths, valid)
}

/// Numbers of a row; `None` if one is NULL.
/// An element; NULL outside of the array, and where there are fewer subscripts than dimensions, or more.
fn subscript(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let Some((first, subscripts)) = columns.split_first() else { return unexpected("a subscript") };
    let lists = lists(first)?;
    let subscripts =
        subscripts.iter().map(|column| cast(column, &DataType::Int64)).collect::<std::result::Result<Vec<_>, _>>()?;
    // What is inside of each dimension but the last, and the elements.
    let mut inner = Vec::new();
    let mut elements = lists.values().clone();
    while let Some(lists) = elements.as_list_opt::<i32>().cloned() {
        elements = lists.values().clone();
        inner.push(lists);
    }
    let places: UInt32Array = match subscripts.split_first() {
        Some((outer, rest)) if rest.len() == inner.len() => {
            let place = |row| {
                let mut place = item(&lists, row, number(outer, row)?)?;
                for (lists, subscript) in inner.iter().zip(rest) {
                    place = item(lists, place, number(subscript, row)?)?;
                }
                u32::try_from(place).ok()
            };
            (0..lists.len()).map(place).collect()
        }
        _ => UInt32Array::new_null(lists.len()),
    };
    columnar(args, cast(&take(&elements, &places, None)?, args.return_field.data_type())?)
}

/// Where among its elements a list has the one of this number, counted from 1.
fn item(lists: &ListArray, row: usize, number: i64) -> Option<usize> {
    let at = usize::try_from(number.checked_sub(1)?).ok()?;
    let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
    (lists.is_valid(row) && at < end - start).then_some(start + at)
}

fn number(column: &ArrayRef, row: usize) -> Option<i64> {
    let numbers = column.as_primitive_opt::<Int64Type>()?;
    numbers.is_valid(row).then(|| numbers.value(row))
}

/// A part of an array, in each dimension.
fn part(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let Some((first, bounds)) = columns.split_first() else { return unexpected("a slice") };
    let lists = lists(first)?;
    let bounds: Vec<Option<ArrayRef>> = bounds
        .iter()
        .map(|column| match column.data_type() {
            // Left out.
            DataType::Null => Ok(None),
            _ => cast(column, &DataType::Int64).map(Some),
        })
        .collect::<std::result::Result<_, _>>()?;
    let (mut items, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..lists.len() {
        let mut ranges = Vec::new();
        let mut any_null = lists.is_null(row);
        for pair in bounds.chunks(2) {
            let mut bound = |column: Option<&Option<ArrayRef>>, otherwise: i64| match column {
                Some(Some(column)) if column.is_null(row) => {
                    any_null = true;
                    otherwise
                }
                Some(Some(column)) => column.as_primitive::<Int64Type>().value(row),
                _ => otherwise,
            };
            ranges.push((bound(pair.first(), 1), bound(pair.get(1), i64::MAX)));
        }
        let part = if any_null { lists.values().slice(0, 0) } else { part_of(&lists.value(row), &ranges)? };
        lengths.push(part.len());
        valid.push(!any_null);
        items.push(part);
    }
    let items = match items.is_empty() {
        true => lists.values().slice(0, 0),
        false => concat(&items.iter().map(AsRef::as_ref).collect::<Vec<_>>())?,
    };
    rebuilt(args, items, lengths, valid)
}

fn part_of(values: &ArrayRef, ranges: &[(i64, i64)]) -> Result<ArrayRef> {
    let Some(((low, high), rest)) = ranges.split_first() else { return Ok(values.clone()) };
    let first = (*low).max(1) - 1;
    let after = (*high).min(values.len() as i64);
    if first >= after {
        return Ok(values.slice(0, 0));
    }
    let part = values.slice(first as usize, (after - first) as usize);
    let Some(inner) = part.as_list_opt::<i32>().filter(|_| !rest.is_empty()) else { return Ok(part) };
    let parts = (0..inner.len()).map(|row| part_of(&inner.value(row), rest)).collect::<Result<Vec<_>>>()?;
    let lengths = parts.iter().map(|part| part.len()).collect::<Vec<_>>();
    let DataType::List(item) = inner.data_type() else { return unexpected("a slice") };
    let items = concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
    Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::<i32>::from_lengths(lengths), items, None)?))
}

/// Compares the elements of two arrays; those that are NULL are `None`.
fn compared(
    args: &ScalarFunctionArgs,
    holds: impl Fn(&[Option<OwnedRow>], &[Option<OwnedRow>]) -> bool,
) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (left, right) = (lists(&columns[0])?, lists(&columns[1])?);
    let flat = |values: ArrayRef| {
        let mut values = values;
        while let Some(inner) = values.as_list_opt::<i32>() {
            values = inner.values().clone();
        }
        values
    };
    let mut same = Same::of(flat(left.values().clone()).data_type())?;
    let mut builder = BooleanBuilder::new();
    for row in 0..left.len() {
        if left.is_null(row) || right.is_null(row) {
            builder.append_null();
            continue;
        }
        let mut keys = |list: &ListArray| -> Result<Vec<Option<OwnedRow>>> {
            let values = flat(list.value(row));
            let rows = same.rows(&values)?;
            Ok(rows.into_iter().enumerate().map(|(at, key)| values.is_valid(at).then_some(key)).collect())
        };
        let (left, right) = (keys(&left)?, keys(&right)?);
        builder.append_value(holds(&left, &right));
    }
    columnar(args, Arc::new(builder.finish()))
}

fn overlaps(left: &[Option<OwnedRow>], right: &[Option<OwnedRow>]) -> bool {
    left.iter().flatten().any(|element| right.iter().flatten().any(|other| element == other))
}

fn contains(whole: &[Option<OwnedRow>], part: &[Option<OwnedRow>]) -> bool {
    part.iter().all(|wanted| match wanted {
        None => false,
        Some(wanted) => whole.iter().flatten().any(|element| element == wanted),
    })
}
