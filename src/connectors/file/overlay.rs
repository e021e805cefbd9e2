//! What this process writes to a file while the file is being read.
//!
//! A pass reads the state of the file at its beginning. A record that we have written since would
//! be shown as it was before, which looks as if somebody had set it back. So our own writes are
//! laid over the rest of the pass: changed records show what we wrote, deleted ones are not shown.
//! New records are left to the next pass.
//!
//! Invariant: a record is never shown in a state older than our own last write to it.

use std::collections::HashMap;

use crate::engine::record::{Key, Record, Schema, Value};

/// Records that are remembered for one pass; beyond, the pass starts again.
const TOUCHED_MAX: usize = 50_000;

/// Our own writes since a pass began.
#[derive(Debug)]
pub(super) struct Overlay {
    key: Vec<String>,
    touched: HashMap<Key, Touch>,
    /// More was written than can be told record by record.
    lost: bool,
}

/// What became of one record, as a write says it.
pub(super) enum Touch {
    Deleted,
    /// These fields were written.
    Written(Vec<(Box<str>, Value)>),
}

impl std::fmt::Debug for Touch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Written(_) => "written",
        })
    }
}

impl Overlay {
    /// Begins with nothing written; `key`: the fields by which the pass tells records apart.
    pub(super) fn new(key: &[String]) -> Self {
        Self { key: key.to_vec(), touched: HashMap::new(), lost: false }
    }

    /// Notes what a write changed, told by its own key fields.
    pub(super) fn note(&mut self, key: &[String], record: &Key, touch: &Touch) {
        if self.key != key || self.touched.len() >= TOUCHED_MAX {
            (self.lost, self.touched) = (true, HashMap::new());
        }
        if self.lost {
            return;
        }
        let known = self.touched.entry(record.clone()).or_insert_with(|| Touch::Written(Vec::new()));
        match (known, touch) {
            // A record that was deleted and made again is a new one: the next pass shows it.
            (Touch::Deleted, _) => {}
            (known, Touch::Deleted) => *known = Touch::Deleted,
            (Touch::Written(fields), Touch::Written(written)) => {
                for (name, value) in written {
                    fields.retain(|(known, _)| known != name);
                    fields.push((name.clone(), value.clone()));
                }
            }
        }
    }

    /// Tells that the pass can't be brought up to date any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Tells that nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Brings a record up to date; `None` where it is gone.
    pub(super) fn apply(&self, mut record: Record) -> Option<Record> {
        let Ok(key) = Key::from_values(self.key.iter().map(|name| record.get(name))) else {
            return Some(record);
        };
        match self.touched.get(&key) {
            None => Some(record),
            Some(Touch::Deleted) => None,
            Some(Touch::Written(fields)) => {
                for (name, value) in fields {
                    set(&mut record, name, value);
                }
                Some(record)
            }
        }
    }
}

fn set(record: &mut Record, name: &str, value: &Value) {
    let position = record.schema.position(name).unwrap_or_else(|| {
        record.schema = Schema::new(record.schema.names().chain([name]));
        record.schema.len() - 1
    });
    let missing = record.schema.len().saturating_sub(record.values.len());
    if missing > 0 {
        let grown = record.values.iter().cloned().chain(std::iter::repeat_n(Value::Absent, missing));
        record.values = grown.collect();
    }
    if let Some(place) = record.values.get_mut(position) {
        *place = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_writes_are_laid_over_what_was_read() {
        let written = |name: &str, value: &str| Touch::Written(vec![(name.into(), Value::text(value))]);
        let mut overlay = Overlay::new(&["id".to_owned()]);
        let key = |id: i64| Key::from_values([&Value::Int(id)]).expect("a key");
        let id = ["id".to_owned()];
        overlay.note(&id, &key(1), &written("name", "first"));
        overlay.note(&id, &key(1), &written("name", "second"));
        overlay.note(&id, &key(1), &written("new", "field"));
        overlay.note(&id, &key(2), &Touch::Deleted);
        overlay.note(&id, &key(2), &written("name", "made again"));

        let read = |id: i64| Record::from_pairs([("id", Value::Int(id)), ("name", Value::text("read"))]);
        let first = overlay.apply(read(1)).expect("it is there");
        assert_eq!(first.get("name"), &Value::text("second"), "the last write counts");
        assert_eq!(first.get("new"), &Value::text("field"), "a field that the old content lacks");
        assert!(overlay.apply(read(2)).is_none(), "deleted since");
        assert_eq!(overlay.apply(read(3)).expect("untouched").get("name"), &Value::text("read"));

        overlay.note(&["other".to_owned()], &key(3), &Touch::Deleted);
        assert!(overlay.is_lost(), "a link that keys the file otherwise can't be followed");
    }
}
