//! Another query for a view: the new one is built beside the old, under a name that nobody uses, and takes its place when it has caught up.
//!
//! Who runs the statement waits for that. If they go, or the engine does, what was built goes too, and the view is what it was.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::{Catalog, Object, ObjectId, ObjectKind, QualifiedName};
use datafusion::common::ScalarValue;
use planner::ViewPlan;
use planner::incremental::{Input, Node};
use planner::reuse::{Kept, Part, Running};
use planner::statement::plan::{AlterPlan, Attach, Attached, ColumnOrigin, CreatePlan, Plan};

use super::{Prepared, Session};
use crate::command::{Command, CommandSender};
use crate::ddl::{Alteration, BuiltBeside, DdlChange, Exposed, TEMPORARY_SCHEMA};
use crate::query::evaluate_constants;
use crate::{Error, ErrorKind, Result};

/// How often a statement is planned again because another session changed the catalog meanwhile.
const ATTEMPTS: usize = 20;

impl Session {
    /// Changes objects: at once, or when what must be built first is built.
    pub(super) async fn alter(&mut self, prepared: &Arc<Prepared>) -> Result<()> {
        let shared = self.shared.clone();
        let only_names =
            matches!(&prepared.plan, Plan::Alter(alter) if alter.attach.is_empty() && alter.rewrite.is_none());
        let mut one_at_a_time = match only_names {
            true => None,
            false => Some(shared.altering.lock().await),
        };
        let mut prepared = prepared.clone();
        let mut builds = Builds::new(shared.commands.clone());
        for _ in 0..ATTEMPTS {
            match &prepared.plan {
                Plan::Alter(alter) => {
                    let only_names = alter.attach.is_empty() && alter.rewrite.is_none();
                    if !only_names && one_at_a_time.is_none() {
                        one_at_a_time = Some(shared.altering.lock().await);
                    }
                    if !builds.are_for(alter) {
                        builds.give_up();
                        self.build(alter, &mut builds).await?;
                        prepared = Arc::new(self.plan_without(&prepared, &builds)?);
                        continue;
                    }
                    self.wait_for_builds(alter, &builds).await?;
                    match self.change_as(alter, &builds, &prepared).await {
                        Ok(notices) => {
                            builds.done();
                            self.notices_of(notices);
                            return Ok(());
                        }
                        Err(error) if error.kind != ErrorKind::SerializationFailure => return Err(error),
                        Err(_) => {
                            let published = self.shared.published.load();
                            if builds.reuse_any(&|id| published.errors.contains_key(&id)) {
                                builds.give_up();
                            }
                        }
                    }
                }
                Plan::Nothing { notice, .. } => {
                    self.notices_of(notice.iter().cloned());
                    return Ok(());
                }
                _ => return Box::pin(self.change_catalog(&prepared)).await,
            }
            prepared = Arc::new(self.plan_without(&prepared, &builds)?);
        }
        Err(Error::new(ErrorKind::SerializationFailure, "the catalog is being changed by other sessions")
            .with_hint("run the statement again"))
    }

    async fn change_as(&mut self, alter: &AlterPlan, builds: &Builds, prepared: &Prepared) -> Result<Vec<String>> {
        let alteration = Alteration { plan: alter.clone(), built: builds.as_built_for(alter), values: values(alter)? };
        let change = Box::new(DdlChange::Alter(Box::new(alteration)));
        let planned_against = prepared.catalog_version;
        let done = self.shared.commands.ask(|reply| Command::Ddl { planned_against, change, reply }).await?;
        Ok(done.notices)
    }

    /// Plans a statement again as if nothing had been built for it yet.
    fn plan_without(&self, prepared: &Prepared, builds: &Builds) -> Result<Prepared> {
        let published = self.shared.published.load();
        let catalog = builds.without(&published.catalog)?;
        self.plan_against(&prepared.statement, &[], &published, &catalog)
    }

