//! Operators and stored relations: a view's epochs, each stepped, checkpointed and committed to memory.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use catalog::ObjectId;
use dataflow::{EpochInputs, Graph, GraphSettings, StateAllocator, ViewForm, ViewLayout};
use delta::Epoch;
use planner::ViewPlan;
use storage::{Durability, MemoryStore, StateId, Store};

use super::world::{EPOCHS, World};
use super::{Piece, Work};
use crate::{Error, Result};

/// Each operator in the smallest query that has it; `bid`, `auction` and `person` only grow, `item` and `lot` change.
const QUERIES: [(&str, &str); 24] = [
    ("map", "SELECT auction, price * 2 AS twice, upper(channel) AS channel FROM bid"),
    ("filter", "SELECT auction, price FROM bid WHERE price > 100000 AND auction % 7 = 3"),
    ("case", "SELECT CASE WHEN price > 1000 THEN 'much' WHEN price > 10 THEN 'some' ELSE 'little' END AS how FROM bid"),
    ("aggregate", "SELECT bidder, count(*) AS n, sum(price) AS total, max(price) AS most FROM bid GROUP BY bidder"),
    ("aggregate_changing", "SELECT auction, count(*) AS n, sum(price) AS total FROM item GROUP BY auction"),
    ("min_changing", "SELECT auction, min(price) AS least, max(price) AS most FROM item GROUP BY auction"),
    ("count_distinct", "SELECT channel, count(DISTINCT bidder) AS bidders FROM item GROUP BY channel"),
    ("avg_text_key", "SELECT channel, avg(price) AS mean FROM bid GROUP BY channel"),
    ("distinct", "SELECT DISTINCT auction, bidder FROM item"),
    ("join", "SELECT a.id, p.name, p.city FROM auction a JOIN person p ON a.seller = p.id"),
    ("join_changing", "SELECT i.n, i.price, l.category FROM item i JOIN lot l ON i.auction = l.id"),
    ("left_join", "SELECT i.n, l.reserve FROM item i LEFT JOIN lot l ON i.auction = l.id AND i.price > l.reserve"),
    ("semi_join", "SELECT n, price FROM item WHERE auction IN (SELECT id FROM lot WHERE category = 3)"),
    ("anti_join", "SELECT n, price FROM item WHERE NOT EXISTS (SELECT 1 FROM lot WHERE id = item.auction)"),
    (
        "first_of_each",
        "SELECT auction, bidder, price FROM (SELECT *, row_number() OVER (PARTITION BY auction, bidder ORDER BY \"dateTime\" DESC) AS r FROM bid) b WHERE r <= 1",
    ),
    (
        "top_ten_changing",
        "SELECT auction, n, price FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS r FROM item) i WHERE r <= 10",
    ),
    (
        "tumble",
        "SELECT window_start, auction, count(*) AS n FROM TUMBLE(bid, \"dateTime\", INTERVAL '1 second') GROUP BY window_start, auction",
    ),
    (
        "hop",
        "SELECT window_start, auction, count(*) AS n FROM HOP(bid, \"dateTime\", INTERVAL '500 milliseconds', INTERVAL '2 seconds') GROUP BY window_start, auction",
    ),
    (
        "session",
        "SELECT bidder, window_start, window_end, count(*) AS n FROM SESSION(bid, \"dateTime\", INTERVAL '100 milliseconds', bidder) GROUP BY bidder, window_start, window_end",
    ),
    ("union", "SELECT auction FROM item UNION ALL SELECT id FROM lot"),
    ("intersect", "SELECT auction FROM item INTERSECT SELECT id FROM lot"),
    ("log_view", "SELECT * FROM bid"),
    ("bag_view", "SELECT auction, channel FROM item"),
    ("keyed_view", "SELECT * FROM item"),
];

/// A piece for each.
pub(super) fn pieces(world: &Rc<World>) -> Vec<Piece> {
    let piece = |(name, query): &(&str, &'static str)| {
        let (world, query) = (world.clone(), *query);
        Piece { name: format!("operator.{name}"), make: Box::new(move || work(&world, query)) }
    };
    QUERIES.iter().map(piece).collect()
}

fn work(world: &World, query: &str) -> Result<Work> {
    let broken = |e: dataflow::Error| Error::Usage(e.to_string());
    let plan = world.view(query)?;
    let store = MemoryStore::new();
    let mut graph = Graph::new(GraphSettings::default(), snapshot(&store)?).map_err(broken)?;
    for id in &plan.inputs {
        graph.register_input(*id, &world.by_id(*id)?.schema(), None, false).map_err(broken)?;
    }
    let mut states = Numbered::default();
    let layout = layout(&plan, &mut states);
    graph.attach(ObjectId(u32::MAX), &plan.root, Some(layout), &mut states).map_err(broken)?;
    let epochs: Vec<EpochInputs> = (0..EPOCHS).map(|epoch| inputs(world, &plan, epoch)).collect::<Result<_>>()?;
    let mut epochs = epochs.into_iter();
    let rows = world.rows_of(&plan);
    Ok(Box::new(move |meter| {
        for inputs in epochs.by_ref() {
            let outputs = graph.step(inputs).map_err(broken)?;
            std::hint::black_box(&outputs);
            let changes = graph.checkpoint().map_err(broken)?;
            // The store in memory makes an entry of each change, as none on a disk does.
            meter.aside(|| store.commit(changes, Durability::Process)).map_err(|e| Error::Usage(e.to_string()))?;
            graph.committed(snapshot(&store)?).map_err(broken)?;
        }
        Ok(rows)
    }))
}

fn snapshot(store: &MemoryStore) -> Result<Arc<dyn storage::Snapshot>> {
    store.snapshot().map_err(|e| Error::Usage(e.to_string()))
}

fn layout(plan: &ViewPlan, states: &mut Numbered) -> ViewLayout {
    let form = match (plan.key.as_slice(), plan.append_only) {
        ([], true) => ViewForm::Log,
        ([], false) => ViewForm::Bag,
        (key, _) => ViewForm::Keyed { key: key.to_vec() },
    };
    ViewLayout { state: states.state("view"), form, indexes: Vec::new() }
}

/// One epoch of everything that a view reads.
fn inputs(world: &World, plan: &ViewPlan, epoch: usize) -> Result<EpochInputs> {
    let bid = world.object("bid")?.id;
    let watermark = |epoch: usize| world.watermarks.get(epoch).map(|watermark| (bid, *watermark));
    let deltas = plan.inputs.iter().filter_map(|id| Some((*id, vec![world.deltas_of(*id).get(epoch)?.clone()])));
    Ok(EpochInputs {
        epoch: Epoch(epoch as u64 + 1),
        timestamp_us: world.watermarks.get(epoch).copied().unwrap_or(0),
        watermarks_before: epoch.checked_sub(1).and_then(watermark).into_iter().collect(),
        watermarks: watermark(epoch).into_iter().collect(),
        deltas: deltas.collect::<HashMap<_, _>>(),
    })
}

/// State tables in the order in which they are asked for.
#[derive(Default)]
struct Numbered(BTreeMap<String, StateId>);

impl StateAllocator for Numbered {
    fn state(&mut self, name: &str) -> StateId {
        let next = StateId(self.0.len() as u32 + 1);
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}
