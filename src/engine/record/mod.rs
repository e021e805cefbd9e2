//! The nouns that everything else speaks of.

mod cell;
mod change;
mod cursor;
mod image;
mod json;
mod key;
mod number;
mod presence;
mod schema;
mod side;
mod timestamp;
mod value;
mod values;

pub use cell::{Cell, push_cell, split_cell};
pub use change::{Change, Malformed, Meta, Record, RemoteId, Revision, Tombstone};
pub use cursor::Cursor;
pub use image::{DecodeError, Image, encode_values};
pub use json::{JsonError, json_text, value_from_json, value_from_raw, value_to_json, write_json};
pub use key::{Key, KeyError};
pub use number::Number;
pub use presence::Presence;
pub use schema::{Schema, SchemaBuilder};
pub use side::{Direction, Side};
pub use timestamp::Timestamp;
pub use value::Value;
pub use values::Values;
