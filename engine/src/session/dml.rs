//! INSERT, UPDATE, DELETE, TRUNCATE: a query over one epoch gives rows, from which come the changes of the table.
//!
//! Outside a transaction block the changes are applied at once, and computed again if another session was faster. In a block they wait for
//! COMMIT, and the block's own statements see them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow::row::{OwnedRow, RowConverter, Rows as EncodedRows, SortField};
use catalog::{Object, ObjectId};
use delta::{Delta, consolidate};
use futures::TryStreamExt;
use hashbrown::{HashMap, HashSet};
use planner::statement::plan::{DeletePlan, DoUpdate, InsertPlan, OnConflict, Returning, UpdatePlan};

use super::answer::batch_answer;
use super::{Parameter, Prepared, Response, Session};
use crate::coordinator::{dataflow_error, delta_error};
use crate::error::Subject;
use crate::published::Published;
use crate::query::{conform, evaluate_on, query_error};
use crate::{Error, ErrorKind, Result};

/// How often a statement is computed again because another session changed the same rows first.
const ATTEMPTS: usize = 100;

/// How long the next epoch is waited for before a statement is computed again.
const NEXT_EPOCH: Duration = Duration::from_millis(20);

/// What a statement does to a table.
struct Effect {
    delta: Delta,
    /// Rows that the tag counts.
    count: usize,
    /// The rows that RETURNING sees.
    returned: RecordBatch,
}

impl Session {
    pub(super) async fn insert(
        &mut self,
        prepared: &Prepared,
        insert: &InsertPlan,
        parameters: Vec<Parameter>,
    ) -> Result<Response> {
        self.check_writable("INSERT")?;
        let mut attempt = 0;
        loop {
            let (table, published) = self.table(insert.table, &insert.reads).await?;
            let rows = self.rows(&insert.source, table.schema(), &insert.reads, &parameters, &published).await?;
            let effect = self.inserted(&table, rows, &insert.on_conflict, &parameters, &published)?;
            let Some(effect) = self.take_effect(&table, effect, &published, &mut attempt).await? else { continue };
            return self.respond(prepared, "INSERT 0", effect, insert.returning.as_ref(), &parameters);
        }
    }

    pub(super) async fn update(
        &mut self,
        prepared: &Prepared,
        update: &UpdatePlan,
        parameters: Vec<Parameter>,
    ) -> Result<Response> {
        self.check_writable("UPDATE")?;
        let mut attempt = 0;
        loop {
            let (table, published) = self.table(update.table, &update.reads).await?;
            let schema = table.schema();
            let both: Vec<_> = schema.fields().iter().chain(schema.fields()).cloned().collect();
            let both = Arc::new(arrow::datatypes::Schema::new(both));
            let rows = self.rows(&update.source, both, &update.reads, &parameters, &published).await?;
            let effect = self.updated(&table, &rows, update.is_joined, &published)?;
            let Some(effect) = self.take_effect(&table, effect, &published, &mut attempt).await? else { continue };
            return self.respond(prepared, "UPDATE", effect, update.returning.as_ref(), &parameters);
        }
    }

    pub(super) async fn delete(
        &mut self,
        prepared: &Prepared,
        delete: &DeletePlan,
        parameters: Vec<Parameter>,
    ) -> Result<Response> {
        self.check_writable("DELETE")?;
        let mut attempt = 0;
        loop {
            let (table, published) = self.table(delete.table, &delete.reads).await?;
            let rows = self.rows(&delete.source, table.schema(), &delete.reads, &parameters, &published).await?;
            let rows = match table.key() {
                Some(key) => Keys::new(&rows, key)?.first_of_each(&rows)?,
                None if delete.is_joined => take(&rows, &self.each_copy_once(&table, &rows, &published)?)?,
                None => rows,
            };
            let delta = Delta::inserts(rows.clone()).negate().map_err(delta_error)?;
            let effect = Effect { delta, count: rows.num_rows(), returned: rows };
            let Some(effect) = self.take_effect(&table, effect, &published, &mut attempt).await? else { continue };
            return self.respond(prepared, "DELETE", effect, delete.returning.as_ref(), &parameters);
        }
    }

