//! `TUMBLE(rel, col, size)`, `HOP(rel, col, slide, size)` and `CUMULATE(rel, col, step, size)` in FROM: a node that adds `window_start` and `window_end`.
//!
//! An ad-hoc query runs it as a projection over [`WindowTvf::input`] (with an unnest for HOP and CUMULATE); a view lowers it to
//! [`crate::incremental::Window`].

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::incremental::WindowKind;

/// The name of the column that says where a row's window begins.
pub const WINDOW_START: &str = "window_start";
/// The name of the column that says where a row's window ends.
pub const WINDOW_END: &str = "window_end";

/// How rows are assigned to windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Windows {
    /// Windows that lie where they lie, whatever rows there are.
    Fixed(WindowKind),
    /// `SESSION(rel, col, gap [, key…])`: windows that go on as long as rows come, one after the other within the gap.
    Session {
        /// Microseconds.
        gap_us: i64,
        /// Rows that are equal in these columns have sessions of their own.
        keys: Vec<Column>,
    },
}

/// Assigns rows to windows of time. Output: the input's columns, then [`WINDOW_START`] and [`WINDOW_END`] in the time column's type and
/// with its qualifier. A row whose time is NULL is in no window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowTvf {
    /// Where rows come from.
    pub input: LogicalPlan,
    /// The event time: a column of the input, timestamp or timestamptz.
    pub time: Column,
    /// How the windows lie; those that are fixed are aligned to 1970-01-01 00:00 UTC.
    pub windows: Windows,
    /// Late rows are kept somewhere, so they come with all their columns, read or not.
    pub whole_rows: bool,
    schema: DFSchemaRef,
}

impl WindowTvf {
    /// Over `input`, by its column `time`.
    pub fn try_new(input: LogicalPlan, time: Column, windows: Windows) -> Result<Self> {
        let (qualifier, time_field) = input.schema().qualified_field_from_column(&time)?;
        let mut fields: Vec<_> =
            input.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
        for name in [WINDOW_START, WINDOW_END] {
            if input.schema().fields().iter().any(|field| field.name() == name) {
                return plan_err!("the input of a window function already has a column \"{name}\"");
            }
            let field = Field::new(name, time_field.data_type().clone(), false);
            fields.push((qualifier.cloned(), field.into()));
        }
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(Self { schema: schema.into(), input, time, windows, whole_rows: false })
    }

    /// With all columns of the input read, for late rows.
    pub fn with_whole_rows(&self) -> Self {
        Self { whole_rows: true, ..self.clone() }
    }

    /// Positions of a session's keys in the input.
    pub fn key_indexes(&self) -> Result<Vec<usize>> {
        match &self.windows {
            Windows::Fixed(_) => Ok(vec![]),
            Windows::Session { keys, .. } => keys.iter().map(|key| self.input.schema().index_of_column(key)).collect(),
        }
    }

    /// Position of the time column in the input.
    pub fn time_index(&self) -> Result<usize> {
        self.input.schema().index_of_column(&self.time)
    }
}

impl PartialOrd for WindowTvf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.input.partial_cmp(&other.input) {
            Some(Ordering::Equal) => self.time.partial_cmp(&other.time),
            unequal => unequal,
        }
    }
}

impl UserDefinedLogicalNodeCore for WindowTvf {
    fn name(&self) -> &str {
        match self.windows {
            Windows::Fixed(WindowKind::Tumble { .. }) => "Tumble",
            Windows::Fixed(WindowKind::Hop { .. }) => "Hop",
            Windows::Fixed(WindowKind::Cumulate { .. }) => "Cumulate",
            Windows::Session { .. } => "Session",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = match &self.windows {
            Windows::Fixed(_) => &[],
            Windows::Session { keys, .. } => keys.as_slice(),
        };
        std::iter::once(&self.time).chain(keys).cloned().map(Expr::Column).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        match &self.windows {
            // A condition on any other column picks the same rows before windows are assigned as after.
            Windows::Fixed(_) => HashSet::from([WINDOW_START.to_owned(), WINDOW_END.to_owned()]),
            // A row that is left out leaves a gap, but not in the sessions of other keys.
            Windows::Session { keys, .. } => {
                let names = self.schema.fields().iter().map(|field| field.name());
                names.filter(|name| !keys.iter().any(|key| key.name == **name)).cloned().collect()
            }
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.windows {
            Windows::Fixed(kind) => *kind,
            Windows::Session { gap_us, keys } => {
                write!(f, "Session: {}, gap={}", self.time, Micros(*gap_us))?;
                return keys.iter().try_for_each(|key| write!(f, ", {key}"));
            }
        };
        match kind {
            WindowKind::Tumble { size_us } => write!(f, "Tumble: {}, size={}", self.time, Micros(size_us)),
            WindowKind::Hop { slide_us, size_us } => {
                write!(f, "Hop: {}, slide={}, size={}", self.time, Micros(slide_us), Micros(size_us))
            }
            WindowKind::Cumulate { step_us, size_us } => {
                write!(f, "Cumulate: {}, step={}, size={}", self.time, Micros(step_us), Micros(size_us))
            }
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => plan_err!("a window function is of columns, not of {other}"),
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?.into_iter();
        let (Some(time), Ok([input])) = (columns.next(), <[LogicalPlan; 1]>::try_from(inputs)) else {
            return plan_err!("a window function has one input and one time column");
        };
        let windows = match self.windows {
            Windows::Fixed(kind) => Windows::Fixed(kind),
            Windows::Session { gap_us, .. } => Windows::Session { gap_us, keys: columns.collect() },
        };
        Ok(Self { whole_rows: self.whole_rows, ..Self::try_new(input, time, windows)? })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        if self.whole_rows {
            return None;
        }
        let width = self.input.schema().fields().len();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|column| *column < width).collect();
        needed.push(self.time_index().ok()?);
        needed.extend(self.key_indexes().ok()?);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// A length of time as EXPLAIN prints it.
struct Micros(i64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: i64 = 1_000_000;
        match self.0 {
            us if us % SECOND == 0 => write!(f, "{}s", us / SECOND),
            us if us % 1000 == 0 => write!(f, "{}ms", us / 1000),
            us => write!(f, "{us}us"),
        }
    }
}
