//! Encoded queries: read by a real parser, then held against rows.

mod eval;
mod moment;
mod parser;

pub use eval::{Resolved, order_rows};
pub use moment::Asker;
pub use parser::{Condition, Op, Query};
