//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION`.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::LatePolicy;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Extension, LogicalPlan};

use super::expression::numbered_schema;
use super::lowered::{ColumnInfo, Lowered};
use super::{Lowering, Relations, shared};
use crate::Result;
use crate::incremental::{Node, Session, TimeBound, TimeKind, Window, WindowKind};
use crate::query::{RelationRef, RelationSource, WindowTvf, Windows};

impl Lowering<'_> {
    pub(super) fn window(&mut self, window: &WindowTvf) -> Result<Lowered> {
        let input = self.node(&window.input)?;
        let time = window.time_index()?;
        let kind = match &window.windows {
            Windows::Fixed(kind) => *kind,
            Windows::Session { gap_us, .. } => return self.session(input, time, *gap_us, window.key_indexes()?),
        };
        let (slide_us, size_us) = kind.lengths();
        let bound = input.columns[time].time.clone().filter(|bound| is_event_time(bound, slide_us, size_us));

        // A window's start determines its end, but not where several begin together.
        let class = input.free_class();
        let end_class = class + usize::from(matches!(kind, WindowKind::Cumulate { .. }));
        let column = |class: usize, offset_us: i64| ColumnInfo {
            class,
            not_null: true,
            time: bound.clone().map(|bound| TimeBound { kind: TimeKind::Window { offset_us }, ..bound }),
        };
        let mut output = input.clone();
        output.columns[time].not_null = true;
        output.columns.extend([column(class, size_us), column(end_class, 0)]);
        if let WindowKind::Hop { .. } | WindowKind::Cumulate { .. } = kind {
            output.keys.iter_mut().for_each(|key: &mut BTreeSet<_>| {
                key.insert(end_class);
            });
        }
        let time_type = input.node.schema().field(time).data_type().clone();
        let types = input.node.schema().fields().iter().map(|field| field.data_type());
        output.node = shared(Node::Window(Window {
            schema: numbered_schema(types.chain([&time_type, &time_type])),
            input: input.node.clone(),
            time,
            kind,
            late: bound.as_ref().map_or(LatePolicy::Drop, |bound| bound.late),
            watermark_of: bound.map(|bound| bound.sources).unwrap_or_default(),
        }));
        Ok(output)
    }

    fn session(&mut self, input: Lowered, time: usize, gap_us: i64, keys: Vec<usize>) -> Result<Lowered> {
        // Nothing comes before the watermark that could change a session that ended before it; where a session begins says nothing of that.
        let is_time = |bound: &TimeBound| matches!(bound.kind, TimeKind::Event | TimeKind::Window { offset_us: 0 });
        let bound = input.columns[time].time.clone().filter(is_time);
        let class = input.free_class();
        let end = bound.clone().map(|bound| TimeBound { kind: TimeKind::Window { offset_us: 0 }, ..bound });
        let mut output = input.clone();
        output.columns.iter_mut().for_each(|column| column.time = None);
        output.columns[time].not_null = true;
        output.columns.push(ColumnInfo { not_null: true, ..ColumnInfo::unknown(class) });
        output.columns.push(ColumnInfo { class: class + 1, not_null: true, time: end });
        let time_type = input.node.schema().field(time).data_type().clone();
        let types = input.node.schema().fields().iter().map(|field| field.data_type());
        output.node = shared(Node::Session(Session {
            schema: numbered_schema(types.chain([&time_type, &time_type])),
            input: input.node.clone(),
            time,
            gap_us,
            keys,
            late: bound.as_ref().map_or(LatePolicy::Drop, |bound| bound.late),
            watermark_of: bound.map(|bound| bound.sources).unwrap_or_default(),
        }));
        Ok(output)
    }
}

/// Windows whose late rows become dead letters see all columns of their input, whatever the query reads: a letter is the whole row.
pub(super) fn with_whole_late_rows(plan: LogicalPlan, relations: &dyn Relations) -> Result<LogicalPlan> {
    let kept = |plan: &LogicalPlan| {
        plan.exists(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(false) };
            let Some(RelationRef::Object(id)) =
                scan.source.downcast_ref::<RelationSource>().map(|source| &source.relation)
            else {
                return Ok(false);
            };
            let times = relations.relation(*id)?.times;
            Ok(times.iter().any(|(_, bound)| bound.late == LatePolicy::DeadLetter))
        })
    };
    let marked = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        match extension.node.as_any().downcast_ref::<WindowTvf>() {
            Some(window) if !window.whole_rows && kept(&window.input)? => {
                let node = Arc::new(window.with_whole_rows());
                Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
            }
            _ => Ok(Transformed::no(node)),
        }
    })?;
    Ok(marked.data)
}

/// Whether no row that is on time by this column comes when its windows are closed. Windows over windows: the end of the inner one is such
/// a time; its start only if the inner window lies in the outer ones whole.
fn is_event_time(bound: &TimeBound, slide_us: i64, size_us: i64) -> bool {
    match bound.kind {
        TimeKind::Event | TimeKind::Window { offset_us: 0 } => true,
        TimeKind::Window { offset_us } => slide_us % offset_us == 0 && size_us % offset_us == 0,
    }
}
