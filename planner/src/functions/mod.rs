//! The functions that SQL may call: DataFusion's, and PostgreSQL's where DataFusion has none or means something else.

mod array;
mod array_cast;
mod array_more;
mod average;
pub(crate) mod by_row;
mod bytes;
mod crypto;
mod definition;
pub(crate) mod excluding;
mod guarded;
mod in_order;
pub mod interval_total;
mod json;
mod json_build;
pub(crate) mod json_contains;
mod jsonb;
mod letters;
pub(crate) mod matched;
mod mode;
mod numeric;
mod numeric_more;
mod numeric_powers;
mod open_like;
pub(crate) mod pattern;
pub(crate) mod quantified;
mod record;
mod regex;
mod rows;
pub(crate) mod series;
mod session;
mod shared;
pub mod spread;
mod sum;
mod text;
mod text_more;
mod thresholds;
mod time;
mod time_bin;
mod time_make;
mod time_more;
mod to_char;
mod to_char_number;
mod to_char_read;
pub(crate) mod to_number;
mod uuid;
pub mod wide;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, WindowUDF};

use crate::Error;

/// What SQL may call, by name. Built once per engine; what is registered later wins.
#[derive(Clone, Debug)]
pub struct FunctionRegistry {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    pub(crate) expr_planners: Vec<Arc<dyn ExprPlanner>>,
    pub(crate) relation_planners: Vec<Arc<dyn RelationPlanner>>,
    pub(crate) type_planner: Arc<dyn TypePlanner>,
    pub(crate) options: Arc<ConfigOptions>,
    pub(crate) own: OwnFunctions,
}

/// This crate's functions and DataFusion's that it guards, which operators and casts are planned to whatever is registered later.
#[derive(Clone, Debug)]
pub(crate) struct OwnFunctions(Arc<HashMap<String, Arc<ScalarUDF>>>);

impl OwnFunctions {
    fn new() -> Self {
        let groups = [
            array::functions(),
            array_cast::functions(),
            array_more::functions(),
            bytes::functions(),
            crypto::functions(),
            json::functions(),
            letters::functions(),
            json_build::functions(),
            json_contains::functions(),
            jsonb::functions(),
            excluding::functions(),
            numeric::functions(),
            numeric_more::functions(),
            numeric_powers::functions(),
            quantified::functions(),
            record::functions(),
            regex::functions(),
            rows::functions(),
            series::functions(),
            session::functions(),
            text::functions(),
            open_like::functions(),
            text_more::functions(),
            time::functions(),
            time_bin::functions(),
            time_make::functions(),
            time_more::functions(),
            to_char::functions(),
            to_number::functions(),
            uuid::functions(),
        ];
        let functions = groups.into_iter().flatten().map(|definition| {
            let function: Arc<ScalarUDF> = definition.into();
            (function.name().to_owned(), function)
        });
        // `^` is planned to a call of power.
        let of_datafusion = guarded::functions().into_iter().chain(shared::functions(guarded::substring()));
        let guarded = of_datafusion.map(|function| (function.name().to_owned(), function));
        Self(Arc::new(guarded.chain(functions).collect()))
    }

    /// A call of one of them.
    pub(crate) fn call(&self, name: &str, args: Vec<Expr>) -> datafusion::common::Result<Expr> {
        match self.0.get(name) {
            Some(function) => Ok(function.call(args)),
            None => Err(Error::internal(format!("function {name} is not defined")).into()),
        }
    }
}