    /// Until everything that changes, and all that reads it, has been built.
    pub(super) async fn wait_for_builds(&mut self, alter: &AlterPlan, builds: &Builds) -> Result<()> {
        if alter.attach.is_empty() {
            return Ok(());
        }
        let mut epochs = self.shared.published.watch();
        loop {
            let published = self.shared.published.load();
            let hidden = builds.list.iter().map(|build| build.hidden);
            let ids = alter.objects.iter().map(|object| object.id).chain(hidden);
            let all = published.catalog.with_dependents(ids);
            let waits =
                all.iter().find(|id| published.hydrating.contains_key(id) || published.reading_first.contains(id));
            let Some(waits) = waits else { return Ok(()) };
            let failed = published.hydrating.get(waits).and_then(|progress| progress.error.clone());
            if let Some(why) = failed {
                let name = alter.objects.first().map_or_else(String::new, |object| object.name.to_string());
                return Err(Error::new(ErrorKind::External, format!("the new definition of {name} can't be built"))
                    .with_detail(why)
                    .with_hint("the view is what it was"));
            }
            epochs.changed().await.map_err(|_| crate::engine::stopped())?;
        }
    }

    /// Begins to build the views that get other operators, each over those before it.
    pub(super) async fn build(&mut self, alter: &AlterPlan, builds: &mut Builds) -> Result<()> {
        let beside = alter.attach.iter().filter(|attach| matches!(attach.how, Attached::Built));
        for attach in beside {
            if builds.list.is_empty() {
                self.run_own(&format!("CREATE SCHEMA IF NOT EXISTS {TEMPORARY_SCHEMA}")).await?;
            }
            let object = alter.objects.iter().find(|object| object.id == attach.relation);
            let object = object.ok_or_else(|| Error::internal("a view that is built is one that changes"))?;
            let running = self.running(&builds.hidden())?;
            let mut beside = Beside::default();
            let root = beside.root(attach, &builds.hidden(), &running, &self.shared.next_followed);
            let Beside { owners, exposed } = beside;
            let view = ViewPlan { inputs: root.relations(), root: root.clone(), ..attach.view.clone() };
            let number = self.shared.next_followed.fetch_add(1, Ordering::Relaxed);
            let name = QualifiedName { schema: TEMPORARY_SCHEMA.to_owned(), name: format!("next_{number}") };
            builds.names.push(name.clone());
            let hidden = self.make_hidden(object, &name, view, exposed).await?;
            let mut states = Vec::new();
            pair(&root, &attach.view.root, hidden, &owners, &mut states);
            let reused = owners.into_values().collect();
            builds.list.push(Build {
                relation: attach.relation,
                hidden,
                wanted: attach.view.root.fingerprint(),
                built: BuiltBeside { hidden, states, reused },
            });
        }
        Ok(())
    }

    /// Makes a view that nobody knows of.
    async fn make_hidden(
        &mut self,
        object: &Object,
        name: &QualifiedName,
        view: ViewPlan,
        exposed: Vec<Exposed>,
    ) -> Result<ObjectId> {
        let is_exposed = |id: &ObjectId| exposed.iter().any(|part| part.number == *id);
        let mut depends_on: Vec<ObjectId> = view.inputs.iter().copied().filter(|id| !is_exposed(id)).collect();
        depends_on.extend(exposed.iter().map(|part| part.view));
        depends_on.sort_unstable();
        depends_on.dedup();
        let mut hidden = Object { id: ObjectId(0), name: name.clone(), depends_on, ..object.clone() };
        if let ObjectKind::MaterializedView(definition) = &mut hidden.kind {
            definition.state_id = 0;
            definition.operator_states.clear();
            definition.takes_place_of = Some(object.id);
        }
        let create =
            CreatePlan { object: hidden, view: Some(view), notices: Vec::new(), tag: "CREATE MATERIALIZED VIEW" };
        for _ in 0..ATTEMPTS {
            let past = self.past(&create).await;
            let planned_against = self.shared.published.load().catalog_version;
            let (create, exposed) = (Box::new(create.clone()), exposed.clone());
            let change = Box::new(DdlChange::CreateBeside { create, past, exposed });
            match self.shared.commands.ask(|reply| Command::Ddl { planned_against, change, reply }).await {
                Ok(_) => {
                    let made = self.shared.published.load().catalog.find(name).map(|object| object.id);
                    return made.ok_or_else(|| Error::internal("a view that was made is in the catalog"));
                }
                Err(error) if error.kind == ErrorKind::SerializationFailure => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::SerializationFailure, "the catalog is being changed by other sessions")
            .with_hint("run the statement again"))
    }

