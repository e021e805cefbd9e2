//! The two ends of a link, and the two ways between them.

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    A,
    B,
}

impl Side {
    /// Both ends, `a` first: ties go to `a`.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Returns the other end.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Returns the direction that starts at this end.
    pub fn outward(self) -> Direction {
        match self {
            Self::A => Direction::AToB,
            Self::B => Direction::BToA,
        }
    }

    /// Returns `a` or `b`, as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// One way through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    AToB,
    BToA,
}

impl Direction {
    /// Both ways, `a_to_b` first.
    pub const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// Returns the end that is read.
    pub fn from(self) -> Side {
        match self {
            Self::AToB => Side::A,
            Self::BToA => Side::B,
        }
    }

    /// Returns the end that is written.
    pub fn to(self) -> Side {
        self.from().other()
    }

    /// Returns `a_to_b` or `b_to_a`, as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AToB => "a_to_b",
            Self::BToA => "b_to_a",
        }
    }
}
