//! The service's protocol as pure functions: queries, rows, batches, the meaning of a reply.
//!
//! Invariant: no clock and no I/O; `now` is an argument, and nobody outside looks at a status code.

mod batch;
mod dictionary;
mod encoded;
mod moment;
mod reply;
mod rows;
mod values;

pub use batch::{Answers, Asked, BatchPlan, read_batch, write_batch};
pub use dictionary::{Dictionary, SYSTEM_FIELDS};
pub use encoded::{Encoded, is_name, is_sayable, is_sys_id};
pub use moment::{FORM, format_moment, parse_moment};
pub use reply::{cancelled, check, decode_token, is_forbidden, is_not_found};
pub use rows::{Decoder, Row, key_of, total_count};
pub use values::{encode, same};
