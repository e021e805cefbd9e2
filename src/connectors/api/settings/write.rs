//! How a record is created, updated or deleted, alone or in batches.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;

use super::super::wire::{Pointer, Template};

/// A request that writes.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Write {
    /// POST for a create and for batches, PATCH for an update, DELETE for a delete where left out.
    pub method: Option<Verb>,
    #[schemars(with = "String")]
    pub path: Template,
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: BTreeMap<String, Template>,
    /// Where the record, or the list of a batch, stands in the body.
    #[schemars(with = "String")]
    pub wrap: Pointer,
    /// What else stands in the body.
    pub body: serde_json::Map<String, serde_json::Value>,
    /// What else stands in each record; texts may hold places. A name that begins with a slash is a place
    /// inside.
    pub item: serde_json::Map<String, serde_json::Value>,
    /// The id stands in the record; true in batches where left out, but for creates.
    pub with_id: Option<bool>,
    /// Where a reply, or each result of a batch, has the record as it stands now.
    #[schemars(with = "Option<String>")]
    pub reply: Option<Pointer>,
    /// Where a reply or a result says that it worked: true, or a status below 400.
    #[schemars(with = "Option<String>")]
    pub success: Option<Pointer>,
    /// Where a reply or a result has an error; none is null, false or empty.
    #[schemars(with = "Option<String>")]
    pub error: Option<Pointer>,
    pub batch: Option<Batch>,
    /// The field by which the service itself finds the record to write: repeating such a create makes no
    /// second one. A link's key has to be this one.
    pub upsert: Option<String>,
    /// The header under which the service knows a repeated create, and what it carries (`{hash}` where left
    /// out).
    pub idempotency_header: Option<String>,
    #[schemars(with = "Option<String>")]
    pub idempotency_value: Option<Template>,
    /// Nothing keeps a repeated create from making a second record, and that is accepted.
    pub may_duplicate: bool,
    /// The whole record is sent, because the service drops what it is not sent; true for PUT where left out.
    pub whole: Option<bool>,
    /// Sends the version as `If-Match`.
    pub if_match: bool,
}

/// Many records in one request.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// Records in one request at most.
    pub max: usize,
    /// Where a reply has the results, one a record; none where a good status says it all.
    #[schemars(with = "Option<String>")]
    pub results: Option<Pointer>,
    /// Where a reply has the errors, for services that list them apart.
    #[schemars(with = "Option<String>")]
    pub errors: Option<Pointer>,
    /// How a result is known to be a record's.
    pub by: MatchBy,
    /// Where a result has what it is known by.
    #[schemars(with = "Option<String>")]
    pub echo: Option<Pointer>,
    /// Where an error has it, alone or in a list.
    #[schemars(with = "Option<String>")]
    pub error_echo: Option<Pointer>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { max: 100, results: None, errors: None, by: MatchBy::Index, echo: None, error_echo: None }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchBy {
    /// Results come in the order of the records.
    #[default]
    Index,
    /// By the id of the record.
    Id,
    /// By its key.
    Key,
    /// By the number `{n}` that it was sent with.
    Number,
}

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    /// Returns the method as the client knows it.
    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

impl Write {
    /// Tells whether the whole record is sent.
    pub fn is_whole(&self) -> bool {
        self.whole.unwrap_or(self.method == Some(Verb::Put))
    }

    /// Returns how many records one request takes.
    pub fn batch_max(&self) -> usize {
        self.batch.as_ref().map_or(1, |batch| batch.max)
    }
}
