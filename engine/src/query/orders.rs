//! Which part of a stored relation the conditions of a query leave, in terms of its primary key or of an index.

use std::ops::Bound;

use arrow::datatypes::{DataType, Schema};
use catalog::{Catalog, Object};
use dataflow::{KeyRange, PublishedView, ViewForm};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use storage::StateId;

/// An order in which a relation is stored.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The index's name.
    pub(super) name: String,
    /// The index's table; `None`: the primary key.
    index: Option<StateId>,
    columns: Vec<usize>,
    /// Whether rows can be had in it. Those that are kept in blocks can only be found by it.
    pub(super) is_sorted: bool,
}

/// A part of an order.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) order: Order,
    pub(super) range: KeyRange,
    /// The conditions that make it, as they are shown.
    pub(super) conditions: Vec<String>,
}

impl Part {
    /// How much it says: columns that are given, then whether the next one is bounded.
    pub(super) fn strength(&self) -> (usize, usize) {
        let bounded = |bound: &Bound<ScalarValue>| usize::from(!matches!(bound, Bound::Unbounded));
        (self.range.equal.len(), bounded(&self.range.lower) + bounded(&self.range.upper))
    }

    /// The column by which its rows are ordered.
    pub(super) fn next_column(&self) -> Option<usize> {
        self.order.columns.get(self.range.equal.len()).copied()
    }
}

/// The orders of a stored relation.
pub(super) fn orders(object: &Object, catalog: &Catalog, view: &PublishedView) -> Vec<Order> {
    let mut orders = Vec::new();
    if let ViewForm::Keyed { key } = &view.layout().form
        && !key.is_empty()
    {
        let name = format!("{}_pkey", object.name.name);
        orders.push(Order { name, index: None, columns: key.clone(), is_sorted: true });
    }
    let is_sorted = view.layout().form != ViewForm::Log;
    for (index, definition) in catalog.indexes(object.id) {
        let state = StateId(definition.state_id);
        // One that this epoch doesn't have yet is of no use to it.
        if view.layout().indexes.iter().any(|layout| layout.state == state) {
            let (name, columns) = (index.name.name.clone(), definition.columns.clone());
            orders.push(Order { name, index: Some(state), columns, is_sorted });
        }
    }
    orders
}

/// What the conditions say of each column.
#[derive(Clone, Debug)]
pub(super) struct Bounds(Vec<Of>);

#[derive(Clone, Debug)]
struct Of {
    name: String,
    has_order: bool,
    equal: Option<ScalarValue>,
    lower: Bound<ScalarValue>,
    upper: Bound<ScalarValue>,
}