    /// What can stand for equal parts of other plans: views that are built and have no row that fails.
    fn running(&self, hidden: &HashMap<ObjectId, ObjectId>) -> Result<Running> {
        let published = self.shared.published.load();
        let mut running = Running::default();
        for object in published.catalog.objects() {
            let ready = matches!(object.kind, ObjectKind::MaterializedView(_))
                && object.name.schema != TEMPORARY_SCHEMA
                && !object.is_hidden()
                && !hidden.values().any(|id| *id == object.id)
                && !published.hydrating.contains_key(&object.id)
                && !published.errors.contains_key(&object.id);
            if ready {
                running.add(object, &self.plan_of(object, &published.catalog)?.root);
            }
        }
        Ok(running)
    }

    fn plan_of(&self, object: &Object, catalog: &Catalog) -> Result<ViewPlan> {
        self.shared.queries.plan_view(object, catalog)
    }
}

/// The values of the new columns of a table.
pub(super) fn values(alter: &AlterPlan) -> Result<Vec<ScalarValue>> {
    let new = alter.rewrite.iter().flat_map(|rewrite| &rewrite.columns).filter_map(|origin| match origin {
        ColumnOrigin::New(expression) => Some(expression.clone()),
        ColumnOrigin::Old(_) => None,
    });
    evaluate_constants(&new.collect::<Vec<_>>(), &[])
}

/// The first number of operators of running views that new ones go on from.
const FIRST_EXPOSED: u32 = 0xE000_0000;

/// How many numbers there are for them; only a few are in use at a time.
const EXPOSED: u64 = 1 << 24;

/// What a view goes on from that is built beside another.
#[derive(Default)]
struct Beside {
    /// The views that have the state of parts of its plan, by the fingerprint of what stands for them.
    owners: HashMap<String, ObjectId>,
    /// The operators among those parts.
    exposed: Vec<Exposed>,
}

impl Beside {
    /// The operators that are built for a view: what stands beside its inputs is read instead of them, and of parts that running views have, what
    /// these give.
    fn root(
        &mut self,
        attach: &Attach,
        hidden: &HashMap<ObjectId, ObjectId>,
        running: &Running,
        numbers: &AtomicU64,
    ) -> Arc<Node> {
        let changes = |id: ObjectId| hidden.contains_key(&id);
        running.replace(&attach.view.root, &changes, &mut |part| match part {
            Part::Input(input) => {
                let relation = *hidden.get(&input.relation)?;
                Some(Arc::new(Node::Input(Input { relation, ..input.clone() })))
            }
            Part::Kept(Kept::Rows { view, instead, .. }) => {
                self.owners.insert(instead.fingerprint(), *view);
                Some(instead.clone())
            }
            Part::Kept(Kept::Output { view, operator }) => {
                let known = self.exposed.iter().find(|part| part.operator == *operator).map(|part| part.number);
                let relation = known.unwrap_or_else(|| {
                    let number = numbers.fetch_add(1, Ordering::Relaxed) % EXPOSED;
                    let number = ObjectId(FIRST_EXPOSED + number as u32);
                    self.exposed.push(Exposed { number, view: *view, operator: operator.clone() });
                    number
                });
                let append_only = operator.append_only();
                let input = Node::Input(Input { relation, schema: operator.schema().clone(), append_only });
                self.owners.insert(input.fingerprint(), *view);
                Some(Arc::new(input))
            }
        })
    }
}

