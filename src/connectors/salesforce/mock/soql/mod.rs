//! A little SOQL: enough for what clients send to read streams.

mod column;
mod days;
mod eval;
mod lexer;
mod like;
mod narrow;
mod parser;

pub use column::{Column, push_columns};
pub use eval::{Plan, plan};
pub use narrow::{STAMP, Way};
pub use parser::{Comparison, Condition, Literal, Query, Select, parse};
