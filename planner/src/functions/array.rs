//! Bounds of arrays, as PostgreSQL counts: from 1, but the catalog's vectors from 0. Arrays have one dimension that counts here.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, Int32Builder, ListArray, ListBuilder, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use catalog::{CatalogType, SqlType};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, unexpected};
use crate::Error;
use crate::error::ErrorKind;

pub(super) fn functions() -> Vec<Definition> {
    let two = || Signature::any(2, Volatility::Immutable);
    vec![
        Definition::new(
            "array_lower",
            two(),
            |fields| of_array("array_lower", fields, SqlType::Integer),
            |args| bound(args, |first, _| first),
        ),
        Definition::new(
            "array_upper",
            two(),
            |fields| of_array("array_upper", fields, SqlType::Integer),
            |args| bound(args, |first, length| first + length - 1),
        ),
        // What ARRAY(SELECT …) goes through: an aggregate of no rows is NULL.
        Definition::new("array_or_empty", Signature::any(1, Volatility::Immutable), of_lists, or_empty),
        // What generate_subscripts goes through.
        Definition::new(
            "array_subscripts",
            Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Immutable),
            |fields| of_array("generate_subscripts", fields, SqlType::Array(Box::new(SqlType::Integer))),
            subscripts,
        ),
    ]
}

fn of_array(function: &str, fields: &[FieldRef], result: SqlType) -> Result<SqlType> {
    if matches!(fields[0].data_type(), DataType::List(_)) && fields[1].data_type().is_integer() {
        return Ok(result);
    }
    let names = fields
        .iter()
        .map(|field| SqlType::of_field(field).map_or_else(|| "unknown".to_owned(), |known| known.to_string()));
    let names = names.collect::<Vec<_>>().join(", ");
    Err(Error::new(ErrorKind::UndefinedFunction, format!("function {function}({names}) does not exist")).into())
}

fn of_lists(fields: &[FieldRef]) -> Result<SqlType> {
    match SqlType::of_field(&fields[0]) {
        Some(array @ SqlType::Array(_)) => Ok(array),
        _ => Err(Error::internal("ARRAY(SELECT …) gives no array").into()),
    }
}

/// Empty arrays in the place of NULL.
fn or_empty(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let Some(lists) = columns[0].as_list_opt::<i32>() else { return unexpected("ARRAY(SELECT …)") };
    let lengths = (0..lists.len()).map(|row| if lists.is_valid(row) { lists.value_length(row) as usize } else { 0 });
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let rows = (0..lists.len()).filter(|row| lists.is_valid(*row));
    let kept = rows.flat_map(|row| lists.value_offsets()[row] as u32..lists.value_offsets()[row + 1] as u32);
    let items = arrow::compute::take(lists.values(), &kept.collect::<UInt32Array>(), None)?;
    let DataType::List(item) = args.return_field.data_type() else { return unexpected("ARRAY(SELECT …)") };
    let items = cast(&items, item.data_type())?;
    columnar(args, Arc::new(ListArray::try_new(item.clone(), offsets, items, None)?))
}

/// First index and length of each array, `None` where it is empty, NULL, or has no such dimension.
fn extents(args: &ScalarFunctionArgs) -> Result<Vec<Option<(i32, i32)>>> {
    let columns = arrays(args)?;
    let Some(lists) = columns[0].as_list_opt::<i32>() else { return unexpected("an array's bounds") };
    let dimensions = cast(&columns[1], &DataType::Int64)?;
    let dimensions = dimensions.as_primitive::<Int64Type>();
    let vector = matches!(
        SqlType::of_field(&args.arg_fields[0]),
        Some(SqlType::Catalog(CatalogType::Int2Vector | CatalogType::OidVector))
    );
    let first = i32::from(!vector);
    let extent = |row: usize| {
        let present = lists.is_valid(row) && dimensions.is_valid(row) && dimensions.value(row) == 1;
        let length = if present { lists.value_length(row) } else { 0 };
        (length > 0).then_some((first, length))
    };
    Ok((0..lists.len()).map(extent).collect())
}

fn bound(args: &ScalarFunctionArgs, of: fn(i32, i32) -> i32) -> Result<ColumnarValue> {
    let bounds: Int32Array =
        extents(args)?.into_iter().map(|extent| extent.map(|(first, length)| of(first, length))).collect();
    columnar(args, Arc::new(bounds))
}

fn subscripts(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let mut builder = ListBuilder::new(Int32Builder::new());
    let backwards = args.args.get(2).map(|backwards| backwards.to_array(args.number_rows)).transpose()?;
    let backwards = backwards.as_ref().map(|backwards| cast(backwards, &DataType::Boolean)).transpose()?;
    let backwards = backwards.as_ref().map(|backwards| backwards.as_boolean());
    for (row, extent) in extents(args)?.into_iter().enumerate() {
        let backwards = backwards.map(|backwards| backwards.is_valid(row).then(|| backwards.value(row)));
        if let Some((first, length)) = extent {
            let indexes = first..first + length;
            match backwards {
                None | Some(Some(false)) => indexes.for_each(|index| builder.values().append_value(index)),
                Some(Some(true)) => indexes.rev().for_each(|index| builder.values().append_value(index)),
                Some(None) => {}
            }
        }
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}