    pub(super) async fn truncate(&mut self, tables: &[ObjectId]) -> Result<Response> {
        self.check_writable("TRUNCATE TABLE")?;
        for id in tables {
            let mut attempt = 0;
            loop {
                let (table, published) = self.table(*id, &[]).await?;
                let pending: Vec<Delta> = self.transaction.pending(*id).cloned().collect();
                let rows = contents(*id, &pending, &published)?;
                let delta = Delta::inserts(rows.clone()).negate().map_err(delta_error)?;
                let effect = Effect { delta, count: rows.num_rows(), returned: rows };
                if self.take_effect(&table, effect, &published, &mut attempt).await?.is_some() {
                    break;
                }
            }
        }
        Ok(Response::Done { tag: "TRUNCATE TABLE".to_owned() })
    }

    /// The table and the epoch that a statement reads.
    async fn table(&mut self, id: ObjectId, reads: &[ObjectId]) -> Result<(Arc<Object>, Arc<Published>)> {
        self.check_readable_in_block(&[id])?;
        let published = self.readable(reads).await?;
        let table = published.catalog.get(id).cloned();
        let table = table.ok_or_else(|| Error::new(ErrorKind::UndefinedTable, "the table was dropped meanwhile"))?;
        Ok((table, published))
    }

    /// Runs the query inside a statement.
    async fn rows(
        &mut self,
        source: &datafusion::logical_expr::LogicalPlan,
        schema: SchemaRef,
        reads: &[ObjectId],
        parameters: &[Parameter],
        published: &Arc<Published>,
    ) -> Result<RecordBatch> {
        let overrides = self.overrides(published, reads);
        let queries = &self.shared.queries;
        let batches = queries.run_logical(source, schema.clone(), parameters.to_vec(), published, &overrides).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        concat_batches(&schema, &batches).map_err(|e| query_error(e.into()))
    }

