//! The inputs of the micro-benchmarks: the auction benchmark's events as the generator makes them, and tables whose rows change.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use catalog::{Catalog, Object, ObjectId, QualifiedName};
use connectors::{Positions, SourceSpec, batch_channel, open_source};
use delta::Delta;
use planner::context::{FunctionRegistry, NoSystemRelations, PlanSettings};
use planner::{Plan, PlanContext, ViewPlan};

use crate::{Error, Result};

/// Events over the three tables of the auction benchmark, where instructions are counted.
pub(super) const EVENTS: u64 = 24_000;
/// Epochs in which they come.
pub(super) const EPOCHS: usize = 4;
/// Rows of the table `lot`, and how many of them change in each epoch.
const LOTS: i64 = 2_000;
const CHANGED_LOTS: i64 = 200;
/// The first of the generator's auctions.
const FIRST_AUCTION: i64 = 1_000;
/// How far the watermark of `bid` is behind its latest row, in microseconds.
const BEHIND_US: i64 = 4_000_000;

/// `item` holds bids of which half go again, `lot` rows that change.
const TABLES: &str = r#"
CREATE TABLE item (n BIGINT PRIMARY KEY, auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, "dateTime" TIMESTAMP);
CREATE TABLE lot (id BIGINT PRIMARY KEY, category BIGINT, reserve BIGINT);
"#;

/// What can be planned against, and what its relations get.
pub(super) struct World {
    catalog: Catalog,
    functions: FunctionRegistry,
    epochs: HashMap<ObjectId, Vec<Delta>>,
    /// Of `bid`, after each epoch.
    pub(super) watermarks: Vec<i64>,
}

impl World {
    /// Makes all of it, with so many events over the three tables of the auction benchmark.
    pub(super) fn new(events: u64) -> Result<Self> {
        let functions = FunctionRegistry::new();
        let mut world = Self { catalog: Catalog::new(), functions, epochs: HashMap::new(), watermarks: Vec::new() };
        let mut sources = include_str!("../../queries/tables.sql").to_owned();
        for table in ["person", "auction", "bid"] {
            sources = sources.replace(
                &format!("@{table}@"),
                &format!("connector = 'generator', kind = 'nexmark', table = '{table}', events = {events}"),
            );
        }
        for text in [&sources, TABLES] {
            world.declare(text)?;
        }
        for table in ["person", "auction", "bid"] {
            let rows = generated(world.object(table)?)?;
            let epochs = cut(&rows).into_iter().map(Delta::inserts).collect();
            world.epochs.insert(world.object(table)?.id, epochs);
        }
        let bids = world.deltas("bid")?.to_vec();
        world.watermarks = bids.iter().map(|bids| latest(bids.batch()) - BEHIND_US).collect();
        let item = world.object("item")?.clone();
        world.epochs.insert(item.id, items(&item, &bids)?);
        let lot = world.object("lot")?.clone();
        world.epochs.insert(lot.id, lots(&lot)?);
        Ok(world)
    }

    /// A relation.
    pub(super) fn object(&self, name: &str) -> Result<&Arc<Object>> {
        let name = QualifiedName { schema: "public".to_owned(), name: name.to_owned() };
        self.catalog.find(&name).ok_or_else(|| Error::Usage(format!("there is no {name}")))
    }

    /// As [`World::object`], by number.
    pub(super) fn by_id(&self, id: ObjectId) -> Result<&Arc<Object>> {
        self.catalog.get(id).ok_or_else(|| Error::Usage(format!("there is no relation {}", id.0)))
    }

    /// What a relation gets in each epoch.
    pub(super) fn deltas(&self, name: &str) -> Result<&[Delta]> {
        Ok(self.deltas_of(self.object(name)?.id))
    }

