//! Field names are stored once a shape; images name it by number.
//!
//! Invariant: what all connections share has been committed. A number that the writer made in a
//! transaction that then rolled back may come again for other names, so it stays with the writer
//! until the commit.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension};

use super::trouble::{Fallible, Trouble, damaged};
use crate::engine::record::{Image, Schema};

/// Beyond so many shapes handed in, the writer starts to learn them anew.
const INTERNED_MAX: usize = 4096;

type Shared = Arc<RwLock<HashMap<u32, Arc<Schema>>>>;

/// What one connection knows of shapes.
pub(super) struct Shapes {
    shared: Shared,
    /// Only the writer interns; by the address of a schema that the entry keeps alive.
    interned: HashMap<usize, (Arc<Schema>, u32)>,
    /// What the writer has read or made and not yet shared.
    local: HashMap<u32, Arc<Schema>>,
    writes: bool,
}

impl Shapes {
    pub fn new(shared: Shared, writes: bool) -> Self {
        Self { shared, interned: HashMap::new(), local: HashMap::new(), writes }
    }

    /// Returns the number of a shape, storing it where it is new.
    pub fn intern(&mut self, db: &Connection, shape: &Arc<Schema>) -> Fallible<u32> {
        let address = Arc::as_ptr(shape) as usize;
        if let Some((_, id)) = self.interned.get(&address) {
            return Ok(*id);
        }
        let names: Vec<&str> = shape.names().collect();
        let names = serde_json::to_string(&names).map_err(|error| Trouble::Unusable(error.to_string()))?;
        let found: Option<u32> = db
            .prepare_cached("SELECT id FROM shapes WHERE names = ?1")?
            .query_row([&names], |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => db
                .prepare_cached("INSERT INTO shapes (names) VALUES (?1) RETURNING id")?
                .query_row([&names], |row| row.get(0))?,
        };
        if self.interned.len() >= INTERNED_MAX {
            self.interned.clear();
        }
        self.interned.insert(address, (Arc::clone(shape), id));
        self.local.insert(id, Arc::clone(shape));
        Ok(id)
    }

    /// Returns the shape of a number: the very one that the writer was last given, so that its users
    /// can tell by the address that it is theirs.
    pub fn get(&mut self, db: &Connection, id: u32) -> Fallible<Arc<Schema>> {
        if let Some(shape) = self.local.get(&id) {
            return Ok(Arc::clone(shape));
        }
        if let Some(shape) = self.shared.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Arc::clone(shape));
        }
        let names: String = db
            .prepare_cached("SELECT names FROM shapes WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .ok_or_else(|| damaged(&format!("the shape {id}")))?;
        let names: Vec<String> =
            serde_json::from_str(&names).map_err(|_| damaged(&format!("the shape {id}")))?;
        let shape = Schema::new(names);
        if self.writes {
            self.local.insert(id, Arc::clone(&shape));
        } else {
            let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            return Ok(Arc::clone(shared.entry(id).or_insert(shape)));
        }
        Ok(shape)
    }

    /// Reads an image under its shape's number.
    pub fn image(&mut self, db: &Connection, shape: u32, values: &[u8]) -> Fallible<Image> {
        let shape = self.get(db, shape)?;
        Image::decode(&shape, values).map_err(|error| Trouble::Damaged(error.to_string()))
    }

    /// Shares what the commit has made true.
    pub fn committed(&mut self) {
        if !self.local.is_empty() {
            let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            shared.extend(self.local.drain());
        }
    }

    /// Forgets what a rollback may have undone.
    pub fn rolled_back(&mut self) {
        self.interned.clear();
        self.local.clear();
    }
}
