//! Transactions: one epoch to read from, writes that wait for COMMIT.
//!
//! A transaction block reads the epoch that was published when its first statement ran (snapshot isolation, whatever level is asked for),
//! and its own writes. COMMIT applies the writes in one epoch, if no other session has changed the same rows since; else it fails with
//! 40001 and has done nothing.

use std::sync::Arc;

use catalog::ObjectId;
use delta::Delta;
use planner::statement::plan::{TransactionModes, TransactionPlan};
use sql::Statement;

use super::block_ddl::BlockDdl;
use super::{Session, TransactionStatus};
use crate::command::{Command, Write};
use crate::published::Published;
use crate::{Error, ErrorKind, Result};

/// The state of a session's transaction.
#[derive(Default)]
pub(super) struct Transaction {
    block: Block,
    pinned: Option<Arc<Published>>,
    /// In the order of the statements.
    writes: Vec<(ObjectId, Delta)>,
    /// What changes the catalog, in the order of the statements.
    ddl: Vec<BlockDdl>,
    /// What was published when the block read first, before its own changes of the catalog.
    base: Option<Arc<Published>>,
    /// Names, with the writes and the changes of the catalog that there were.
    savepoints: Vec<(String, usize, usize)>,
    read_only: bool,
    saved_variables: Option<super::Variables>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    /// Each statement for itself.
    #[default]
    None,
    /// Several statements of one message, or a pipeline up to its Sync.
    Implicit,
    /// After BEGIN.
    Open,
    /// After an error in it.
    Failed,
}

impl Transaction {
    pub(super) fn status(&self) -> TransactionStatus {
        match self.block {
            Block::None | Block::Implicit => TransactionStatus::Idle,
            Block::Open => TransactionStatus::Open,
            Block::Failed => TransactionStatus::Failed,
        }
    }

    pub(super) fn pinned(&self) -> Option<Arc<Published>> {
        self.pinned.clone()
    }

    /// The changes of a table that this transaction has made so far.
    pub(super) fn pending(&self, table: ObjectId) -> impl Iterator<Item = &Delta> {
        self.writes.iter().filter(move |(id, _)| *id == table).map(|(_, delta)| delta)
    }

    pub(super) fn has_pending(&self, table: ObjectId) -> bool {
        self.writes.iter().any(|(id, _)| *id == table)
    }

