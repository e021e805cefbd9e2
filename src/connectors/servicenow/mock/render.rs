//! Rows as the Table API shows them.

use serde_json::{Map, Value as Json, json};

use super::catalogue::{Catalogue, Kind, text_of, value_at};
use crate::connectors::mock::{Object, Table};

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Display {
    Values,
    Displays,
    Both,
}

/// What a client wants of rows.
pub struct Shape<'s> {
    pub stream: &'s str,
    /// All where left out.
    pub fields: Option<Vec<String>>,
    pub display: Display,
    pub links: bool,
    pub base_url: &'s str,
}

impl Shape<'_> {
    /// Writes one row.
    pub fn row(&self, table: &Table, catalogue: &Catalogue, object: &Object) -> Json {
        let mut row = Map::new();
        let names = || catalogue.names(self.stream);
        match &self.fields {
            Some(fields) => {
                for name in fields {
                    let known = name.contains('.') || names().contains(name.as_str());
                    if let Some(kind) = catalogue.kind(self.stream, name).filter(|_| known) {
                        row.insert(name.clone(), self.field(table, catalogue, object, name, kind));
                    }
                }
            }
            None => {
                for name in names() {
                    let kind = catalogue.kind(self.stream, &name).unwrap_or(Kind::Text);
                    row.insert(name.to_string(), self.field(table, catalogue, object, &name, kind));
                }
            }
        }
        Json::Object(row)
    }

    fn field(&self, table: &Table, catalogue: &Catalogue, object: &Object, name: &str, kind: Kind) -> Json {
        let value = match name.contains('.') {
            true => value_at(table, catalogue, self.stream, object, name),
            false => text_of(object, name),
        };
        let display = || catalogue.display(table, self.stream, name, &value);
        let link = || {
            let other = Catalogue::declared(self.stream, name).and_then(|field| field.reference)?;
            (self.links && !value.is_empty())
                .then(|| format!("{}/api/now/table/{other}/{value}", self.base_url))
        };
        let link = if kind == Kind::Reference { link() } else { None };
        match (self.display, link) {
            (Display::Values, None) => value.as_ref().into(),
            (Display::Values, Some(link)) => json!({ "link": link, "value": value }),
            (Display::Displays, None) => display().into(),
            (Display::Displays, Some(link)) => json!({ "display_value": display(), "link": link }),
            (Display::Both, None) => json!({ "display_value": display(), "value": value }),
            (Display::Both, Some(link)) => {
                json!({ "display_value": display(), "link": link, "value": value })
            }
        }
    }
}
