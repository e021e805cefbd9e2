//! A record's identity and its image: the fields that the rules know, by position.

use std::sync::Arc;

use crate::engine::record::{Image, Key, Malformed, Meta, Record, Schema, Side, json_text};
use crate::engine::rules::LinkRules;
use crate::planted::{Bug, planted};

/// A record on its way through the planner.
#[derive(Clone, Debug)]
pub struct Projected {
    pub key: Key,
    pub image: Image,
    pub meta: Meta,
}

/// Projects records of one side. Looks names up once a schema, not once a record.
#[derive(Debug)]
pub struct Projector {
    shape: Arc<Schema>,
    key: Vec<usize>,
    schema: Option<Arc<Schema>>,
    positions: Vec<Option<usize>>,
    /// The records are laid out as the shape is: their values are taken as they are.
    as_they_are: bool,
}

impl Projector {
    /// Makes the projector of one side.
    pub fn new(rules: &LinkRules, side: Side) -> Self {
        Self {
            shape: Arc::clone(rules.shape(side)),
            key: rules.key(side).to_vec(),
            schema: None,
            positions: Vec::new(),
            as_they_are: false,
        }
    }

    /// Gives key and image, or says why the record can't be identified.
    pub fn project(&mut self, record: Record) -> Result<Projected, Malformed> {
        let is_known =
            |schema: &Arc<Schema>| Arc::ptr_eq(schema, &record.schema) || planted(Bug::PlacesForGood);
        if !self.schema.as_ref().is_some_and(is_known) {
            self.positions = self.shape.names().map(|name| record.schema.position(name)).collect();
            self.schema = Some(Arc::clone(&record.schema));
            self.as_they_are = self.shape == record.schema;
        }
        let values = if self.as_they_are && record.values.len() == self.shape.len() {
            record.values
        } else {
            let at = |position: &Option<usize>| position.and_then(|at| record.values.get(at)).cloned();
            self.positions.iter().map(|position| at(position).unwrap_or_default()).collect()
        };
        let image = Image { shape: Arc::clone(&self.shape), values };
        match Key::from_values(self.key.iter().map(|&position| image.at(position))) {
            Ok(key) => Ok(Projected { key, image, meta: record.meta }),
            Err(error) => Err(Malformed {
                key: None,
                raw: json_text(&Record { schema: image.shape, values: image.values, meta: Meta::default() }),
                reason: error.to_string(),
            }),
        }
    }
}
