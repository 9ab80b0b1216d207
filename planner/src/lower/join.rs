//! Joins, and the subqueries that the optimizer has turned into joins.

use std::collections::BTreeSet;

use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Cast, Expr, Join as LogicalJoin, lit};

use super::distinct::distinct;
use super::expiry::expiries;
use super::expression::{column, column_index, numbered_schema, positional, types_over};
use super::lowered::{Class, ColumnInfo, Lowered, both_bounds};
use super::map::{project, restrict};
use super::temporal;
use super::union::united;
use super::{Lowering, shared};
use crate::incremental::{Join, JoinKind, Node, OnError, Union};
use crate::{Error, Result};

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &LogicalJoin) -> Result<Lowered> {
        let left = self.node(&join.left)?;
        let right = self.node(&join.right)?;
        let (left_names, right_names) = (join.left.schema(), join.right.schema());
        let pair = |(l, r): &(Expr, Expr)| {
            of_one_type((positional(l, left_names)?, positional(r, right_names)?), &left, &right)
        };
        let mut on = join.on.iter().map(pair).collect::<Result<Vec<_>>>()?;
        // Of an inner join a condition on the clock is one on its rows.
        let (filter, temporal) = match &join.filter {
            Some(filter) if join.join_type == JoinType::Inner => temporal::split(filter),
            filter => (filter.clone(), Vec::new()),
        };
        let residual = residual(filter.as_ref(), left_names, right_names)?;

        let all_meet = on.is_empty();
        if all_meet {
            on.push((lit(true), lit(true)));
        }
        let null_equal = join.null_equality == NullEquality::NullEqualsNull;
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            JoinType::Right => JoinKind::Right,
            JoinType::Full => JoinKind::Full,
            JoinType::LeftSemi => JoinKind::LeftSemi,
            JoinType::LeftAnti => JoinKind::LeftAnti,
            JoinType::RightSemi => JoinKind::RightSemi,
            JoinType::RightAnti => JoinKind::RightAnti,
            JoinType::LeftMark if residual.is_none() && !null_equal => return mark(left, right, on),
            JoinType::LeftMark => {
                let marked = |kind, mark: bool| {
                    let part = joined(&left, &right, kind, on.clone(), null_equal, residual.clone());
                    project(part, (0..left.columns.len()).map(column).chain([lit(mark)]).collect())
                };
                // Each left row is in one of the two, so that they have no row in common.
                let parts = vec![marked(JoinKind::LeftSemi, true)?, marked(JoinKind::LeftAnti, false)?];
                return united(parts, &join.schema);
            }
            JoinType::RightMark => return Err(Error::internal("a mark of right rows")),
        };
        if join.null_aware && on.iter().any(|(l, r)| may_be_null(l, &left) || may_be_null(r, &right)) {
            return match (on.as_slice(), &residual) {
                ([key], None) => not_in(&left, &right, key),
                _ => Err(Error::unsupported(
                    "NOT IN over a column that may be NULL, with a further condition, in a materialized view",
                )
                .with_hint("Use NOT EXISTS, or add IS NOT NULL conditions on both sides.")),
            };
        }
        if all_meet && self.is_nested_loop(&left, &right, kind, residual.as_ref()) {
            on.clear();
        }
        temporal::filter(joined(&left, &right, kind, on, null_equal, residual), &temporal, &join.schema)
    }

    /// Whether a join without an equality is worth an operator of its own: not if of one side there is one row at most, or only whether
    /// it has rows is asked.
    fn is_nested_loop(&mut self, left: &Lowered, right: &Lowered, kind: JoinKind, residual: Option<&Expr>) -> bool {
        let asked = residual.is_none() && matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti);
        if left.is_single_row() || right.is_single_row() || asked {
            return false;
        }
        true
    }
}

/// Two keys that are compared, cast where their types differ: the optimizer makes keys of conditions that it has from NULL-safe comparisons, too.
fn of_one_type((l, r): (Expr, Expr), left: &Lowered, right: &Lowered) -> Result<(Expr, Expr)> {
    let types = |side: &Lowered, key: &Expr| types_over(&side.node, std::slice::from_ref(key));
    let (left_types, right_types) = (types(left, &l)?, types(right, &r)?);
    let (Some(left_type), Some(right_type)) = (left_types.first(), right_types.first()) else { return Ok((l, r)) };
    if left_type == right_type {
        return Ok((l, r));
    }
    let common = comparison_coercion(left_type, right_type)
        .ok_or_else(|| Error::internal(format!("a join compares {left_type} with {right_type}")))?;
    let cast = |key: Expr| Expr::Cast(Cast::new(Box::new(key), common.clone()));
    Ok((cast(l), cast(r)))
}

