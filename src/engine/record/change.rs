//! What a source reports.

use std::sync::Arc;

use compact_str::CompactString;

use super::{Key, Schema, Timestamp, Value, Values};

/// A record's id in the outside system, where that is not the key itself.
pub type RemoteId = CompactString;

/// A remote version, opaque, for compare-and-set and for telling our own writes apart.
pub type Revision = CompactString;

/// One entity as a source shows it: values by position in a shared schema.
#[derive(Clone, Debug)]
pub struct Record {
    pub schema: Arc<Schema>,
    /// As many as the schema has names; [`Value::Absent`] where this record lacks one.
    pub values: Values,
    pub meta: Meta,
}

/// What an outside system says of a record beside its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub id: Option<RemoteId>,
    pub revision: Option<Revision>,
    /// The system's own stamp of the last change; never our clock.
    pub modified_at: Option<Timestamp>,
    /// The system says that our own user made the last change.
    pub ours: bool,
}

impl Record {
    /// Returns the value of a field by name; absent where the schema lacks it.
    pub fn get(&self, name: &str) -> &Value {
        self.schema.position(name).and_then(|at| self.values.get(at)).unwrap_or(&Value::Absent)
    }

    /// Builds a record from pairs of names and values; for edges and tests, not for the hot path.
    pub fn from_pairs<N: AsRef<str>>(pairs: impl IntoIterator<Item = (N, Value)>) -> Self {
        let (names, values): (Vec<N>, Vec<Value>) = pairs.into_iter().unzip();
        Self { schema: Schema::new(names), values: values.into(), meta: Meta::default() }
    }
}

impl Change {
    /// Returns about how many bytes its values take.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Upsert(record) => record.values.iter().map(Value::bytes).sum(),
            Self::Delete(_) => 0,
            Self::Malformed(malformed) => malformed.raw.len() as u64,
        }
    }
}

/// The fact of a deletion. At least one of `key` and `id` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub key: Option<Key>,
    pub id: Option<RemoteId>,
    pub at: Option<Timestamp>,
}

/// Something that is not a record, although it stands where one should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The key where it could still be read.
    pub key: Option<Key>,
    /// What was there, shortened to at most 64 KiB.
    pub raw: String,
    pub reason: String,
}

/// One observed fact about one record.
#[derive(Clone, Debug)]
pub enum Change {
    Upsert(Record),
    Delete(Tombstone),
    Malformed(Malformed),
}