impl Default for FunctionRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl FunctionRegistry {
    /// DataFusion's functions and this crate's.
    pub fn new() -> Self {
        let mut options = ConfigOptions::default();
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.collect_spans = true;
        options.sql_parser.enable_options_value_normalization = false;
        options.execution.time_zone = Some("UTC".to_owned());
        let own = OwnFunctions::new();
        let mut expr_planners: Vec<Arc<dyn ExprPlanner>> =
            vec![Arc::new(crate::query::operator::Operators::new(own.clone()))];
        expr_planners.extend(SessionStateDefaults::default_expr_planners());
        let mut registry = Self {
            scalar: HashMap::new(),
            aggregate: HashMap::new(),
            window: HashMap::new(),
            higher_order: HashMap::new(),
            expr_planners,
            relation_planners: vec![Arc::new(crate::query::table_function::TableFunctions)],
            type_planner: Arc::new(crate::query::types::Types),
            options: Arc::new(options),
            own: own.clone(),
        };
        for function in SessionStateDefaults::default_scalar_functions() {
            registry.register_scalar(function);
        }
        for function in SessionStateDefaults::default_aggregate_functions() {
            registry.register_aggregate(function);
        }
        for function in SessionStateDefaults::default_window_functions() {
            registry.register_window(function);
        }
        for function in SessionStateDefaults::default_higher_order_functions() {
            for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
                registry.higher_order.insert(name.to_owned(), function.clone());
            }
        }
        let own_aggregates = [average::function(), sum::function()].into_iter();
        for function in own_aggregates.chain(mode::functions()).chain(spread::functions()).chain(in_order::functions())
        {
            registry.register_aggregate(function);
        }
        // PostgreSQL's second names.
        for (alias, name) in [("every", "bool_and"), ("variance", "var")] {
            if let Some(function) = registry.aggregate.get(name).cloned() {
                registry.aggregate.insert(alias.to_owned(), function);
            }
        }
        for function in own.0.values().cloned().chain(time::clocks()).chain(matched::functions()) {
            registry.register_scalar(function);
        }
        registry
    }

    /// Adds a scalar function under its name and aliases.
    pub fn register_scalar(&mut self, function: Arc<ScalarUDF>) {
        for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
            self.scalar.insert(name.to_owned(), function.clone());
        }
    }

    /// Adds an aggregate function under its name and aliases.
    pub fn register_aggregate(&mut self, function: Arc<AggregateUDF>) {
        for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
            self.aggregate.insert(name.to_owned(), function.clone());
        }
    }

    /// Adds a window function under its name and aliases.
    pub fn register_window(&mut self, function: Arc<WindowUDF>) {
        for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
            self.window.insert(name.to_owned(), function.clone());
        }
    }

    /// The scalar functions; one with aliases comes several times.
    pub fn scalar(&self) -> impl Iterator<Item = &Arc<ScalarUDF>> {
        self.scalar.values()
    }

    /// The aggregate functions; one with aliases comes several times.
    pub fn aggregate(&self) -> impl Iterator<Item = &Arc<AggregateUDF>> {
        self.aggregate.values()
    }

    /// The window functions; one with aliases comes several times.
    pub fn window(&self) -> impl Iterator<Item = &Arc<WindowUDF>> {
        self.window.values()
    }

    /// The scalar function of this name.
    pub fn find_scalar(&self, name: &str) -> Option<&Arc<ScalarUDF>> {
        self.scalar.get(name)
    }

    /// The aggregate function of this name.
    pub fn find_aggregate(&self, name: &str) -> Option<&Arc<AggregateUDF>> {
        self.aggregate.get(name)
    }

    /// The window function of this name.
    pub fn find_window(&self, name: &str) -> Option<&Arc<WindowUDF>> {
        self.window.get(name)
    }

    pub(crate) fn find_higher_order(&self, name: &str) -> Option<&Arc<HigherOrderUDF>> {
        self.higher_order.get(name)
    }

    /// Whether anything of this name can be called.
    pub fn has(&self, name: &str) -> bool {
        self.scalar.contains_key(name)
            || self.aggregate.contains_key(name)
            || self.window.contains_key(name)
            || self.higher_order.contains_key(name)
    }

    /// All names, of every kind.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let scalar = self.scalar.keys().chain(self.higher_order.keys());
        scalar.chain(self.aggregate.keys()).chain(self.window.keys()).map(String::as_str)
    }
}

pub use average::function as average;
pub(crate) use definition::undefined;
pub(crate) use json::normalised as json_text;
pub use text::quote_ident;
pub(crate) use text::texts;
pub(crate) use time::offset_of_zone;
pub(crate) use time_more::length_us;

/// Each value of a column in PostgreSQL's text form.
pub fn text_of(column: &arrow::array::ArrayRef) -> crate::Result<arrow::array::StringViewArray> {
    Ok(text::texts(column)?)
}

/// The one value of an array as text, for tests.
#[cfg(test)]
pub(crate) fn texts_of(array: &arrow::array::ArrayRef) -> String {
    use arrow::array::Array;
    if array.is_null(0) {
        return "NULL".to_owned();
    }
    let text = text::texts(array).map_or_else(|error| error.to_string(), |texts| texts.value(0).to_owned());
    match array.data_type() {
        arrow::datatypes::DataType::Boolean => text[..1].to_owned(),
        _ => text,
    }
}
