//! Keys that an external id field does not tell apart: it trims, and mostly ignores case.
//!
//! An upsert under such a key would change the record of another one, and nobody would hear of it.

use std::collections::HashSet;

use super::wire::Described;
use crate::connectors::{Delivery, Outcome};
use crate::engine::fault::{Fault, FaultCode};

/// The keys of one batch of upserts.
pub struct Keys<'d> {
    field: &'d str,
    /// Fields that grew in the built-in mock take every text as it is.
    exact: bool,
    case_sensitive: bool,
    seen: HashSet<String>,
}

impl<'d> Keys<'d> {
    pub fn new(described: &Described, field: &'d str) -> Self {
        let case_sensitive = described.field(field).is_some_and(|field| field.case_sensitive);
        Self { field, exact: described.open, case_sensitive, seen: HashSet::new() }
    }

    /// Refuses a delivery whose key the field would take for another one; `None` where all is well.
    pub fn refuse(&mut self, delivery: &Delivery) -> Option<Outcome> {
        if self.exact {
            return None;
        }
        let (key, field) = (delivery.key.to_string(), self.field);
        let refused = |code, message: String, remedy: &str| {
            let remedy = Some(remedy.to_owned());
            Some(Outcome::Failed(Fault { remedy, ..Fault::rejected(code, message) }))
        };
        if key.trim() != key {
            return refused(
                FaultCode::Validation,
                format!("{field} takes no spaces around the key {key:?} and would store it as another one"),
                "take the spaces off at the source",
            );
        }
        if !self.seen.insert(if self.case_sensitive { key.clone() } else { key.to_lowercase() }) {
            return refused(
                FaultCode::Conflict,
                format!("{field} does not tell the key {key} from another one that differs in case alone"),
                "make the keys differ in more than case, or let the field be case sensitive",
            );
        }
        None
    }
}