/// A join of any kind; without pairs in `on`, all rows meet.
fn joined(
    left: &Lowered,
    right: &Lowered,
    kind: JoinKind,
    on: Vec<(Expr, Expr)>,
    null_equal: bool,
    residual: Option<Expr>,
) -> Lowered {
    let mut output = Sides::new(left, right, &on, null_equal).join(kind);
    let fields = left.node.schema().fields().iter().chain(right.node.schema().fields());
    let types = fields.map(|field| field.data_type());
    let schema = match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => numbered_schema(types.take(left.columns.len())),
        JoinKind::RightSemi | JoinKind::RightAnti => numbered_schema(types.skip(left.columns.len())),
        _ => numbered_schema(types),
    };
    let (left_expiry, right_expiry) = expiries(left, right, kind, &on, residual.as_ref());
    let (left, right) = (left.node.clone(), right.node.clone());
    let on_error = OnError::default();
    let join = Join { left, right, kind, on, null_equal, residual, left_expiry, right_expiry, on_error, schema };
    output.node = shared(Node::Join(join));
    output
}

/// `x NOT IN (SELECT y …)` where NULLs may be: a row is there if its `x` is no NULL and meets no `y`, and no `y` is NULL; or if there is no `y`
/// at all.
fn not_in(left: &Lowered, right: &Lowered, (x, y): &(Expr, Expr)) -> Result<Lowered> {
    let anti = |left: &Lowered, right: &Lowered, on: (Expr, Expr)| {
        joined(left, right, JoinKind::LeftAnti, vec![on], false, None)
    };
    let all = || (lit(true), lit(true));
    let valid = restrict(left.clone(), x.clone().is_not_null())?;
    let unmet = anti(&valid, right, (x.clone(), y.clone()));
    let without_null = anti(&unmet, &restrict(right.clone(), y.clone().is_null())?, all());
    let without_any = anti(&restrict(left.clone(), x.clone().is_null())?, right, all());
    let schema = left.node.schema().clone();
    let inputs = vec![without_null.node, without_any.node];
    // Both are parts of the left side, which have no row in common.
    Ok(Lowered { node: shared(Node::Union(Union { inputs, schema })), ..left.clone() })
}

/// Left rows with a column more that says whether there is a match: an outer join with the right side's keys, each once.
fn mark(left: Lowered, right: Lowered, on: Vec<(Expr, Expr)>) -> Result<Lowered> {
    let width = left.columns.len();
    let (left_keys, right_keys): (Vec<_>, Vec<_>) = on.into_iter().unzip();
    let keys = right_keys.len();
    let right = distinct(project(right, right_keys)?)?;
    let right = project(right, (0..keys).map(column).chain([lit(true)]).collect())?;
    let on = left_keys.into_iter().zip((0..keys).map(column)).collect();
    let joined = joined(&left, &right, JoinKind::Left, on, false, None);
    let mark = column(width + keys).is_not_null();
    project(joined, (0..width).map(column).chain([mark]).collect())
}

/// The condition over the columns of both sides.
fn residual(filter: Option<&Expr>, left: &DFSchema, right: &DFSchema) -> Result<Option<Expr>> {
    match filter {
        None | Some(Expr::Literal(datafusion::scalar::ScalarValue::Boolean(Some(true)), _)) => Ok(None),
        Some(filter) => Ok(Some(positional(filter, &left.join(right)?)?)),
    }
}

fn may_be_null(key: &Expr, side: &Lowered) -> bool {
    column_index(key).is_none_or(|index| !side.columns[index].not_null)
}

/// What is known about the columns of both sides, with classes that don't clash.
struct Sides {
    left: Vec<ColumnInfo>,
    right: Vec<ColumnInfo>,
    left_keys: Vec<BTreeSet<Class>>,
    right_keys: Vec<BTreeSet<Class>>,
    /// A left row has at most one match.
    one_right: bool,
    /// A right row has at most one match.
    one_left: bool,
    /// Plain columns that are equal in a match.
    pairs: Vec<(usize, usize)>,
    null_equal: bool,
    /// Classes of columns that are never NULL before the join.
    not_null: BTreeSet<Class>,
    any: Lowered,
}

