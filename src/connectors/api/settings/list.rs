//! How many records are read: whole lists, changes since a moment, pages.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::wire::{Pointer, StampFormat, Template};
use super::Verb;

/// A request that shows records, page by page.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct List {
    /// GET where left out.
    pub method: Option<Verb>,
    #[schemars(with = "String")]
    pub path: Template,
    /// Parameters of every request.
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: BTreeMap<String, Template>,
    /// The body, for services that are asked by POST. Texts may hold places.
    pub body: serde_json::Map<String, serde_json::Value>,
    /// Where the list of records stands in a reply.
    #[schemars(with = "String")]
    pub records: Pointer,
    pub page: Page,
}

/// A request that shows what changed since a moment: it holds `{stamp}`.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// GET where left out.
    pub method: Option<Verb>,
    /// That of `list` where left out.
    #[schemars(with = "Option<String>")]
    pub path: Option<Template>,
    #[schemars(with = "BTreeMap<String, String>")]
    pub query: BTreeMap<String, Template>,
    pub body: serde_json::Map<String, serde_json::Value>,
    /// That of `list` where left out.
    #[schemars(with = "Option<String>")]
    pub records: Option<Pointer>,
    /// That of `list` where left out.
    pub page: Option<Page>,
    /// How the moment is written; as the stamps are where left out.
    #[schemars(with = "Option<String>")]
    pub format: Option<StampFormat>,
    /// The service leaves out records of just this moment.
    pub exclusive: bool,
    /// Records come in the order of their stamps.
    pub ordered: bool,
    /// How many records the service shows for one question at most, such as 10000 of a search; then the
    /// question is asked anew from the last stamp. Only where they are ordered.
    pub records_max: Option<u64>,
    /// How far behind its stamp a change may still come to light, in milliseconds.
    pub overlap_ms: Option<u64>,
}

/// How a list goes on.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    pub style: PageStyle,
    /// Records asked for in one page.
    pub size: usize,
    /// The parameter that says so; a JSON Pointer for a place in the body.
    pub size_param: Option<String>,
    /// The parameter that carries the cursor, the offset or the page's number; a JSON Pointer for a place in
    /// the body.
    pub param: Option<String>,
    /// Where a reply has the next cursor (`cursor`) or the next URL (`next_url`).
    #[schemars(with = "Option<String>")]
    pub next: Option<Pointer>,
    /// Where a reply tells whether there is more.
    #[schemars(with = "Option<String>")]
    pub more: Option<Pointer>,
    /// Where a reply tells how many records there are in all.
    #[schemars(with = "Option<String>")]
    pub total: Option<Pointer>,
    /// The number of the first page.
    pub first: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            style: PageStyle::None,
            size: 100,
            size_param: None,
            param: None,
            next: None,
            more: None,
            total: None,
            first: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PageStyle {
    /// One reply shows all.
    #[default]
    None,
    /// A reply has a text that the next request carries.
    Cursor,
    /// A request says how many records to pass over.
    Offset,
    /// A request says which page it wants.
    Page,
    /// The `Link` header has the next URL.
    Link,
    /// The reply's body has the next URL.
    NextUrl,
}

impl Changes {
    /// Returns the request with what it leaves to `list`.
    pub fn list(&self, whole: &List) -> List {
        List {
            method: self.method,
            path: self.path.clone().unwrap_or_else(|| whole.path.clone()),
            query: self.query.clone(),
            body: self.body.clone(),
            records: self.records.clone().unwrap_or_else(|| whole.records.clone()),
            page: self.page.clone().unwrap_or_else(|| whole.page.clone()),
        }
    }
}
