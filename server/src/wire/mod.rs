//! PostgreSQL's protocol: one task per connection, which reads messages, asks its session, and writes answers.
//!
//! Reading order: [`socket`] (frames in, a bounded buffer out), [`message`] (what clients say), [`startup`], [`connection`] (the loop),
//! [`simple`] and [`extended`] (the two query protocols), [`rows`] (results on their way out), [`known`] (settings, read once), [`cancel`].

pub(crate) mod cancel;
pub(crate) mod connection;
mod copy_out;
pub(crate) mod extended;
mod known;
pub(crate) mod message;
pub(crate) mod rows;
pub(crate) mod simple;
pub(crate) mod socket;
pub(crate) mod startup;
pub(crate) mod watch;