impl Sides {
    fn new(left: &Lowered, right: &Lowered, on: &[(Expr, Expr)], null_equal: bool) -> Self {
        let shift = left.free_class();
        let shifted = |column: &ColumnInfo| ColumnInfo { class: column.class + shift, ..column.clone() };
        let pairs: Vec<(usize, usize)> =
            on.iter().filter_map(|(l, r)| Some((column_index(l)?, column_index(r)?))).collect();
        // A key is fixed by the other side's row if all its columns are compared.
        let fixed = |side: &Lowered, columns: Vec<usize>| {
            let classes: BTreeSet<_> = columns.into_iter().map(|index| side.columns[index].class).collect();
            side.keys.iter().any(|key| key.is_subset(&classes))
        };
        Self {
            one_right: fixed(right, pairs.iter().map(|pair| pair.1).collect()),
            one_left: fixed(left, pairs.iter().map(|pair| pair.0).collect()),
            left: left.columns.clone(),
            right: right.columns.iter().map(shifted).collect(),
            left_keys: left.keys.clone(),
            right_keys: right.keys.iter().map(|key| key.iter().map(|class| class + shift).collect()).collect(),
            pairs,
            null_equal,
            not_null: BTreeSet::new(),
            any: left.clone(),
        }
    }

    /// The output of a join of that kind; its node is set by the caller.
    fn join(mut self, kind: JoinKind) -> Lowered {
        self.bound_times(kind);
        if kind == JoinKind::Inner {
            self.unite_pairs();
        }
        let never_null = self.left.iter().chain(&self.right).filter(|column| column.not_null);
        self.not_null = never_null.map(|column| column.class).collect();
        let nullable = |columns: &mut Vec<ColumnInfo>| columns.iter_mut().for_each(|column| column.not_null = false);
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            nullable(&mut self.left);
        }
        if matches!(kind, JoinKind::Left | JoinKind::Full) {
            nullable(&mut self.right);
        }
        let mut output = self.any.clone();
        let keys = match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => {
                output.columns = self.left;
                self.left_keys
            }
            JoinKind::RightSemi | JoinKind::RightAnti => {
                output.columns = self.right;
                self.right_keys
            }
            _ => {
                output.columns = self.left.iter().chain(&self.right).cloned().collect();
                self.keys_of_pairs(kind)
            }
        };
        output.set_keys(keys);
        output
    }

    fn keys_of_pairs(&self, kind: JoinKind) -> Vec<BTreeSet<Class>> {
        let both = self.left_keys.iter().flat_map(|l| self.right_keys.iter().map(move |r| l | r));
        let mut keys: Vec<_> = both.collect();
        if kind == JoinKind::Full {
            // A row of either side without a match, whose key is NULL, would be like such a row of the other side.
            keys.retain(|key| !key.is_disjoint(&self.not_null));
        }
        if self.one_right && matches!(kind, JoinKind::Inner | JoinKind::Left) {
            keys.extend(self.left_keys.iter().cloned());
        }
        if self.one_left && matches!(kind, JoinKind::Inner | JoinKind::Right) {
            keys.extend(self.right_keys.iter().cloned());
        }
        keys
    }

    /// A match may come late, so time goes on only by columns that both sides share: a row of either side with a time that has passed
    /// finds no new match.
    fn bound_times(&mut self, kind: JoinKind) {
        let mut left_times = vec![None; self.left.len()];
        let mut right_times = vec![None; self.right.len()];
        for (l, r) in &self.pairs {
            let bound = both_bounds(self.left[*l].time.as_ref(), self.right[*r].time.as_ref());
            left_times[*l] = bound.clone();
            right_times[*r] = bound;
        }
        // The columns of a side that may be filled up with NULL say nothing.
        let keep_left = !matches!(kind, JoinKind::Right | JoinKind::Full);
        let keep_right = !matches!(kind, JoinKind::Left | JoinKind::Full);
        for (column, time) in self.left.iter_mut().zip(left_times) {
            column.time = time.filter(|_| keep_left);
        }
        for (column, time) in self.right.iter_mut().zip(right_times) {
            column.time = time.filter(|_| keep_right);
        }
    }

    /// In an inner join the two columns of a pair are equal, and (unless NULLs are) not NULL.
    fn unite_pairs(&mut self) {
        for (l, r) in self.pairs.clone() {
            self.left[l].not_null |= !self.null_equal;
            self.right[r].not_null |= !self.null_equal;
            let (kept, gone) = (self.left[l].class, self.right[r].class);
            let columns = self.left.iter_mut().chain(&mut self.right);
            columns.filter(|column| column.class == gone).for_each(|column| column.class = kept);
            for key in self.left_keys.iter_mut().chain(&mut self.right_keys) {
                if key.remove(&gone) {
                    key.insert(kept);
                }
            }
        }
    }
}