    /// Applies an effect, or keeps it for COMMIT; `None`: another session was faster, compute it again.
    async fn take_effect(
        &mut self,
        table: &Object,
        effect: Effect,
        published: &Published,
        attempt: &mut usize,
    ) -> Result<Option<Effect>> {
        let delta = Delta::new(reshaped(effect.delta.batch(), &table.schema())?, effect.delta.weights().cloned());
        if self.transaction.is_block() {
            self.transaction.write(table.id, delta);
            return Ok(Some(effect));
        }
        if delta.is_empty() {
            return Ok(Some(effect));
        }
        match self.apply(vec![(table.id, delta)], published).await {
            Ok(()) => Ok(Some(effect)),
            Err(error) if error.kind == ErrorKind::SerializationFailure && *attempt < ATTEMPTS => {
                *attempt += 1;
                let mut epochs = self.shared.published.watch();
                if *epochs.borrow_and_update() == published.epoch
                    && let Ok(Err(_)) = tokio::time::timeout(NEXT_EPOCH, epochs.changed()).await
                {
                    return Err(crate::engine::stopped());
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn respond(
        &self,
        prepared: &Prepared,
        tag: &str,
        effect: Effect,
        returning: Option<&Returning>,
        parameters: &[Parameter],
    ) -> Result<Response> {
        let Some(returning) = returning else {
            return Ok(Response::Done { tag: format!("{tag} {}", effect.count) });
        };
        let evaluate = |e| evaluate_on(e, &returning.input, &effect.returned, parameters);
        let columns = returning.expressions.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
        let rows = unnamed(columns, effect.returned.num_rows())?;
        Ok(batch_answer(self.columns_of(prepared)?, conform(&rows, &returning.schema)?, tag))
    }

    fn inserted(
        &self,
        table: &Object,
        rows: RecordBatch,
        on_conflict: &OnConflict,
        parameters: &[Parameter],
        published: &Published,
    ) -> Result<Effect> {
        check_not_null(table, &rows)?;
        let Some(key) = table.key() else {
            return Ok(Effect { count: rows.num_rows(), delta: Delta::inserts(rows.clone()), returned: rows });
        };
        let keys = Keys::new(&rows, key)?;
        let existing = self.existing(table, &rows, key, published)?;
        let existing_keys = Keys::new(&existing, key)?;
        let at: HashMap<OwnedRow, u32> =
            (0..existing.num_rows()).map(|i| (existing_keys.rows.row(i).owned(), index(i))).collect();
        let mut seen: HashSet<OwnedRow> = HashSet::new();
        let (mut new, mut pairs) = (Vec::new(), Vec::new());
        for i in 0..rows.num_rows() {
            let key_row = keys.rows.row(i).owned();
            let found = at.get(&key_row).copied();
            let repeated = !seen.insert(key_row);
            match (on_conflict, found, repeated) {
                (_, None, false) => new.push(index(i)),
                (OnConflict::Error, ..) => return Err(unique_violation(table, key, &rows, i)),
                (OnConflict::DoNothing, ..) => {}
                (OnConflict::DoUpdate(_), _, true) => {
                    return Err(Error::new(
                        ErrorKind::CardinalityViolation,
                        "ON CONFLICT DO UPDATE command cannot affect row a second time",
                    )
                    .with_hint("ensure that no rows proposed for insertion within the same command have duplicate constrained values"));
                }
                (OnConflict::DoUpdate(_), Some(old), false) => pairs.push((old, index(i))),
            }
        }
        let inserted = take(&rows, &new)?;
        let OnConflict::DoUpdate(update) = on_conflict else {
            return Ok(Effect { count: new.len(), delta: Delta::inserts(inserted.clone()), returned: inserted });
        };
        let (old, proposed): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let (old, changed) = do_update(update, &take(&existing, &old)?, &take(&rows, &proposed)?, parameters)?;
        check_not_null(table, &changed)?;
        self.check_unique(table, key, &old, &changed, published)?;
        let returned = concat(&[&inserted, &changed])?;
        Ok(Effect { count: returned.num_rows(), delta: exchange(&old, &returned)?, returned })
    }

    fn updated(&self, table: &Object, rows: &RecordBatch, is_joined: bool, published: &Published) -> Result<Effect> {
        let width = table.columns.len();
        let half = |from: usize| -> Result<RecordBatch> {
            let columns: Vec<usize> = (from..from + width).collect();
            rows.project(&columns).map_err(|e| query_error(e.into()))
        };
        let (mut old, mut new) = (half(0)?, half(width)?);
        if is_joined && table.key().is_none() {
            let first = self.each_copy_once(table, &old, published)?;
            (old, new) = (take(&old, &first)?, take(&new, &first)?);
        }
        if let Some(key) = table.key() {
            let first = Keys::new(&old, key)?.first_positions();
            (old, new) = (take(&old, &first)?, take(&new, &first)?);
            self.check_unique(table, key, &old, &new, published)?;
        }
        check_not_null(table, &new)?;
        Ok(Effect { count: new.num_rows(), delta: exchange(&old, &new)?, returned: new })
    }

    /// Of the rows of a table without a key that a join gives, as many of each as there are in the table: one that meets several others comes several
    /// times.
    fn each_copy_once(&self, table: &Object, rows: &RecordBatch, published: &Published) -> Result<Vec<u32>> {
        let pending: Vec<Delta> = self.transaction.pending(table.id).cloned().collect();
        let there = contents(table.id, &pending, published)?;
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let (there, found) = (Keys::new(&there, &all)?, Keys::new(rows, &all)?);
        let mut left: HashMap<_, usize> = HashMap::new();
        there.rows.iter().for_each(|row| *left.entry(row).or_default() += 1);
        let mut is_left = |row: &usize| match left.get_mut(&found.rows.row(*row)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        };
        Ok((0..rows.num_rows()).filter(|row| is_left(row)).map(index).collect())
    }

    /// New rows whose key differs from the old row's must not meet another row.
    fn check_unique(
        &self,
        table: &Object,
        key: &[usize],
        old: &RecordBatch,
        new: &RecordBatch,
        published: &Published,
    ) -> Result<()> {
        let (old_keys, new_keys) = (Keys::new(old, key)?, Keys::new(new, key)?);
        let gone: HashSet<OwnedRow> = old_keys.rows.iter().map(|row| row.owned()).collect();
        let mut seen = HashSet::new();
        let mut moved = Vec::new();
        for i in 0..new.num_rows() {
            let row = new_keys.rows.row(i).owned();
            if !gone.contains(&row) {
                moved.push(index(i));
            }
            if !seen.insert(row) {
                return Err(unique_violation(table, key, new, i));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let met = self.existing(table, &take(new, &moved)?, key, published)?;
        if met.num_rows() > 0 { Err(unique_violation(table, key, &met, 0)) } else { Ok(()) }
    }

    /// The table's rows that have the keys of these rows, as this session sees them.
    fn existing(
        &self,
        table: &Object,
        rows: &RecordBatch,
        key: &[usize],
        published: &Published,
    ) -> Result<RecordBatch> {
        let view = published.relations.get(&table.id);
        let view = view.ok_or_else(|| Error::internal(format!("{} has no rows", table.name)))?;
        let columns: Vec<ArrayRef> = key.iter().map(|column| rows.column(*column).clone()).collect();
        let found = view.get(&*published.snapshot, &columns).map_err(dataflow_error)?;
        let mut changes = vec![Delta::inserts(found)];
        let wanted: HashSet<OwnedRow> = Keys::new(rows, key)?.rows.iter().map(|row| row.owned()).collect();
        for pending in self.transaction.pending(table.id) {
            let keys = Keys::new(pending.batch(), key)?;
            let mine = (0..pending.num_rows()).filter(|i| wanted.contains(&keys.rows.row(*i).owned()));
            let mine = UInt32Array::from_iter_values(mine.map(index));
            changes.push(pending.take(&mine).map_err(delta_error)?);
        }
        sum(&table.schema(), &changes)
    }
}

/// A table's rows under a transaction's own changes.
pub(super) fn contents(table: ObjectId, pending: &[Delta], published: &Published) -> Result<RecordBatch> {
    let view = published.relations.get(&table);
    let view = view.ok_or_else(|| Error::new(ErrorKind::UndefinedTable, "the table was dropped meanwhile"))?;
    let mut changes = Vec::new();
    for batch in view.scan(published.snapshot.clone(), None).map_err(dataflow_error)? {
        changes.push(Delta::inserts(batch.map_err(dataflow_error)?));
    }
    let schema = view.schema().clone();
    if pending.is_empty() {
        let batches: Vec<&RecordBatch> = changes.iter().map(Delta::batch).collect();
        return concat_batches(&schema, batches).map_err(|e| query_error(e.into()));
    }
    changes.extend(pending.iter().cloned());
    sum(&schema, &changes)
}

/// The rows that are left when all changes are added up, each as often as it is there.
fn sum(schema: &SchemaRef, changes: &[Delta]) -> Result<RecordBatch> {
    let same_schema = |delta: &Delta| -> Result<Delta> { Ok(delta.with_batch(reshaped(delta.batch(), schema)?)) };
    let changes = changes.iter().map(same_schema).collect::<Result<Vec<_>>>()?;
    let total = consolidate(&Delta::concat(schema, &changes).map_err(delta_error)?).map_err(delta_error)?;
    let mut rows = Vec::with_capacity(total.num_rows());
    for i in 0..total.num_rows() {
        rows.extend((0..total.weight(i).max(0)).map(|_| index(i)));
    }
    take(total.batch(), &rows)
}

/// The rows of ON CONFLICT DO UPDATE that its WHERE keeps: as they are and as they become.
fn do_update(
    update: &DoUpdate,
    old: &RecordBatch,
    proposed: &RecordBatch,
    parameters: &[Parameter],
) -> Result<(RecordBatch, RecordBatch)> {
    let columns = old.columns().iter().chain(proposed.columns()).cloned().collect();
    let mut both = unnamed(columns, old.num_rows())?;
    let mut old = old.clone();
    if let Some(filter) = &update.filter {
        let keep = evaluate_on(filter, &update.schema, &both, parameters)?;
        let keep = arrow::array::AsArray::as_boolean(&keep).clone();
        both = arrow::compute::filter_record_batch(&both, &keep).map_err(|e| query_error(e.into()))?;
        old = arrow::compute::filter_record_batch(&old, &keep).map_err(|e| query_error(e.into()))?;
    }
    let evaluate = |e| evaluate_on(e, &update.schema, &both, parameters);
    let columns = update.row.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
    let new = conform(&unnamed(columns, both.num_rows())?, &old.schema())?;
    Ok((old, new))
}

fn unnamed(columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let field = |(i, c): (usize, &ArrayRef)| arrow::datatypes::Field::new(format!("c{i}"), c.data_type().clone(), true);
    let schema = arrow::datatypes::Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).map_err(|e| query_error(e.into()))
}

/// The old rows go, the new ones come.
fn exchange(old: &RecordBatch, new: &RecordBatch) -> Result<Delta> {
    let batch = concat(&[old, new])?;
    let weights: Int64Array = std::iter::repeat_n(-1, old.num_rows())
        .chain(std::iter::repeat_n(1, new.num_rows()))
        .collect::<Vec<i64>>()
        .into();
    Ok(Delta::new(batch, Some(weights)))
}

fn concat(batches: &[&RecordBatch]) -> Result<RecordBatch> {
    let schema = batches[0].schema();
    let batches = batches.iter().map(|batch| reshaped(batch, &schema)).collect::<Result<Vec<_>>>()?;
    concat_batches(&schema, &batches).map_err(|e| query_error(e.into()))
}

/// The same columns under another schema of the same types; NULL in a column that has none is an error.
fn reshaped(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
        .map_err(|e| query_error(e.into()))
}

fn take(rows: &RecordBatch, positions: &[u32]) -> Result<RecordBatch> {
    take_record_batch(rows, &UInt32Array::from(positions.to_vec())).map_err(|e| query_error(e.into()))
}

fn index(i: usize) -> u32 {
    u32::try_from(i).expect("a batch has fewer rows than that")
}

/// The key of each row, in a form that can be compared.
struct Keys {
    rows: EncodedRows,
}

impl Keys {
    fn new(rows: &RecordBatch, key: &[usize]) -> Result<Self> {
        let columns: Vec<ArrayRef> = key.iter().map(|column| rows.column(*column).clone()).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let encode = || -> Result<EncodedRows, arrow::error::ArrowError> {
            RowConverter::new(fields)?.convert_columns(&columns)
        };
        Ok(Self { rows: encode().map_err(|e| query_error(e.into()))? })
    }

    /// Where each key stands first.
    fn first_positions(&self) -> Vec<u32> {
        let mut seen = HashSet::new();
        (0..self.rows.num_rows()).filter(|i| seen.insert(self.rows.row(*i))).map(index).collect()
    }

    fn first_of_each(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        take(rows, &self.first_positions())
    }
}

fn check_not_null(table: &Object, rows: &RecordBatch) -> Result<()> {
    for (column, array) in table.columns.iter().zip(rows.columns()) {
        if !column.nullable && array.null_count() > 0 {
            let row = (0..array.len()).find(|i| array.is_null(*i)).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::NotNullViolation,
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, table.name.name
                ),
            )
            .with_detail(format!("Failing row contains ({}).", row_text(rows, row)))
            .about(subject(table, Some(column.name.clone()), None)));
        }
    }
    Ok(())
}

fn unique_violation(table: &Object, key: &[usize], rows: &RecordBatch, row: usize) -> Error {
    let names: Vec<&str> = key.iter().map(|column| table.columns[*column].name.as_str()).collect();
    let values = rows.project(key).map_or_else(|_| "?".to_owned(), |key| row_text(&key, row));
    Error::new(
        ErrorKind::UniqueViolation,
        format!("duplicate key value violates unique constraint \"{}_pkey\"", table.name.name),
    )
    .with_detail(format!("Key ({})=({values}) already exists.", names.join(", ")))
    .about(subject(table, None, Some(format!("{}_pkey", table.name.name))))
}

fn subject(table: &Object, column: Option<String>, constraint: Option<String>) -> Subject {
    let (schema, table) = (table.name.schema.clone(), table.name.name.clone());
    Subject { schema, table, column, constraint }
}

fn row_text(rows: &RecordBatch, row: usize) -> String {
    let text = |column: &ArrayRef| match planner::functions::text_of(&column.slice(row, 1)) {
        Ok(text) if text.is_null(0) => "null".to_owned(),
        Ok(text) => text.value(0).to_owned(),
        Err(_) => "?".to_owned(),
    };
    rows.columns().iter().map(text).collect::<Vec<_>>().join(", ")
}
