//! The service's protocol as pure functions: names, queries, documents, the meaning of a reply.
//!
//! Invariant: no clock and no I/O; `now` is an argument, and nobody outside looks at a status code.

mod catalogue;
mod document;
mod encode;
mod names;
mod query;
mod reply;

pub use super::super::rest::server_time;
pub use catalogue::{Kind, attributes_of, barred, keys_of, kind_of};
pub use document::{Decoder, Page, key_of};
pub use encode::{encode, is_id};
pub use names::{Field, Resource, relation_type};
pub use query::{Query, query_of_link};
pub use reply::{check, decode_token, is_not_found};
