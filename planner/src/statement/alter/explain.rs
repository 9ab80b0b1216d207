//! EXPLAIN of a change: which operators are built anew, which go on with the state that there is, and what becomes of those who read it.

use std::collections::{BTreeSet, HashMap};

use catalog::{Object, ObjectId, ObjectKind};

use super::super::drop::described;
use super::super::plan::{AlterPlan, Attached};
use super::super::plan_stored_view;
use crate::reuse::{Kept, Running};
use crate::{Node, PlanContext, Result};

pub(in super::super) fn text(alter: &AlterPlan, context: &PlanContext<'_>) -> Result<String> {
    let name = |id: ObjectId| context.catalog.get(id).map_or_else(|| format!("#{}", id.0), |o| o.name.to_string());
    let mut out = String::new();
    let mut told: BTreeSet<ObjectId> = BTreeSet::new();
    let running = running(context)?;
    let built: BTreeSet<ObjectId> = alter
        .attach
        .iter()
        .filter(|attach| matches!(attach.how, Attached::Built))
        .map(|attach| attach.relation)
        .collect();
    for attach in &alter.attach {
        let Some(object) = context.catalog.get(attach.relation) else { continue };
        told.insert(object.id);
        if !built.contains(&object.id) {
            out.push_str(&format!("{}: keeps its state\n", described(object)));
            continue;
        }
        out.push_str(&format!("{}: built anew beside the old one\n", described(object)));
        let parts = running.kept_parts(&attach.view.root, &|id| built.contains(&id) && id != object.id);
        let kept = kept(&parts, &name);
        let label = |node: &Node| match kept.get(&node.fingerprint()) {
            Some(from) => Some(from.clone()),
            None if node.keeps_own_state() => Some(match running.why_not(node) {
                Some(why) => format!("built anew: {why}"),
                None => "built anew".to_owned(),
            }),
            None => None,
        };
        for line in crate::explain::running(&attach.view, &name, &label).lines() {
            out.push_str(&format!("  {line}\n"));
        }
        for (index, _) in context.catalog.indexes(object.id) {
            told.insert(index.id);
            out.push_str(&format!("{}: filled anew\n", described(index)));
        }
    }
    for object in &alter.objects {
        if let Some(old) = context.catalog.get(object.id).filter(|_| told.insert(object.id)) {
            out.push_str(&format!("{}: {}\n", described(old), changed(old, object)));
        }
    }
    for id in &alter.drops {
        if let Some(object) = context.catalog.get(*id).filter(|_| told.insert(*id)) {
            out.push_str(&format!("{}: dropped\n", described(object)));
        }
    }
    for id in context.catalog.with_dependents(built.iter().copied()).into_iter().rev() {
        let Some(object) = context.catalog.get(id).filter(|_| told.insert(id)) else { continue };
        let what = match &object.kind {
            ObjectKind::View(_) => "reads the new rows",
            ObjectKind::Index(_) => "stays as it is",
            _ => "gets the difference",
        };
        out.push_str(&format!("{}: {what}\n", described(object)));
    }
    Ok(out)
}

/// What an object's new definition changes, if its operators stay.
fn changed(old: &Object, new: &Object) -> String {
    if old.name != new.name {
        return format!("is {} from then on", new.name);
    }
    match &old.kind {
        ObjectKind::Table(_) => "its rows are written anew".to_owned(),
        ObjectKind::Index(_) => "filled anew".to_owned(),
        _ => "another definition, the same state".to_owned(),
    }
}

/// What can be kept of running views.
fn running(context: &PlanContext<'_>) -> Result<Running> {
    let mut running = Running::default();
    for object in context.catalog.objects().filter(|object| matches!(object.kind, ObjectKind::MaterializedView(_))) {
        if !object.is_hidden() {
            running.add(object, &plan_stored_view(object, context)?.root);
        }
    }
    Ok(running)
}

/// The operators that go on with state that there is, by their fingerprints, with what is to be said of them.
fn kept(parts: &[Kept], name: &dyn Fn(ObjectId) -> String) -> HashMap<String, String> {
    let mut kept = HashMap::new();
    for part in parts {
        let (root, how) = match part {
            Kept::Rows { view, part, .. } => (part, format!("kept: the rows of {}", name(*view))),
            Kept::Output { view, operator } => (operator, format!("kept: read off its state in {}", name(*view))),
        };
        root.visit(&mut |below| {
            if below.keeps_own_state() {
                kept.entry(below.fingerprint()).or_insert_with(|| "kept".to_owned());
            }
        });
        kept.insert(root.fingerprint(), how);
    }
    kept
}
