//! What the mock remembers beside its rows, so that a million of them are no strain.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::catalogue::text_of;
use crate::connectors::mock::{Object, Table};

/// The fields by which rows are kept in order.
const FIELDS: [&str; 2] = ["sys_updated_on", "sys_created_on"];

/// Rows of one table in the order of (stamp, id).
pub type Order = BTreeSet<(CompactString, CompactString)>;

/// Orders of all tables, each made from the rows when it is first asked for.
///
/// Invariant: holds just what the table holds; whoever changes the table tells this too.
#[derive(Default)]
pub struct Orders {
    made: BTreeMap<(CompactString, &'static str), Order>,
}

impl Orders {
    /// Gives the rows in the order of a field; `None` where they are not kept in that order.
    pub fn of(&mut self, table: &Table, stream: &str, field: &str) -> Option<&Order> {
        let field = FIELDS.into_iter().find(|known| *known == field)?;
        let made = self.made.entry((stream.into(), field)).or_insert_with(|| {
            table.rows(stream).map(|(id, object)| (text_of(object, field).into(), id.into())).collect()
        });
        Some(made)
    }

    /// Learns of a row.
    pub fn add(&mut self, stream: &str, id: &str, object: &Object) {
        for field in FIELDS {
            if let Some(order) = self.made.get_mut(&(stream.into(), field)) {
                order.insert((text_of(object, field).into(), id.into()));
            }
        }
    }

    /// Forgets a row.
    pub fn drop(&mut self, stream: &str, id: &str, object: &Object) {
        for field in FIELDS {
            if let Some(order) = self.made.get_mut(&(stream.into(), field)) {
                order.remove(&(text_of(object, field).into(), id.into()));
            }
        }
    }
}
