//! No code: it depends on every third-party crate of the workspace, and every crate of the workspace depends on it.
//!
//! Cargo selects the features of a dependency from the packages that are being built. Without this crate, `cargo test -p delta` and
//! `cargo test -p engine` would each compile DataFusion with slightly different features of what lies below it.
