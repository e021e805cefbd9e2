//! The opaque resume point of a source.

/// Where a source can go on reading. Only the source that made it can read it.
///
/// Invariant: a cursor is stored in the same transaction as what its page decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);
