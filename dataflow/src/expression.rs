//! Expressions of a plan, ready to run on batches.
//!
//! A plan's expressions name columns by position (`c0`, `c1` …, see [`column_name`]); here they become DataFusion's physical
//! expressions over a batch's columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use delta::Delta;
use planner::incremental::column_name;

use crate::failures::Failures;
use crate::{Error, Result};

/// Expressions over the columns of one input, evaluated together.
#[derive(Debug)]
pub struct Expressions {
    /// Input columns that are needed, and the schema of just those.
    columns: Vec<usize>,
    schema: SchemaRef,
    expressions: Vec<Compiled>,
}

#[derive(Debug)]
enum Compiled {
    /// A column as it is.
    Column(usize),
    Computed {
        expression: Arc<dyn PhysicalExpr>,
        data_type: DataType,
    },
}

/// The position that a column's name says.
pub fn column_index(column: &Column) -> Result<usize> {
    let index = column.name.strip_prefix('c').and_then(|digits| digits.parse().ok());
    index.ok_or_else(|| Error::Broken(format!("a plan names the column {column}")))
}

/// The position of the column that an expression is nothing but.
pub fn plain_column(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Column(column) => column_index(column).ok(),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// Positions of the columns that expressions refer to.
pub fn columns_of<'a>(expressions: impl IntoIterator<Item = &'a Expr>) -> Result<BTreeSet<usize>> {
    let mut columns = BTreeSet::new();
    for expression in expressions {
        for column in expression.column_refs() {
            columns.insert(column_index(column)?);
        }
    }
    Ok(columns)
}

/// The schema under which a plan's expressions name columns by position; all are nullable.
pub fn positional(schema: &Schema) -> SchemaRef {
    let named = |(index, field): (usize, &arrow::datatypes::FieldRef)| {
        Field::clone(field).with_name(column_name(index)).with_nullable(true)
    };
    Arc::new(Schema::new(schema.fields().iter().enumerate().map(named).collect::<Vec<_>>()))
}

/// An expression over batches of a [`positional`] schema, for what DataFusion evaluates itself.
pub fn physical(schema: &SchemaRef, expression: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
    let names = DFSchema::try_from(schema.clone())?;
    let context = PhysicalPlanningContext::default();
    Ok(create_physical_expr(expression, &names, &properties(), &context)?)
}

fn properties() -> ExecutionProps {
    let mut properties = ExecutionProps::new();
    properties.config_options = Some(Arc::new(ConfigOptions::default()));
    properties
}

impl Expressions {
    /// Prepares `expressions` over rows of the `input` schema. Results are cast to `types`, where given, if they come out otherwise.
    pub fn new(input: &Schema, expressions: &[Expr], types: Option<&[DataType]>) -> Result<Self> {
        let columns: Vec<usize> = columns_of(expressions)?.into_iter().collect();
        let mut fields = Vec::with_capacity(columns.len());
        for column in &columns {
            let field = input.fields().get(*column).ok_or_else(|| Error::Broken(format!("no column {column}")))?;
            // A column that the plan calls not nullable may come with nulls (below an outer join).
            fields.push(Field::clone(field).with_name(column_name(*column)).with_nullable(true));
        }
        let schema = Arc::new(Schema::new(fields));
        let names = DFSchema::try_from(schema.clone())?;
        let properties = properties();
        let mut compiled = Vec::with_capacity(expressions.len());
        for (index, expression) in expressions.iter().enumerate() {
            let wanted = types.map(|types| &types[index]);
            if let Some(column) = plain_column(expression)
                && wanted.is_none_or(|wanted| wanted == input.field(column).data_type())
            {
                compiled.push(Compiled::Column(column));
                continue;
            }
            let context = PhysicalPlanningContext::default();
            let physical = create_physical_expr(expression, &names, &properties, &context)?;
            let data_type = match wanted {
                Some(wanted) => wanted.clone(),
                None => physical.data_type(&schema)?,
            };
            compiled.push(Compiled::Computed { expression: physical, data_type });
        }
        Ok(Self { columns, schema, expressions: compiled })
    }

    /// The columns of the input that are needed.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The column that an expression is nothing but.
    pub fn as_column(&self, index: usize) -> Option<usize> {
        match &self.expressions[index] {
            Compiled::Column(column) => Some(*column),
            Compiled::Computed { .. } => None,
        }
    }

    /// Types of the results.
    pub fn types(&self, input: &Schema) -> Vec<DataType> {
        let of = |compiled: &Compiled| match compiled {
            Compiled::Column(column) => input.field(*column).data_type().clone(),
            Compiled::Computed { data_type, .. } => data_type.clone(),
        };
        self.expressions.iter().map(of).collect()
    }

    /// A column per expression, with NULL where it failed on a row, such as by a division by zero; and what failed.
    pub fn evaluate(&self, input: &RecordBatch) -> Result<Evaluated> {
        self.evaluate_on(self.columns.iter().map(|column| input.column(*column).clone()).collect(), input.num_rows())
    }

