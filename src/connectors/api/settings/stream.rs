//! One stream: where its records, ids and stamps are, and how they are read and written.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::wire::{Hole, Pointer, StampFormat, Template, holes_in};
use super::{Changes, List, Verb, Write};

/// The members of a body.
type Body = serde_json::Map<String, serde_json::Value>;

/// What a stream's table may hold.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// Where a record has its id.
    #[schemars(with = "String")]
    pub id: Pointer,
    /// The ids are numbers in JSON.
    pub id_number: bool,
    /// Where a record has its fields: the record itself, or an object inside it such as `/properties`.
    #[schemars(with = "String")]
    pub values: Pointer,
    /// Further fields by name, at places inside a record, such as `/address/city`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub paths: BTreeMap<String, Pointer>,
    /// Where a record has the stamp of its last change.
    #[schemars(with = "Option<String>")]
    pub stamp: Option<Pointer>,
    /// How stamps are written: `rfc3339`, `rfc3339_seconds`, `epoch_seconds`, `epoch_millis` or a pattern.
    #[schemars(with = "String")]
    pub stamp_format: StampFormat,
    /// Where a record has its version; the stamp where left out.
    #[schemars(with = "Option<String>")]
    pub revision: Option<Pointer>,
    /// Where a record says that it is deleted: true, a number but 0, a text.
    #[schemars(with = "Option<String>")]
    pub deleted: Option<Pointer>,
    /// How deletions become known; found out from the rest where left out.
    pub deletions: Option<Deletions>,
    /// All fields, where no others may be written; found in the records where left out.
    pub fields: Vec<String>,
    /// Fields that are never written.
    pub read_only: Vec<String>,
    /// Fields that a record has to have; the mock refuses one without.
    pub required: Vec<String>,
    pub list: List,
    pub changes: Option<Changes>,
    pub get: Option<Get>,
    pub find: Option<Find>,
    pub create: Option<Write>,
    pub update: Option<Write>,
    pub delete: Option<Write>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            id: Pointer::default().member("id"),
            id_number: false,
            values: Pointer::default(),
            paths: BTreeMap::new(),
            stamp: None,
            stamp_format: StampFormat::default(),
            revision: None,
            deleted: None,
            deletions: None,
            fields: Vec::new(),
            read_only: Vec::new(),
            required: Vec::new(),
            list: List::default(),
            changes: None,
            get: None,
            find: None,
            create: None,
            update: None,
            delete: None,
        }
    }
}

/// How deletions become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Deletions {
    /// Every pass reads the whole list; what it does not show is gone.
    Scanned,
    /// `changes` shows deleted records, marked by `deleted`.
    Reported,
    /// The whole list is read now and then for its keys; what it does not show is gone.
    Listed,
}

/// Reads records by id: one by `{id}`, or many by `{ids}`.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Get {
    #[schemars(with = "String")]
    pub path: Template,
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: BTreeMap<String, Template>,
    /// Where a reply has the one record.
    #[schemars(with = "String")]
    pub record: Pointer,
    /// Where a reply has the many; only with `{ids}`.
    #[schemars(with = "String")]
    pub records: Pointer,
    /// Ids in one request at most.
    pub max: usize,
    /// Between them.
    pub join: String,
}

/// Finds records by key: one by `{key}`, or many by `{keys}` or as items of a body.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Find {
    /// Read the whole list instead: correct, and as dear as that.
    pub scan: bool,
    /// GET where left out.
    pub method: Option<Verb>,
    #[schemars(with = "String")]
    pub path: Template,
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: BTreeMap<String, Template>,
    pub body: serde_json::Map<String, serde_json::Value>,
    /// Where the items of the body stand, one a key.
    #[schemars(with = "Option<String>")]
    pub items: Option<Pointer>,
    /// One item: members with places.
    pub item: serde_json::Map<String, serde_json::Value>,
    /// The field that is searched; a link's key has to be this one.
    pub field: Option<String>,
    /// Where a reply has what was found.
    #[schemars(with = "String")]
    pub records: Pointer,
    /// Where a find has its id, for searches that show no whole records; these are then read by `get`.
    #[schemars(with = "Option<String>")]
    pub id: Option<Pointer>,
    /// Keys in one request at most.
    pub max: usize,
    /// Between them.
    pub join: String,
}

impl Stream {
    /// Names the field that holds the id.
    pub fn id_field(&self) -> &str {
        self.id.last().unwrap_or("id")
    }

    /// Tells whether the description itself names a field.
    pub fn names(&self, field: &str) -> bool {
        let searched = self.find.as_ref().and_then(|find| find.field.as_deref());
        let upserted = self.create.as_ref().and_then(|create| create.upsert.as_deref());
        self.fields.iter().any(|known| known == field)
            || self.paths.contains_key(field)
            || searched == Some(field)
            || upserted == Some(field)
    }

    /// Tells how deletions become known.
    pub fn deletions(&self) -> Deletions {
        match (self.deletions, &self.changes, &self.deleted) {
            (Some(told), ..) => told,
            (None, None, _) => Deletions::Scanned,
            (None, Some(_), Some(_)) => Deletions::Reported,
            (None, Some(_), None) => Deletions::Listed,
        }
    }

    /// Collects the places that records fill in the requests.
    pub fn holes(&self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let mut add = |path: &Template, query: &BTreeMap<String, Template>, bodies: [&Body; 2]| {
            holes.extend(path.holes().chain(query.values().flat_map(Template::holes)).cloned());
            holes.extend(bodies.into_iter().flat_map(|body| body.values()).flat_map(holes_in));
        };
        if let Some(find) = &self.find {
            add(&find.path, &find.query, [&find.body, &find.item]);
        }
        for (_, write) in self.writes() {
            add(&write.path, &write.query, [&write.body, &write.item]);
        }
        holes
    }

    /// Iterates over the requests that write, with their names.
    pub fn writes(&self) -> impl Iterator<Item = (&'static str, &Write)> {
        let writes = [("create", &self.create), ("update", &self.update), ("delete", &self.delete)];
        writes.into_iter().filter_map(|(name, write)| Some((name, write.as_ref()?)))
    }
}