impl Bounds {
    /// Reads them off; conditions of other kinds say nothing.
    pub(super) fn new<'a>(conditions: impl IntoIterator<Item = &'a Expr>, schema: &Schema) -> Self {
        let of = |field: &arrow::datatypes::FieldRef| Of {
            name: field.name().clone(),
            has_order: has_order(field.data_type()),
            equal: None,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
        };
        let mut bounds = Self(schema.fields().iter().map(of).collect());
        for condition in conditions {
            match condition {
                Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                    bounds.add(left, *op, right, schema);
                    if let Some(swapped) = op.swap() {
                        bounds.add(right, swapped, left, schema);
                    }
                }
                Expr::Between(Between { expr, negated: false, low, high }) => {
                    bounds.add(expr, Operator::GtEq, low, schema);
                    bounds.add(expr, Operator::LtEq, high, schema);
                }
                _ => {}
            }
        }
        bounds
    }

    fn add(&mut self, column: &Expr, op: Operator, value: &Expr, schema: &Schema) {
        let (Expr::Column(column), Expr::Literal(value, _)) = (column, value) else { return };
        let Ok(index) = schema.index_of(&column.name) else { return };
        let wanted = schema.field(index).data_type();
        if !has_order(wanted) || value.is_null() {
            return;
        }
        let value = match value.data_type() {
            given if given == *wanted => value.clone(),
            given if is_text(&given) && is_text(wanted) => match value.cast_to(wanted) {
                Ok(value) => value,
                Err(_) => return,
            },
            _ => return,
        };
        let of = &mut self.0[index];
        match op {
            Operator::Eq => of.equal = Some(value),
            Operator::Gt => of.lower = tighter(&of.lower, Bound::Excluded(value), std::cmp::Ordering::Greater),
            Operator::GtEq => of.lower = tighter(&of.lower, Bound::Included(value), std::cmp::Ordering::Greater),
            Operator::Lt => of.upper = tighter(&of.upper, Bound::Excluded(value), std::cmp::Ordering::Less),
            Operator::LtEq => of.upper = tighter(&of.upper, Bound::Included(value), std::cmp::Ordering::Less),
            _ => {}
        }
    }

    /// The part of an order that they leave.
    pub(super) fn part(&self, order: &Order) -> Part {
        let mut given = order.columns.iter().take_while(|column| self.0[**column].equal.is_some()).count();
        // Rows are placed by the whole primary key: a part of it doesn't say where they are.
        if order.index.is_none() && given < order.columns.len() {
            given = 0;
        }
        let mut conditions = Vec::new();
        let equal = order.columns[..given].iter().filter_map(|column| self.0[*column].equal.clone());
        let equal: Vec<ScalarValue> = equal.collect();
        for (column, value) in order.columns.iter().zip(&equal) {
            conditions.push(format!("{} = {value}", self.0[*column].name));
        }
        let (mut lower, mut upper) = (Bound::Unbounded, Bound::Unbounded);
        if let Some(next) = order.columns.get(given) {
            let of = &self.0[*next];
            (lower, upper) = match &of.equal {
                Some(value) => (Bound::Included(value.clone()), Bound::Included(value.clone())),
                None => (of.lower.clone(), of.upper.clone()),
            };
            let shown = |bound: &Bound<ScalarValue>, excluded: &str, included: &str| match bound {
                Bound::Unbounded => None,
                Bound::Excluded(value) => Some(format!("{} {excluded} {value}", of.name)),
                Bound::Included(value) => Some(format!("{} {included} {value}", of.name)),
            };
            conditions.extend(shown(&lower, ">", ">="));
            conditions.extend(shown(&upper, "<", "<="));
        }
        Part { order: order.clone(), range: KeyRange { index: order.index, equal, lower, upper }, conditions }
    }

    /// The part that is likely to be the smallest, if any order has one.
    pub(super) fn best(&self, orders: &[Order]) -> Option<Part> {
        let parts = orders.iter().map(|order| self.part(order)).filter(|part| part.strength() > (0, 0));
        // Of equals the first.
        parts.rev().max_by_key(Part::strength)
    }

    /// The part of an order in which rows come by this column.
    pub(super) fn ordered_by(&self, orders: &[Order], column: usize) -> Option<Part> {
        let sorted = orders.iter().filter(|order| order.is_sorted && self.0[column].has_order);
        let parts = sorted.map(|order| self.part(order)).filter(|part| part.next_column() == Some(column));
        parts.rev().max_by_key(Part::strength)
    }
}

/// The bound that leaves less.
fn tighter(old: &Bound<ScalarValue>, new: Bound<ScalarValue>, less: std::cmp::Ordering) -> Bound<ScalarValue> {
    let value = |bound: &Bound<ScalarValue>| match bound {
        Bound::Unbounded => None,
        Bound::Included(value) | Bound::Excluded(value) => Some(value.clone()),
    };
    match (value(old), value(&new)) {
        (Some(old_value), Some(value)) => match value.partial_cmp(&old_value) {
            Some(ordering) if ordering == less || ordering.is_eq() && matches!(new, Bound::Excluded(_)) => new,
            _ => old.clone(),
        },
        _ => new,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether the bytes of stored keys stand in the order of the values. (Zeros and NaNs have signs for DataFusion, and none in a key.)
fn has_order(data_type: &DataType) -> bool {
    is_text(data_type)
        || data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}
