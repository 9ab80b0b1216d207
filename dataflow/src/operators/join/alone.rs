//! The two sides of a join: which rows of one come out by themselves, and when that changes.

use planner::incremental::JoinKind;

/// Which input of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operators) enum Which {
    Left,
    Right,
}

impl Which {
    pub(in crate::operators) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// Rows of a side that come out without a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operators) enum Alone {
    No,
    /// Those that have a match (semi).
    Matched,
    /// Those that have none (outer, anti).
    Unmatched,
}

impl Alone {
    /// What the left and the right side of a join do.
    pub(in crate::operators) fn of(kind: JoinKind) -> (Self, Self) {
        match kind {
            JoinKind::Inner => (Self::No, Self::No),
            JoinKind::Left | JoinKind::LeftAnti => (Self::Unmatched, Self::No),
            JoinKind::Right | JoinKind::RightAnti => (Self::No, Self::Unmatched),
            JoinKind::Full => (Self::Unmatched, Self::Unmatched),
            JoinKind::LeftSemi => (Self::Matched, Self::No),
            JoinKind::RightSemi => (Self::No, Self::Matched),
        }
    }

    /// Whether a row with that many matches comes out.
    pub(in crate::operators) fn wants(self, matches: i64) -> bool {
        match self {
            Self::No => false,
            Self::Matched => matches > 0,
            Self::Unmatched => matches <= 0,
        }
    }

    /// What happens to a row alone when its number of matches changes: 1 it comes, -1 it goes.
    pub(in crate::operators) fn change(self, before: i64, after: i64) -> i64 {
        i64::from(self.wants(after)) - i64::from(self.wants(before))
    }
}

/// Whether pairs of rows come out.
pub(in crate::operators) fn emits_pairs(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full)
}
