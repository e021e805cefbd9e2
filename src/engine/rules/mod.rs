//! `rules.json`: parsed and checked as a whole, compiled once a link, evaluated by position.

mod barred;
mod compile;
mod compile_way;
mod compiled;
mod condition;
mod contact;
mod convert;
mod date;
mod describe;
mod ends;
mod error;
mod expr;
mod expr_names;
mod expr_value;
mod file;
mod json;
mod order;
mod orient;
mod parse;
mod parse_way;
mod rings;
mod schema;
mod text;
mod transform;
mod validate;
mod verdict;
mod way;

pub use error::RulesError;
pub use file::RulesFile;
pub use order::compare;
pub use rings::{Flow, restless};
pub use schema::rules_schema;

pub use compiled::{
    ConflictPolicy, DeletePolicy, EndFacts, Held, Invalid, LinkFacts, LinkRules, Mapped, Operations,
};
pub use verdict::Verdict;
pub use way::Way;

#[cfg(test)]
mod tests;
