//! Pure functions from syntax and a catalog snapshot to plans: what a statement does, and how a view is kept up to date.
//!
//! It stands behind `sql` and before `dataflow`. It performs no I/O, reads no clock, starts no thread, and knows neither
//! connectors nor storage: what touches the outside is resolved by the engine before or after.
//!
//! Reading order: [`context`] (what planning may look at), [`statement`] (one file per statement, [`Plan`] is their sum),
//! [`query`] (SQL to DataFusion's logical plan, with PostgreSQL's names and types), [`functions`],
//! [`incremental`] (the operator plan of a view), [`lower`] (logical plan to incremental plan, one file per node), [`push_down`] (a rule that ad-hoc queries
//! share),
//! [`reuse`] (what a changed view can keep), [`explain`].

pub mod context;
pub mod error;
pub mod explain;
mod fingerprint;
pub mod functions;
pub mod incremental;
pub mod lower;
pub mod push_down;
pub mod query;
mod repeated_keys;
pub mod reuse;
pub mod state;
pub mod statement;
pub mod time_zone;

pub use context::{PlanContext, SystemRelations};
pub use error::{Error, Result};
pub use incremental::{Node, ViewPlan};
pub use statement::{Plan, plan, plan_stored_view};