    /// As [`Expressions::evaluate`], on the rows of `input` for which `keep` is true; other columns than those needed aren't touched.
    pub fn evaluate_filtered(&self, input: &RecordBatch, keep: &BooleanArray) -> Result<Evaluated> {
        let predicate = arrow::compute::FilterBuilder::new(keep).optimize().build();
        let filtered = |column: &usize| Ok(predicate.filter(input.column(*column))?);
        let columns: Result<Vec<ArrayRef>> = self.columns.iter().map(filtered).collect();
        self.evaluate_on(columns?, keep.true_count())
    }

    /// Evaluates on just the columns that are needed.
    fn evaluate_on(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<Evaluated> {
        let batch = batch_of(&self.schema, columns, rows)?;
        let mut failures = Failures::default();
        let columns = self.expressions.iter().map(|compiled| self.result(compiled, &batch, &mut failures));
        Ok(Evaluated { columns: columns.collect::<Result<_>>()?, failures })
    }

    fn result(&self, compiled: &Compiled, batch: &RecordBatch, failures: &mut Failures) -> Result<ArrayRef> {
        match compiled {
            Compiled::Column(column) => {
                let position = self.columns.binary_search(column).expect("every column that is used is among them");
                Ok(batch.column(position).clone())
            }
            Compiled::Computed { expression, data_type } => match compute(expression, data_type, batch) {
                Ok(array) => Ok(array),
                Err(_) => compute_in_parts(expression, data_type, batch, failures),
            },
        }
    }
}

/// What comes of evaluating expressions.
#[derive(Debug)]
pub struct Evaluated {
    /// A column per expression.
    pub columns: Vec<ArrayRef>,
    /// The rows on which one of them failed.
    pub failures: Failures,
}

fn compute(expression: &Arc<dyn PhysicalExpr>, data_type: &DataType, batch: &RecordBatch) -> Result<ArrayRef> {
    let array = expression.evaluate(batch)?.into_array(batch.num_rows())?;
    if array.data_type() == data_type { Ok(array) } else { Ok(cast(&array, data_type)?) }
}

/// Halves a batch until the rows that fail are alone.
fn compute_in_parts(
    expression: &Arc<dyn PhysicalExpr>,
    data_type: &DataType,
    batch: &RecordBatch,
    failures: &mut Failures,
) -> Result<ArrayRef> {
    let mut done: Vec<ArrayRef> = Vec::new();
    let mut open = vec![(0, batch.num_rows())];
    while let Some((start, rows)) = open.pop() {
        if rows == 0 {
            continue;
        }
        match compute(expression, data_type, &batch.slice(start, rows)) {
            Ok(array) => done.push(array),
            Err(error) if rows == 1 => {
                failures.add(start, error)?;
                done.push(new_null_array(data_type, 1));
            }
            Err(_) => {
                let half = rows / 2;
                open.push((start + half, rows - half));
                open.push((start, half));
            }
        }
    }
    if done.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    let parts: Vec<&dyn Array> = done.iter().map(|part| part.as_ref()).collect();
    Ok(concat(&parts)?)
}

/// A condition on rows.
#[derive(Debug)]
pub struct Condition(Expressions);

impl Condition {
    /// Prepares a condition over rows of the `input` schema.
    pub fn new(input: &Schema, condition: &Expr) -> Result<Self> {
        Ok(Self(Expressions::new(input, std::slice::from_ref(condition), Some(&[DataType::Boolean]))?))
    }

    /// For which rows it is true; null counts as false, and so does a row on which it failed.
    pub fn evaluate(&self, input: &RecordBatch) -> Result<(BooleanArray, Failures)> {
        let Evaluated { columns, failures } = self.0.evaluate(input)?;
        Ok((is_true(&columns[0]), failures))
    }

    /// The columns of the input that are needed.
    pub fn columns(&self) -> &[usize] {
        self.0.columns()
    }

    /// As [`Condition::evaluate`], given just the columns that are needed.
    pub fn evaluate_on(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<(BooleanArray, Failures)> {
        let Evaluated { columns, failures } = self.0.evaluate_on(columns, rows)?;
        Ok((is_true(&columns[0]), failures))
    }
}

/// Where a boolean column is true; null counts as false.
pub(crate) fn is_true(result: &ArrayRef) -> BooleanArray {
    let result = result.as_boolean();
    if result.null_count() == 0 { result.clone() } else { arrow::compute::prep_null_mask_filter(result) }
}

/// A batch of a schema whose nullability flags aren't checked: operators promise types, not the absence of nulls.
pub fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The schema with all columns nullable: what flows between operators.
pub fn nullable(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|field| field.is_nullable()) {
        return schema.clone();
    }
    let fields: Vec<_> = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The same delta under another schema of the same types.
pub fn with_schema(delta: &Delta, schema: &SchemaRef) -> Result<Delta> {
    if Arc::ptr_eq(&delta.schema(), schema) {
        return Ok(delta.clone());
    }
    let batch = batch_of(schema, delta.batch().columns().to_vec(), delta.num_rows())?;
    Ok(Delta::new(batch, delta.weights().cloned()))
}
