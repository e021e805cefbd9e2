//! What the mock remembers beside its objects, so that a million of them are no strain.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::mock::{Object, Table};
use super::filter::items;
use crate::engine::record::{Timestamp, Value};

/// Orders of the objects of all streams, made from the table when a stream is first used.
///
/// Invariant: holds just what the table holds; whoever changes the table tells this too.
#[derive(Default)]
pub struct Orders {
    streams: BTreeMap<String, Order>,
}

/// Orders of one stream's objects.
#[derive(Default)]
pub struct Order {
    pub by_stamp: BTreeSet<(i64, u64)>,
    pub ids: BTreeSet<u64>,
    /// By mail address in lower case.
    pub by_email: BTreeMap<String, BTreeSet<u64>>,
}

impl Orders {
    /// Gives the orders of a stream.
    pub fn of(&mut self, table: &Table, stream: &str) -> &mut Order {
        self.streams.entry(stream.to_owned()).or_insert_with(|| {
            let mut order = Order::default();
            for (id, object) in table.rows(stream) {
                order.add(id, object);
            }
            order
        })
    }
}

impl Order {
    /// Learns of an object.
    pub fn add(&mut self, id: &str, object: &Object) {
        let Ok(id) = id.parse::<u64>() else { return };
        self.ids.insert(id);
        self.by_stamp.insert((stamp_of(object), id));
        for email in emails_of(object) {
            self.by_email.entry(email).or_default().insert(id);
        }
    }

    /// Forgets an object.
    pub fn drop(&mut self, id: &str, object: &Object) {
        let Ok(id) = id.parse::<u64>() else { return };
        self.ids.remove(&id);
        self.by_stamp.remove(&(stamp_of(object), id));
        for email in emails_of(object) {
            if let Some(ids) = self.by_email.get_mut(&email) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_email.remove(&email);
                }
            }
        }
    }
}

/// Returns an object's stamp in milliseconds.
pub fn stamp_of(object: &Object) -> i64 {
    let text = object.text("updatedAt");
    text.and_then(Timestamp::parse_rfc3339).map_or(0, |stamp| stamp.0)
}

/// Returns the mail addresses of an object in lower case.
pub fn emails_of(object: &Object) -> Vec<String> {
    match object.get("emails") {
        Some(Value::Json(list)) => {
            items(&list).iter().filter_map(Value::as_text).map(str::to_lowercase).collect()
        }
        _ => Vec::new(),
    }
}