/// Whose state each operator of `real` goes on with, when `built` has been built in its place.
fn pair(
    built: &Node,
    real: &Node,
    hidden: ObjectId,
    owners: &HashMap<String, ObjectId>,
    states: &mut Vec<(ObjectId, String, String)>,
) {
    if matches!((built, real), (Node::Input(_), Node::Input(_))) {
        return;
    }
    let fingerprint = built.fingerprint();
    let own = real.fingerprint();
    if let Some(owner) = owners.get(&fingerprint).filter(|_| fingerprint != own) {
        real.visit(&mut |node| {
            let fingerprint = node.fingerprint();
            states.push((*owner, fingerprint.clone(), fingerprint));
        });
        return;
    }
    states.push((hidden, fingerprint, own));
    for (built, real) in built.inputs().into_iter().zip(real.inputs()) {
        pair(built, real, hidden, owners, states);
    }
}

/// Hidden views; those that have not taken another's place when this goes, go with it.
pub(super) struct Builds {
    list: Vec<Build>,
    /// Their names, also of one that may or may not have been made yet.
    names: Vec<QualifiedName>,
    commands: CommandSender,
}

struct Build {
    relation: ObjectId,
    hidden: ObjectId,
    /// The plan whose state it has.
    wanted: String,
    built: BuiltBeside,
}

impl Builds {
    pub(super) fn new(commands: CommandSender) -> Self {
        Self { list: Vec::new(), names: Vec::new(), commands }
    }

    /// Whether they are what a change needs.
    pub(super) fn are_for(&self, alter: &AlterPlan) -> bool {
        let wanted = alter.attach.iter().filter(|attach| matches!(attach.how, Attached::Built));
        let wanted: Vec<_> = wanted.map(|attach| (attach.relation, attach.view.root.fingerprint())).collect();
        let built: Vec<_> = self.list.iter().map(|build| (build.relation, build.wanted.clone())).collect();
        wanted == built
    }

    fn reuse_any(&self, which: &dyn Fn(ObjectId) -> bool) -> bool {
        self.list.iter().flat_map(|build| &build.built.reused).any(|id| which(*id))
    }

    fn hidden(&self) -> HashMap<ObjectId, ObjectId> {
        self.list.iter().map(|build| (build.relation, build.hidden)).collect()
    }

    /// What a change takes of them.
    pub(super) fn as_built_for(&self, alter: &AlterPlan) -> HashMap<ObjectId, BuiltBeside> {
        let wanted = |build: &&Build| alter.attach.iter().any(|attach| attach.relation == build.relation);
        self.list.iter().filter(wanted).map(|build| (build.relation, build.built.clone())).collect()
    }

    /// The catalog as if nothing had been built.
    pub(super) fn without(&self, catalog: &Catalog) -> Result<Catalog> {
        let mut catalog = catalog.clone();
        for build in self.list.iter().rev() {
            if catalog.get(build.hidden).is_some() {
                catalog = catalog.drop_object(build.hidden).map_err(crate::coordinator::catalog_error)?;
            }
        }
        Ok(catalog)
    }

    /// They have taken the others' places.
    pub(super) fn done(&mut self) {
        self.list.clear();
        self.names.clear();
    }

    pub(super) fn give_up(&mut self) {
        self.list.clear();
        for name in std::mem::take(&mut self.names).into_iter().rev() {
            let (reply, _) = tokio::sync::oneshot::channel();
            let change = Box::new(DdlChange::Abandon(name));
            self.commands.send_soon(Command::Ddl { planned_against: 0, change, reply });
        }
    }
}

impl Drop for Builds {
    fn drop(&mut self) {
        self.give_up();
    }
}