    /// As [`World::deltas`], by number.
    pub(super) fn deltas_of(&self, id: ObjectId) -> &[Delta] {
        self.epochs.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Rows of a view's inputs over all epochs.
    pub(super) fn rows_of(&self, plan: &ViewPlan) -> u64 {
        plan.inputs.iter().flat_map(|id| self.deltas_of(*id)).map(|delta| delta.num_rows() as u64).sum()
    }

    /// Plans a query as a view.
    pub(super) fn view(&self, query: &str) -> Result<ViewPlan> {
        let text = format!("CREATE MATERIALIZED VIEW v AS {query}");
        for statement in sql::parse(&text).map_err(|e| Error::Usage(format!("{query}: {e}")))? {
            if let Plan::Create(create) = self.plan(&statement)?
                && let Some(view) = create.view
            {
                return Ok(view);
            }
        }
        Err(Error::Usage(format!("no view: {query}")))
    }

    fn plan(&self, statement: &sql::Statement) -> Result<Plan> {
        let context = PlanContext {
            catalog: &self.catalog,
            settings: &PlanSettings::default(),
            system: &NoSystemRelations,
            functions: &self.functions,
            parameter_types: &[],
        };
        planner::plan(statement, &context).map_err(|e| Error::Usage(e.to_string()))
    }

    fn declare(&mut self, text: &str) -> Result<()> {
        for statement in sql::parse(text).map_err(|e| Error::Usage(e.to_string()))? {
            let Plan::Create(create) = self.plan(&statement)? else { continue };
            let (catalog, object) = self.catalog.assign(create.object);
            self.catalog = catalog.create(object).map_err(|e| Error::Usage(e.to_string()))?;
        }
        Ok(())
    }
}

/// All rows of a generator.
fn generated(object: &Object) -> Result<RecordBatch> {
    let catalog::ObjectKind::Source(source) = &object.kind else {
        return Err(Error::Usage(format!("{} is no source", object.name)));
    };
    let mut options = source.connector.options.clone();
    options.insert("connector".to_owned(), source.connector.name.clone());
    let spec = SourceSpec { name: object.name.to_string(), columns: object.columns.clone(), options, upsert: None };
    let (sender, batches) = batch_channel(Arc::new(|| ()));
    let opened = open_source(&spec).map_err(Error::outside(spec.name.as_str()))?;
    let running = opened.run(&Positions::new(), None, sender).map_err(Error::outside(spec.name.as_str()))?;
    let deltas: Vec<Delta> = batches.iter().map(|batch| batch.delta).collect();
    drop(running);
    let schema = deltas.first().map(Delta::schema).ok_or_else(|| Error::Usage(format!("{} has no rows", spec.name)))?;
    Ok(Delta::concat(&schema, &deltas).map_err(|e| Error::Usage(e.to_string()))?.batch().clone())
}

/// Rows in equal parts.
fn cut(rows: &RecordBatch) -> Vec<RecordBatch> {
    let part = rows.num_rows().div_ceil(EPOCHS);
    (0..EPOCHS).map(|epoch| rows.slice(epoch * part, part.min(rows.num_rows() - epoch * part))).collect()
}

fn named<'a>(rows: &'a RecordBatch, column: &str) -> Result<&'a ArrayRef> {
    rows.column_by_name(column).ok_or_else(|| Error::Usage(format!("there is no column {column}")))
}

/// The latest time among bids, microseconds since 1970.
fn latest(bids: &RecordBatch) -> i64 {
    let times = bids.column_by_name("dateTime").map(|times| times.as_primitive::<TimestampMicrosecondType>());
    times.and_then(arrow::compute::max).unwrap_or(0)
}

/// Bids, of which each second one goes in the epoch after the one in which it came.
fn items(object: &Object, bids: &[Delta]) -> Result<Vec<Delta>> {
    let broken = |e: arrow::error::ArrowError| Error::Usage(e.to_string());
    let mut before: Option<RecordBatch> = None;
    let mut first = 0;
    let mut epochs = Vec::new();
    for bids in bids {
        let bids = bids.batch();
        let last = first + bids.num_rows() as i64;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(first..last))];
        for column in ["auction", "bidder", "price", "channel", "dateTime"] {
            columns.push(named(bids, column)?.clone());
        }
        first = last;
        let rows = RecordBatch::try_new(object.schema(), columns).map_err(broken)?;
        let mut parts = vec![Delta::inserts(rows.clone())];
        if let Some(before) = before.replace(rows) {
            let gone = (0..before.num_rows() as u32).step_by(2).collect::<Vec<_>>().into();
            let gone = Delta::inserts(before).take(&gone).and_then(|gone| gone.negate());
            parts.push(gone.map_err(|e| Error::Usage(e.to_string()))?);
        }
        epochs.push(Delta::concat(&object.schema(), &parts).map_err(|e| Error::Usage(e.to_string()))?);
    }
    Ok(epochs)
}

/// Lots, some of which change in each epoch.
fn lots(object: &Object) -> Result<Vec<Delta>> {
    let lots = |ids: std::ops::Range<i64>, version: i64, weight: i64| {
        let id = Int64Array::from_iter_values(ids.clone());
        let category = Int64Array::from_iter_values(ids.clone().map(|id| id % 20));
        let reserve = Int64Array::from_iter_values(ids.clone().map(|id| id * 7 % 1000 + version));
        let rows = RecordBatch::try_new(object.schema(), vec![Arc::new(id), Arc::new(category), Arc::new(reserve)]);
        let weights = Int64Array::from_iter_values(ids.map(|_| weight));
        rows.map(|rows| Delta::new(rows, Some(weights))).map_err(|e| Error::Usage(e.to_string()))
    };
    let mut epochs = vec![lots(FIRST_AUCTION..FIRST_AUCTION + LOTS, 0, 1)?];
    for version in 1..EPOCHS as i64 {
        let ids = FIRST_AUCTION..FIRST_AUCTION + CHANGED_LOTS;
        let parts = [lots(ids.clone(), version - 1, -1)?, lots(ids, version, 1)?];
        epochs.push(Delta::concat(&object.schema(), &parts).map_err(|e| Error::Usage(e.to_string()))?);
    }
    Ok(epochs)
}
