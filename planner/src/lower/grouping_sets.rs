//! `GROUPING SETS`, `ROLLUP` and `CUBE`: a `GROUP BY` for each set over one shared input, put together with NULL for what a set leaves out.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr, GroupingSet, lit};

use super::Lowering;
use super::expression::column;
use super::lowered::Lowered;
use super::map::{positional_all, project};
use super::union::united;
use crate::Result;
use crate::incremental::{AggregateCall, OrderedCall};

impl Lowering<'_> {
    /// Output: all that is grouped by, the set's number (see [`LogicalAggregate::INTERNAL_GROUPING_ID`]), the calls.
    pub(super) fn grouping_sets(
        &mut self,
        input: &Lowered,
        aggregate: &LogicalAggregate,
        set: &GroupingSet,
        calls: &[OrderedCall],
    ) -> Result<Lowered> {
        let members: Vec<Expr> = set.distinct_expr().into_iter().cloned().collect();
        let fields = aggregate.schema.fields();
        let types: Vec<&DataType> = fields.iter().map(|field| field.data_type()).collect();
        let mut seen: HashMap<u64, u64> = HashMap::new();
        let mut parts = Vec::new();
        for set in sets(set) {
            let mask = members.iter().fold(0, |mask, member| mask << 1 | u64::from(!set.contains(&member)));
            let before = seen.entry(mask).or_default();
            let number = mask | *before << members.len();
            *before += 1;
            parts.push(self.grouping_set(input, aggregate.input.schema(), &members, &set, number, calls, &types)?);
        }
        united(parts, &aggregate.schema)
    }

    #[expect(clippy::too_many_arguments, reason = "a loop's body")]
    fn grouping_set(
        &mut self,
        input: &Lowered,
        names: &DFSchema,
        members: &[Expr],
        set: &[&Expr],
        number: u64,
        calls: &[OrderedCall],
        types: &[&DataType],
    ) -> Result<Lowered> {
        let (member_types, call_types) = (&types[..members.len()], &types[members.len() + 1..]);
        let present: Vec<usize> = (0..members.len()).filter(|member| set.contains(&&members[*member])).collect();
        let keys: Vec<Expr> = present.iter().map(|member| members[*member].clone()).collect();
        let mut own_types: Vec<&DataType> = present.iter().map(|member| member_types[*member]).collect();
        own_types.extend(call_types);
        // The empty set is one row whatever is counted.
        let (mut calls, nothing) = (calls.to_vec(), DataType::Int64);
        if keys.is_empty() && calls.is_empty() {
            calls.push(count_rows());
            own_types.push(&nothing);
        }
        let grouped = self.grouped(input.clone(), positional_all(&keys, names)?, calls, &own_types)?;

        let mut output = Vec::with_capacity(types.len());
        for (member, data_type) in member_types.iter().enumerate() {
            output.push(match present.iter().position(|at| *at == member) {
                Some(at) => column(at),
                None => Expr::Literal(ScalarValue::try_new_null(data_type)?, None),
            });
        }
        let number = ScalarValue::UInt64(Some(number)).cast_to(types[members.len()])?;
        output.push(Expr::Literal(number, None));
        output.extend((0..call_types.len()).map(|call| column(present.len() + call)));
        project(grouped, output)
    }
}

/// The sets, each with what it groups by.
fn sets(set: &GroupingSet) -> Vec<Vec<&Expr>> {
    match set {
        GroupingSet::Rollup(members) => (0..=members.len()).rev().map(|n| members[..n].iter().collect()).collect(),
        GroupingSet::Cube(members) => (0..1_u64 << members.len())
            .map(|left_out| {
                members.iter().enumerate().filter(|(i, _)| left_out >> i & 1 == 0).map(|(_, m)| m).collect()
            })
            .collect(),
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
    }
}

fn count_rows() -> OrderedCall {
    let call = AggregateCall { function: count_udaf(), args: vec![lit(1_i64)], distinct: false, filter: None };
    OrderedCall { call, order: Vec::new(), ignore_nulls: false }
}
