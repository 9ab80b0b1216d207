//! Which operators' output can be read off their state, so that another plan can go on from it.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::{JoinKind, Node, PartitionRule};
use crate::lower::column_index;

impl Node {
    /// Why the rows that this operator has put out can't be read off its state; `None`: they can.
    pub fn unreadable(&self) -> Option<&'static str> {
        match self {
            Self::Aggregate(node) if node.window.is_some() => Some("the state of closed windows is freed"),
            // What came first is shown, and all zeros are one key.
            Self::Aggregate(node) => {
                let keys = node.keys.len();
                node.schema.fields()[..keys].iter().any(|field| has_floats(field.data_type())).then_some(FLOATS)
            }
            Self::Distinct(_) => self.schema().fields().iter().any(|f| has_floats(f.data_type())).then_some(FLOATS),
            Self::SetOperation(_) => None,
            Self::Recursive(node) if node.all || node.rounds => Some("its rows are not kept one by one"),
            Self::Recursive(_) => None,
            Self::Join(node) if node.left_expiry.is_some() || node.right_expiry.is_some() => {
                Some("the state of rows that find no match any more is freed")
            }
            Self::Join(node) if node.on.is_empty() => Some("it has no key to read its pairs by"),
            Self::Join(node) => {
                let mut left = node.on.iter().map(|(left, _)| (&node.left, left));
                let mut right = node.on.iter().map(|(_, right)| (&node.right, right));
                let may_be_null = |(input, key): (&std::sync::Arc<Self>, &Expr)| !never_null(input, key);
                let lost = match node.kind {
                    _ if node.null_equal => false,
                    JoinKind::Left | JoinKind::LeftAnti => left.any(may_be_null),
                    JoinKind::Right | JoinKind::RightAnti => right.any(may_be_null),
                    JoinKind::Full => left.any(may_be_null) || right.any(may_be_null),
                    JoinKind::Inner | JoinKind::LeftSemi | JoinKind::RightSemi => false,
                };
                lost.then_some("rows whose key is NULL are not kept")
            }
            Self::Partition(node) => Some(match node.rule {
                PartitionRule::Windows(_) => "window functions are computed from their input again",
                PartitionRule::Top(_) => "the first rows are found in their input again",
                PartitionRule::Aggregates(_) => "these aggregates are computed from their input again",
            }),
            Self::AsOf(_) | Self::TemporalJoin(_) => Some("what rows have met is not kept"),
            Self::Window(_) | Self::Session(_) | Self::WindowClose(_) => Some("it follows a watermark"),
            Self::TemporalFilter(_) | Self::Retention(_) | Self::Idle(_) | Self::Forgetful(_) => {
                Some("it follows the clock")
            }
            Self::Input(_) | Self::Map(_) | Self::Union(_) | Self::Unnest(_) | Self::Constant(_) | Self::Hole(_) => {
                Some("it has no state")
            }
        }
    }

    /// Whether what comes out depends on when rows come in, and not only on which.
    pub fn follows_time(&self) -> bool {
        match self {
            Self::Window(node) => !node.watermark_of.is_empty(),
            Self::Session(node) => !node.watermark_of.is_empty(),
            Self::Aggregate(node) => node.window.is_some(),
            Self::Partition(node) => node.window.is_some(),
            Self::Join(node) => node.left_expiry.is_some() || node.right_expiry.is_some(),
            Self::TemporalJoin(_) | Self::TemporalFilter(_) | Self::WindowClose(_) => true,
            Self::Retention(_) | Self::Idle(_) | Self::Forgetful(_) => true,
            Self::Input(_) | Self::Map(_) | Self::AsOf(_) | Self::Union(_) | Self::SetOperation(_) => false,
            Self::Unnest(_) | Self::Distinct(_) | Self::Recursive(_) | Self::Hole(_) | Self::Constant(_) => false,
        }
    }
}

const FLOATS: &str = "its keys are floating-point numbers, whose zeros have signs that the state doesn't keep";

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            has_floats(field.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        _ => false,
    }
}

/// Whether a column of a node's output is known to have no NULL.
fn never_null(node: &Node, expression: &Expr) -> bool {
    let Some(column) = column_index(expression) else { return false };
    match node {
        Node::Input(input) => !input.schema.field(column).is_nullable(),
        Node::Map(map) => never_null(&map.input, &map.expressions[column]),
        Node::Distinct(distinct) => never_null(&distinct.input, expression),
        Node::Aggregate(aggregate) => aggregate.keys.get(column).is_some_and(|key| never_null(&aggregate.input, key)),
        Node::Join(join) => {
            let width = join.left.schema().fields().len();
            let (of_left, of_right) = match join.kind {
                JoinKind::Inner => (true, true),
                JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti => (true, false),
                JoinKind::Right => (false, true),
                JoinKind::Full | JoinKind::RightSemi | JoinKind::RightAnti => (false, false),
            };
            match column < width {
                true => of_left && never_null(&join.left, expression),
                false => of_right && never_null(&join.right, &crate::lower::column(column - width)),
            }
        }
        _ => false,
    }
}
