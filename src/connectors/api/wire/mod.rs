//! A described protocol as pure functions: requests out of templates, records out of replies, the meaning
//! of a reply.
//!
//! Invariant: no clock and no I/O; `now` is an argument, and nobody outside looks at a status code.

mod classify;
mod decode;
mod encode;
mod link;
mod pointer;
mod results;
mod stamp;
mod template;
mod tree;

pub use classify::{check, is_not_found, server_time};
pub use decode::{Decoder, Listed, fits, key_of, truthy};
pub use encode::{Encoder, Sent, constant};
pub use link::{Origin, next_link};
pub use pointer::Pointer;
pub use results::{Results, Sorted, name_of, sort_results};
pub use stamp::StampFormat;
pub use template::{Facts, Hole, Query, Template, Unfit, holes_in};
pub use tree::Tree;
