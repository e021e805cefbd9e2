//! A little SOQL: enough for what clients send to read streams.

mod eval;
mod lexer;
mod parser;

pub use eval::plan;
pub use parser::{Comparison, Condition, Literal, Query, Select, parse};