    /// The tables that it has changed.
    pub(super) fn pending_tables(&self) -> Vec<ObjectId> {
        self.writes.iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn ddl(&self) -> &[BlockDdl] {
        &self.ddl
    }

    /// From here on the block sees what the statement has made.
    pub(super) fn add_ddl(&mut self, ddl: BlockDdl) {
        if self.ddl.is_empty() {
            self.base = self.pinned.clone();
        }
        self.pinned = Some(ddl.after.clone());
        self.ddl.push(ddl);
    }

    fn truncate_ddl(&mut self, count: usize) {
        if count < self.ddl.len() {
            self.ddl.truncate(count);
            self.pinned = self.ddl.last().map(|ddl| ddl.after.clone()).or_else(|| self.base.clone());
        }
    }

    /// After BEGIN.
    pub(super) fn is_open(&self) -> bool {
        self.block == Block::Open
    }

    pub(super) fn is_block(&self) -> bool {
        self.block != Block::None
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn write(&mut self, table: ObjectId, delta: Delta) {
        if !delta.is_empty() {
            self.writes.push((table, delta));
        }
    }

    /// In a failed block only its end is taken.
    pub(super) fn check_usable(&self, statement: &Statement) -> Result<()> {
        if self.block == Block::Failed && !ends_transaction(statement) {
            return Err(Error::new(
                ErrorKind::FailedTransaction,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

/// COMMIT, ROLLBACK and ROLLBACK TO.
fn ends_transaction(statement: &Statement) -> bool {
    use sql::statement::{StatementKind, Transaction};
    matches!(
        statement.kind,
        StatementKind::Transaction(
            Transaction::Commit { .. } | Transaction::Rollback { .. } | Transaction::RollbackTo { .. }
        )
    )
}

impl Session {
    /// Begins an implicit block: several statements of one message.
    pub fn begin_implicit(&mut self) {
        if self.transaction.block == Block::None {
            self.transaction.block = Block::Implicit;
        }
    }

    /// Ends an implicit block, if one is open: commits its writes, or throws them away.
    pub async fn end_implicit(&mut self, success: bool) -> Result<()> {
        if self.transaction.block != Block::Implicit {
            return Ok(());
        }
        if success {
            self.commit().await
        } else {
            self.roll_back();
            Ok(())
        }
    }

    /// A statement of an open block has failed: the rest of the block is refused.
    pub fn fail_transaction(&mut self) {
        drop(self.wishes.take());
        match self.transaction.block {
            Block::Open => self.transaction.block = Block::Failed,
            Block::Implicit => self.transaction.writes.clear(),
            Block::None | Block::Failed => {}
        }
    }

    /// A statement that reads begins: in a block it fixes the epoch.
    pub(super) fn read_epoch(&mut self) -> Arc<Published> {
        self.pin(self.published())
    }

    /// A statement reads this epoch, and so do the others of its block.
    pub(super) fn pin(&mut self, published: Arc<Published>) -> Arc<Published> {
        if self.transaction.block != Block::None && self.transaction.pinned.is_none() {
            self.transaction.pinned = Some(published.clone());
        }
        published
    }

    /// BEGIN, COMMIT and their like; gives the command tag.
    pub(super) async fn transaction(&mut self, plan: &TransactionPlan) -> Result<String> {
        match plan {
            TransactionPlan::Begin { modes, tag } => {
                if matches!(self.transaction.block, Block::Open | Block::Failed) {
                    self.warning("25001", "there is already a transaction in progress");
                } else {
                    self.begin(modes)?;
                }
                Ok((*tag).to_owned())
            }
            TransactionPlan::Commit { chain } => {
                let tag = self.finish(true).await?;
                self.chain(*chain)?;
                Ok(tag)
            }
            TransactionPlan::Rollback { chain } => {
                let tag = self.finish(false).await?;
                self.chain(*chain)?;
                Ok(tag)
            }
            TransactionPlan::Savepoint(name) => {
                self.in_block("SAVEPOINT")?;
                let (writes, ddl) = (self.transaction.writes.len(), self.transaction.ddl.len());
                self.transaction.savepoints.push((name.clone(), writes, ddl));
                Ok("SAVEPOINT".to_owned())
            }
            TransactionPlan::Release(name) => {
                self.in_block("RELEASE SAVEPOINT")?;
                let at = self.savepoint(name)?;
                self.transaction.savepoints.truncate(at);
                Ok("RELEASE".to_owned())
            }
            TransactionPlan::RollbackTo(name) => {
                self.in_block("ROLLBACK TO SAVEPOINT")?;
                let at = self.savepoint(name)?;
                let (_, writes, ddl) = self.transaction.savepoints[at];
                self.transaction.writes.truncate(writes);
                self.transaction.truncate_ddl(ddl);
                self.transaction.savepoints.truncate(at + 1);
                self.transaction.block = Block::Open;
                Ok("ROLLBACK".to_owned())
            }
            TransactionPlan::SetModes(modes) => {
                self.set_modes(modes);
                Ok("SET".to_owned())
            }
        }
    }

    fn begin(&mut self, modes: &TransactionModes) -> Result<()> {
        self.transaction.block = Block::Open;
        self.transaction.read_only = self.variables.is_on("default_transaction_read_only");
        self.transaction.saved_variables = Some(self.variables.save());
        self.set_modes(modes);
        Ok(())
    }

    fn set_modes(&mut self, modes: &TransactionModes) {
        if let Some(read_only) = modes.read_only {
            self.transaction.read_only = read_only;
        }
    }

    fn chain(&mut self, chain: bool) -> Result<()> {
        if chain { self.begin(&TransactionModes::default()) } else { Ok(()) }
    }

    async fn finish(&mut self, commit: bool) -> Result<String> {
        match self.transaction.block {
            Block::None | Block::Implicit => {
                self.warning("25P01", "there is no transaction in progress");
                if self.transaction.block == Block::Implicit {
                    if commit {
                        self.commit().await?;
                    } else {
                        self.roll_back();
                    }
                }
                Ok(if commit { "COMMIT" } else { "ROLLBACK" }.to_owned())
            }
            Block::Open if commit => {
                self.commit().await?;
                Ok("COMMIT".to_owned())
            }
            Block::Open | Block::Failed => {
                self.roll_back();
                Ok("ROLLBACK".to_owned())
            }
        }
    }

    fn roll_back(&mut self) {
        if let Some(saved) = self.transaction.saved_variables.take() {
            self.restore_variables(saved);
        }
        self.variables.end_transaction();
        self.cursors.retain(|_, cursor| cursor.get_mut().hold);
        self.transaction.end();
    }

    async fn commit(&mut self) -> Result<()> {
        let writes = std::mem::take(&mut self.transaction.writes);
        let pinned = self.transaction.pinned.take();
        let ddl = std::mem::take(&mut self.transaction.ddl);
        let base = self.transaction.base.take();
        self.variables.end_transaction();
        self.cursors.retain(|_, cursor| cursor.get_mut().hold);
        self.transaction.end();
        let Some(pinned) = pinned else { return Ok(()) };
        if !ddl.is_empty() {
            return self.commit_ddl(ddl, writes, &base.unwrap_or(pinned)).await;
        }
        if writes.is_empty() { Ok(()) } else { self.apply(writes, &pinned).await }
    }

    /// Applies writes that were computed from `read`; durable when it returns.
    pub(super) async fn apply(&self, deltas: Vec<(ObjectId, Delta)>, read: &Published) -> Result<()> {
        let write = Write { deltas, read_at: read.epoch, planned_against: read.catalog_version };
        self.shared.commands.ask(|reply| Command::Write { write, reply }).await.map(drop)
    }

    fn restore_variables(&mut self, saved: super::Variables) {
        for variable in super::variables::VARIABLES.iter().filter(|variable| variable.reported) {
            let before = saved.get(variable.name);
            if before != self.variables.get(variable.name) {
                self.parameter_changes.push((variable.name.to_owned(), before.unwrap_or_default()));
            }
        }
        self.variables.restore(saved);
    }

    fn in_block(&self, what: &str) -> Result<()> {
        match self.transaction.block {
            Block::Open | Block::Failed => Ok(()),
            _ => Err(Error::new(
                ErrorKind::NoActiveTransaction,
                format!("{what} can only be used in transaction blocks"),
            )),
        }
    }

    fn savepoint(&self, name: &str) -> Result<usize> {
        let at = self.transaction.savepoints.iter().rposition(|(known, ..)| known == name);
        at.ok_or_else(|| Error::new(ErrorKind::UndefinedSavepoint, format!("savepoint \"{name}\" does not exist")))
    }

    fn warning(&mut self, code: &'static str, message: &str) {
        let message = message.to_owned();
        self.notices.push(super::Notice { severity: "WARNING", code, message, hint: None });
    }

    /// Statements that can't be undone are refused in a block, where ROLLBACK would promise that they are.
    pub(super) fn outside_block(&self, what: &str) -> Result<()> {
        if matches!(self.transaction.block, Block::Open | Block::Failed) {
            return Err(Error::new(ErrorKind::Unsupported, format!("{what} in a transaction block is not supported"))
                .with_hint("run it outside of BEGIN … COMMIT (in drivers: with autocommit)"));
        }
        Ok(())
    }

    pub(super) fn check_writable(&self, what: &str) -> Result<()> {
        let read_only = self.transaction.is_read_only()
            || (!self.transaction.is_block() && self.variables.is_on("default_transaction_read_only"));
        if read_only {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(Error::new(ErrorKind::ReadOnlyTransaction, message));
        }
        Ok(())
    }
}
