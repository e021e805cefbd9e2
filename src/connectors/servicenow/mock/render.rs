//! Rows as the Table API shows them.

use serde_json::{Value as Json, json};

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
    /// Says which fields are shown, and what they hold.
    pub fn columns(&self, catalogue: &Catalogue) -> Vec<(String, Kind)> {
        let names = catalogue.names(self.stream);
        let kind = |name: &str| catalogue.kind(self.stream, name);
        match &self.fields {
            Some(fields) => {
                let known = fields.iter().filter(|name| name.contains('.') || names.contains(name.as_str()));
                known.filter_map(|name| Some((name.clone(), kind(name)?))).collect()
            }
            None => names.iter().map(|name| (name.to_string(), kind(name).unwrap_or(Kind::Text))).collect(),
        }
    }

    /// Writes one row.
    pub fn row(
        &self,
        table: &Table,
        catalogue: &Catalogue,
        object: &Object,
        columns: &[(String, Kind)],
    ) -> Json {
        let shown = columns
            .iter()
            .map(|(name, kind)| (name.clone(), self.field(table, catalogue, object, name, *kind)));
        Json::Object(shown.collect())
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
