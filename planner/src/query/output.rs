//! The answer's columns: visible names, and types that SQL has.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::sql_type::{NUMERIC_DEFAULT, SQL_TYPE_KEY};
use catalog::{Column, SqlType};
use datafusion::common::Column as PlanColumn;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::{Error, Result};

/// Brings the columns of a plan to Arrow types that SQL types have.
pub(crate) fn conform(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut expressions = Vec::with_capacity(plan.schema().fields().len());
    let mut changed = false;
    for (qualifier, field) in plan.schema().iter() {
        let column = Expr::Column(PlanColumn::new(qualifier.cloned(), field.name()));
        let target = carrier(field)?;
        if target == *field.data_type() {
            expressions.push(column);
        } else {
            changed = true;
            let cast = Expr::Cast(Cast::new(Box::new(column), target));
            expressions.push(cast.alias_qualified(qualifier.cloned(), field.name()));
        }
    }
    if changed { Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?) } else { Ok(plan) }
}

/// The Arrow type in which a column goes out.
fn carrier(field: &Field) -> Result<DataType> {
    Ok(match field.data_type() {
        DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal256(_, scale) => {
            DataType::Decimal128(38, *scale)
        }
        // Positions and row numbers: PostgreSQL has no unsigned types.
        DataType::UInt64 => DataType::Int64,
        DataType::List(element) => match carrier(element)? {
            same if same == *element.data_type() => field.data_type().clone(),
            other => DataType::List(Arc::new(element.as_ref().clone().with_data_type(other))),
        },
        _ => match SqlType::of_field(field) {
            Some(sql_type) => sql_type.data_type(),
            None => return Err(Error::unsupported(format!("a column of the type {}", field.data_type()))),
        },
    })
}

/// Visible names and types of a plan's columns.
pub(crate) fn schema(plan: &LogicalPlan, visible: &HashMap<String, String>) -> Result<SchemaRef> {
    let fields = plan.schema().fields().iter().map(|field| {
        let name = visible.get(field.name()).unwrap_or(field.name());
        let sql_type = answer_type(field)?;
        Ok(typed_field(name, &sql_type, field.data_type(), field.is_nullable()))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// A computed numeric has no precision to be told, nor has one whose sources disagree, as in a UNION: the client sees `numeric`, the Arrow type
/// keeps the scale.
fn answer_type(field: &Field) -> Result<SqlType> {
    let sql_type = SqlType::of_field(field)
        .ok_or_else(|| Error::unsupported(format!("a column of the type {}", field.data_type())))?;
    Ok(match (sql_type, field.data_type()) {
        (SqlType::Numeric(_), _) if !field.metadata().contains_key(SQL_TYPE_KEY) => SqlType::Numeric(None),
        (SqlType::Numeric(Some(told)), DataType::Decimal128(precision, scale)) if told != (*precision, *scale) => {
            SqlType::Numeric(None)
        }
        (other, _) => other,
    })
}

fn typed_field(name: &str, sql_type: &SqlType, data_type: &DataType, nullable: bool) -> Field {
    sql_type.field(name, nullable).with_data_type(data_type.clone())
}

/// The columns of a view over a query with this answer: a stored numeric has the precision and scale of its Arrow type.
pub(crate) fn columns(schema: &Schema) -> Result<Vec<Column>> {
    let column = |field: &Arc<Field>| {
        let sql_type = match (SqlType::of_field(field), field.data_type()) {
            (Some(SqlType::Numeric(None)), DataType::Decimal128(precision, scale))
                if (*precision, *scale) != NUMERIC_DEFAULT =>
            {
                SqlType::Numeric(Some((*precision, *scale)))
            }
            (Some(sql_type), _) => sql_type,
            (None, data_type) => return Err(Error::unsupported(format!("a column of the type {data_type}"))),
        };
        Ok(Column {
            name: field.name().clone(),
            sql_type,
            nullable: field.is_nullable(),
            default: None,
            generated: None,
        })
    };
    schema.fields().iter().map(column).collect()
}
