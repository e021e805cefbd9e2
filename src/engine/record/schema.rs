//! The field names that a chunk of records shares.

use std::collections::HashMap;
use std::sync::Arc;

/// Field names in order, with a look-up by name.
///
/// Invariant: names are unique; positions never change once built. Records carry only values, so
/// that the hot path looks up no names.
#[derive(Debug, Default)]
pub struct Schema {
    names: Vec<Box<str>>,
    positions: HashMap<Box<str>, usize>,
}

impl Schema {
    /// Builds a schema from names; a name that comes twice keeps its first place.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Arc<Self> {
        let mut builder = SchemaBuilder::default();
        for name in names {
            builder.position(name.as_ref());
        }
        builder.build()
    }

    /// Builds a schema with these names too, behind its own; `None` where none of them is new.
    pub fn grown<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<Arc<Self>> {
        let mut grown: Option<SchemaBuilder> = None;
        for name in names {
            if grown.is_none() && self.position(name).is_some() {
                continue;
            }
            let own = || {
                let mut builder = SchemaBuilder::default();
                for known in self.names() {
                    builder.position(known);
                }
                builder
            };
            grown.get_or_insert_with(own).position(name);
        }
        grown.map(SchemaBuilder::build)
    }

    /// Returns the position of a name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// Returns the name at a position.
    pub fn name(&self, position: usize) -> Option<&str> {
        self.names.get(position).map(AsRef::as_ref)
    }

    /// Iterates over the names in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// Returns the number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Tells whether there is no name at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl Eq for Schema {}

/// Grows a schema name by name, for sources that learn their fields while they read.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    names: Vec<Box<str>>,
    positions: HashMap<Box<str>, usize>,
}

impl SchemaBuilder {
    /// Returns the position of a name, adding it at the end where it is new.
    pub fn position(&mut self, name: &str) -> usize {
        if let Some(&position) = self.positions.get(name) {
            return position;
        }
        let position = self.names.len();
        self.names.push(name.into());
        self.positions.insert(name.into(), position);
        position
    }

    /// Returns the finished schema.
    pub fn build(self) -> Arc<Schema> {
        Arc::new(Schema { names: self.names, positions: self.positions })
    }
}
