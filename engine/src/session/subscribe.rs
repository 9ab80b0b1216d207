//! SUBSCRIBE and SELECT … EMIT CHANGES: what is there, then what changes, as it commits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use catalog::{ObjectId, QualifiedName};
use delta::{Delta, Epoch};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use planner::incremental::Node;
use planner::statement::plan::{SubscribePlan, SubscribeTarget};

use super::answer::cancellable;
use super::{Prepared, Response, Rows, Session};
use crate::command::{Command, CommandSender};
use crate::coordinator::dataflow_error;
use crate::ddl::{DdlChange, TEMPORARY_SCHEMA};
use crate::query::{conform, not_ready, query_error};
use crate::subscription::{Later, Subscription};
use crate::{Error, Result};

impl Session {
    pub(super) async fn subscribe(&mut self, prepared: &Prepared, plan: &SubscribePlan) -> Result<Response> {
        let columns = self.columns_of(prepared)?;
        let (relation, followed) = match &plan.target {
            SubscribeTarget::Relation(id) => {
                self.readable(&[*id]).await?;
                (*id, None)
            }
            SubscribeTarget::Query { view, .. } if is_stateless(&view.root) => {
                self.readable(&view.inputs).await?;
                let followed = self.follow(view.as_ref().clone()).await?;
                (followed.relation, Some(followed))
            }
            SubscribeTarget::Query { text, .. } => {
                let followed = self.follow_stored(text).await?;
                self.readable(&[followed.relation]).await?;
                (followed.relation, Some(followed))
            }
        };
        let stored = self.published().catalog.get(relation).is_some();
        let name = self.published().catalog.get(relation).map_or_else(|| "query".to_owned(), |o| o.name.to_string());
        let subscribed = self.shared.commands.ask(|reply| Command::Subscribe { relation, name, reply }).await?;
        let Subscription { start, later } = subscribed;
        if start.hydrating.contains_key(&relation) {
            return Err(not_ready(relation, &start));
        }
        let snapshot = match &plan.target {
            _ if !plan.snapshot => None,
            _ if stored => match start.relations.get(&relation) {
                Some(view) => {
                    let scan = view.scan(start.snapshot.clone(), None).map_err(dataflow_error)?;
                    Some(futures::stream::iter(scan.map(|batch| batch.map_err(dataflow_error))).boxed())
                }
                None => None,
            },
            // What has come from a source that nobody stores can't be told again.
            SubscribeTarget::Query { query, .. } if query.reads.iter().all(|id| start.relations.contains_key(id)) => {
                let overrides = self.overrides(&start, &[]);
                Some(self.shared.queries.run(query, Vec::new(), &start, &overrides).await?)
            }
            SubscribeTarget::Query { .. } | SubscribeTarget::Relation(_) => None,
        };
        let following =
            Following { epoch: start.epoch, schema: plan.schema.clone(), snapshot, later, _followed: followed };
        let batches = futures::stream::unfold(Some(following), |following| async {
            let mut following = following?;
            match following.next().await {
                Ok(Some(batch)) => Some((Ok(batch), Some(following))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let batches = cancellable(batches.boxed(), self.cancel.clone());
        Ok(Response::Rows(Rows { columns, batches, tag: "SUBSCRIBE".to_owned(), live: true }))
    }

    /// Attaches a query to the running graph for as long as it is followed.
    async fn follow(&self, plan: planner::ViewPlan) -> Result<Followed> {
        let relation: Arc<Mutex<Option<ObjectId>>> = Arc::default();
        let change = Box::new(DdlChange::Follow { plan: Box::new(plan), relation: relation.clone() });
        self.shared.commands.ask(|reply| Command::Ddl { planned_against: 0, change, reply }).await?;
        let relation = relation.lock().ok_or_else(|| Error::internal("a followed query has a number"))?;
        Ok(Followed { relation, commands: self.shared.commands.clone() })
    }

    /// A query that needs state is followed as a materialized view of its own: built from the past, sharing what others have built.
    async fn follow_stored(&mut self, query: &str) -> Result<Followed> {
        self.run_own(&format!("CREATE SCHEMA IF NOT EXISTS {TEMPORARY_SCHEMA}")).await?;
        let number = self.shared.next_followed.fetch_add(1, Ordering::Relaxed);
        let name = QualifiedName { schema: TEMPORARY_SCHEMA.to_owned(), name: format!("query_{number}") };
        self.run_own(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await?;
        let relation = self.published().catalog.find(&name).map(|object| object.id);
        let relation = relation.ok_or_else(|| Error::internal("a view that was made is in the catalog"))?;
        Ok(Followed { relation, commands: self.shared.commands.clone() })
    }

    /// Runs a statement that nobody wrote; an error's place in it tells nothing.
    pub(super) async fn run_own(&mut self, text: &str) -> Result<()> {
        let statement = sql::parse_one(text).map_err(|error| Error::internal(format!("{error}: {text}")))?;
        let prepared = self.plan(&statement, &[]).map_err(|error| Error { position: None, ..error })?;
        self.change_catalog(&Arc::new(prepared)).await
    }
}

/// Whether a plan only filters, computes and joins ends: then what comes from now on doesn't depend on what came before.
fn is_stateless(node: &Node) -> bool {
    matches!(node, Node::Input(_) | Node::Map(_) | Node::Union(_) | Node::Unnest(_) | Node::Window(_))
        && node.inputs().into_iter().all(|input| is_stateless(input))
}

/// A query in the graph that goes when nobody follows it any more.
struct Followed {
    relation: ObjectId,
    commands: CommandSender,
}

impl Drop for Followed {
    fn drop(&mut self) {
        let (reply, _) = tokio::sync::oneshot::channel();
        let change = Box::new(DdlChange::Unfollow(self.relation));
        self.commands.send_soon(Command::Ddl { planned_against: 0, change, reply });
    }
}

struct Following {
    epoch: Epoch,
    schema: SchemaRef,
    snapshot: Option<BoxStream<'static, Result<RecordBatch>>>,
    later: Later,
    _followed: Option<Followed>,
}

impl Following {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(snapshot) = &mut self.snapshot {
            match snapshot.next().await {
                Some(batch) => {
                    let rows = Delta::inserts(batch?);
                    return self.batch(self.epoch, &rows).map(Some);
                }
                None => self.snapshot = None,
            }
        }
        match self.later.next().await {
            Some(changes) => self.batch(changes.epoch, &changes.delta).map(Some),
            None => self.later.ended().map_or(Ok(None), Err),
        }
    }

    fn batch(&self, epoch: Epoch, delta: &Delta) -> Result<RecordBatch> {
        let rows = delta.num_rows();
        let epoch = i64::try_from(epoch.0).map_err(|_| Error::internal("epochs are fewer than that"))?;
        let weights: ArrayRef = match delta.weights() {
            Some(weights) => Arc::new(weights.clone()),
            None => Arc::new(Int64Array::from_value(1, rows)),
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_value(epoch, rows)), weights];
        columns.extend(delta.batch().columns().iter().cloned());
        let field =
            |(i, c): (usize, &ArrayRef)| arrow::datatypes::Field::new(format!("c{i}"), c.data_type().clone(), true);
        let schema = arrow::datatypes::Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
        let batch = RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| query_error(e.into()))?;
        conform(&batch, &self.schema)
    }
}
