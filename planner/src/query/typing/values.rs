//! VALUES: its columns take the types of all rows together.

use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::SqlType;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Values};

use super::Typing;
use crate::query::operator::OWN_CAST;

impl Typing<'_> {
    pub(super) fn values(&self, values: Values, outer: &[DFSchemaRef]) -> Result<LogicalPlan> {
        let empty = DFSchema::empty();
        let rows = values
            .values
            .into_iter()
            .map(|row| row.into_iter().map(|expr| self.expr(expr, &empty, outer)).collect::<Result<Vec<_>>>());
        let mut rows = rows.collect::<Result<Vec<_>>>()?;
        let width = rows.first().map_or(0, Vec::len);
        for column in 0..width {
            let mut cells: Vec<Expr> = rows.iter_mut().map(|row| std::mem::take(&mut row[column])).collect();
            self.unify(&mut cells, &empty)?;
            one_numeric(&mut cells, &empty)?;
            for (row, cell) in rows.iter_mut().zip(cells) {
                row[column] = cell;
            }
        }
        LogicalPlanBuilder::values(rows)?.build()
    }
}

/// Numerics of several precisions in a column of VALUES become numerics of one.
fn one_numeric(cells: &mut [Expr], schema: &DFSchema) -> Result<()> {
    let mut widest: Option<(u8, i8)> = None;
    let mut fields = Vec::with_capacity(cells.len());
    for cell in cells.iter() {
        let (_, field) = cell.to_field(schema)?;
        match field.data_type() {
            DataType::Decimal128(precision, scale) => {
                let (whole, most) = widest.unwrap_or((0, 0));
                widest = Some((whole.max(precision.saturating_sub(scale.unsigned_abs())), most.max(*scale)));
            }
            data_type if data_type.is_integer() || data_type.is_null() => {}
            _ => return Ok(()),
        }
        fields.push(field);
    }
    let first = fields.first();
    let Some((whole, scale)) = widest else { return Ok(()) };
    if fields.iter().all(|field| Some(field.metadata()) == first.map(|first| first.metadata())) {
        return Ok(());
    }
    let precision = (whole + scale.unsigned_abs()).clamp(10, 38);
    let metadata = SqlType::Numeric(None).field("", true).metadata().clone();
    let field = Field::new(OWN_CAST, DataType::Decimal128(precision, scale), true).with_metadata(metadata);
    let field = FieldRef::from(field);
    for cell in cells {
        *cell = Expr::Cast(Cast::new_from_field(Box::new(std::mem::take(cell)), field.clone()));
    }
    Ok(())
}
