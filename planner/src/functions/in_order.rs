//! `array_agg` and `string_agg`: DataFusion's, but that each call brings its values into its order by itself. DataFusion sorts the rows below once, for the calls whose
//! order that is, and turns around those whose order is the opposite: with DISTINCT, it then forgets to turn the result back; and where two orders have
//! nothing in common, it gives up.
//!
//! DISTINCT without ORDER BY gives the values in ascending order, NULL last, as PostgreSQL does.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, Signature,
};
use datafusion::physical_expr::PhysicalSortExpr;

/// Both, as SQL calls them.
pub(super) fn functions() -> impl Iterator<Item = Arc<AggregateUDF>> {
    [array_agg_udaf(), string_agg_udaf()].into_iter().map(|inner| Arc::new(AggregateUDF::from(InOrder { inner })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for InOrder {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.exprs.first() {
            Some(value) if args.is_distinct && args.order_bys.is_empty() => {
                let ascending = SortOptions { descending: false, nulls_first: false };
                let order_bys = &[PhysicalSortExpr::new(value.clone(), ascending)];
                self.inner.accumulator(AccumulatorArgs { order_bys, ..args })
            }
            _ => self.inner.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    /// No order of the rows is asked for.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    /// An order that the rows have isn't relied upon: DataFusion reports the opposite one too.
    fn with_beneficial_ordering(self: Arc<Self>, _beneficial: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
