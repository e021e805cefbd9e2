//! A little SOQL: enough for what clients send to read streams.

mod days;
mod eval;
mod lexer;
mod like;
mod parser;

pub use eval::{Plan, plan};
pub use parser::{Comparison, Condition, Literal, Query, Select, parse};
