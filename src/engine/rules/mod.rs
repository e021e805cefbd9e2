//! `rules.json`: parsed and checked as a whole, compiled once a link, evaluated by position.

mod compiled;

pub use compiled::{
    ConflictPolicy, DeletePolicy, EndFacts, Held, Invalid, LinkFacts, LinkRules, Mapped, Operations, Way,
};
