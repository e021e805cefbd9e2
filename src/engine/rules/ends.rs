//! What is known of a link's two ends, and the shapes that grow while a link is compiled.

use std::sync::Arc;

use super::compiled::{EndFacts, LinkFacts};
use super::error::{RulesError, Spot, nearest};
use crate::engine::record::{Direction, Schema, SchemaBuilder, Side};

impl LinkFacts {
    /// Returns the facts of one end.
    pub fn end(&self, side: Side) -> &EndFacts {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Tells whether anything travels that way.
    pub fn runs(&self, direction: Direction) -> bool {
        match direction {
            Direction::AToB => self.a_to_b,
            Direction::BToA => self.b_to_a,
        }
    }
}

impl EndFacts {
    /// Tells whether the stream is known to have the field.
    pub fn has(&self, field: &str) -> bool {
        self.fields.iter().chain(&self.key).any(|known| known == field) || self.walks_to(field)
    }

    fn walks_to(&self, field: &str) -> bool {
        field.split_once('.').is_some_and(|(first, _)| self.walks.iter().any(|known| known == first))
    }

    /// Names the end for messages: `a (users in app)`.
    pub(super) fn words(&self, side: Side) -> String {
        format!("{} ({} in {})", side.as_str(), self.stream, self.system)
    }
}

/// Both ends while their shapes grow.
pub(super) struct Ends<'f> {
    pub facts: &'f LinkFacts,
    a: SchemaBuilder,
    b: SchemaBuilder,
}

impl<'f> Ends<'f> {
    pub fn new(facts: &'f LinkFacts) -> Self {
        Self { facts, a: SchemaBuilder::default(), b: SchemaBuilder::default() }
    }

    /// Returns the position of a field, adding it to the shape where it is new.
    pub fn place(&mut self, side: Side, field: &str) -> usize {
        match side {
            Side::A => self.a.position(field),
            Side::B => self.b.position(field),
        }
    }

    /// Tells whether the stream is known to have the field.
    pub fn has(&self, side: Side, field: &str) -> bool {
        self.facts.end(side).has(field)
    }

    /// Tells whether the stream has the field or may come to have it.
    pub fn may_have(&self, side: Side, field: &str) -> bool {
        self.facts.end(side).open || self.has(side, field)
    }

    /// Refuses a field that the stream does not have.
    pub fn known(&self, side: Side, field: &str, spot: &Spot) -> Result<(), RulesError> {
        if self.may_have(side, field) {
            return Ok(());
        }
        Err(self.missing(side, field, spot))
    }

    /// Refuses a field that can't be written because the stream does not have it itself.
    pub fn own(&self, side: Side, field: &str, spot: &Spot) -> Result<(), RulesError> {
        let end = self.facts.end(side);
        if !end.walks_to(field) {
            return self.known(side, field, spot);
        }
        Err(spot.remedied(
            format!("`{field}` of {} is another record's field and is only read", end.words(side)),
            "map it in the other direction's `mappings` only, and write it by a link of its own",
        ))
    }

    /// Makes the error that a stream does not have a field.
    pub fn missing(&self, side: Side, field: &str, spot: &Spot) -> RulesError {
        let end = self.facts.end(side);
        let names = end.fields.iter().map(String::as_str);
        let remedy = match nearest(field, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None if end.fields.is_empty() => "check the stream's name".to_owned(),
            None => format!("it has: {}", end.fields.join(", ")),
        };
        spot.remedied(format!("{} has no field `{field}`", end.words(side)), remedy)
    }

    /// Returns the finished shapes.
    pub fn shapes(self) -> [Arc<Schema>; 2] {
        [self.a.build(), self.b.build()]
    }
}
