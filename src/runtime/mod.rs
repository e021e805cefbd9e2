//! Everything that does: the tasks that carry out what the engine decides.

pub mod clock;
