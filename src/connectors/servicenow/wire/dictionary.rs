//! What is known of a table's fields, from `sys_dictionary` or, where that can't be read, from a row.

use std::collections::BTreeMap;

use crate::engine::record::Record;

/// Every row has these.
pub const SYSTEM_FIELDS: [&str; 6] =
    ["sys_id", "sys_created_on", "sys_created_by", "sys_updated_on", "sys_updated_by", "sys_mod_count"];

/// What a field holds, as far as that matters for writing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `glide_date_time`.
    Moment,
    Flag,
    Whole,
    /// The `sys_id` of a record of another table.
    Reference,
    Other,
}

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub kind: Kind,
    /// Characters that it holds, where the service cuts longer texts.
    pub length_max: Option<usize>,
}

/// The fields of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    fields: BTreeMap<String, Field>,
    /// Fields that are not listed may exist, or come into being on first use.
    pub open: bool,
}

impl Dictionary {
    /// Takes fields as they are.
    #[cfg(test)]
    pub fn of<'n>(fields: impl IntoIterator<Item = (&'n str, Field)>) -> Self {
        let fields = fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
        Self { fields, open: false }
    }

    /// Reads rows of `sys_dictionary`: `element`, `internal_type`, `max_length`. An element `*` says that any
    /// field exists, which no real service does.
    pub fn learn<'r>(&mut self, rows: impl IntoIterator<Item = &'r Record>) {
        for row in rows {
            let text = |name: &str| row.get(name).to_plain().unwrap_or_default();
            let name = text("element");
            match name.as_str() {
                "" => continue,
                "*" => {
                    self.open = true;
                    continue;
                }
                _ => {}
            }
            let kind = match text("internal_type").as_str() {
                "glide_date_time" => Kind::Moment,
                "boolean" => Kind::Flag,
                "integer" | "longint" => Kind::Whole,
                "reference" => Kind::Reference,
                _ => Kind::Other,
            };
            // Only texts are cut; lengths of other types are about something else.
            let is_text =
                matches!(text("internal_type").as_str(), "string" | "email" | "url" | "phone_number_e164");
            let length_max = text("max_length").parse().ok().filter(|max| is_text && *max > 0);
            let field = Field { kind, length_max };
            self.fields.insert(name.into(), field);
        }
        if !self.fields.is_empty() {
            self.add_system_fields();
        }
    }

    /// Learns the names that a row shows, where nothing better is known.
    pub fn learn_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        for name in names {
            let unknown = Field { kind: Kind::Other, length_max: None };
            self.fields.entry(name.to_owned()).or_insert(unknown);
        }
        self.add_system_fields();
    }

    fn add_system_fields(&mut self) {
        for name in SYSTEM_FIELDS {
            let kind = if name.ends_with("_on") { Kind::Moment } else { Kind::Other };
            self.fields.entry(name.to_owned()).or_insert(Field { kind, length_max: None });
        }
    }

    /// Tells whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Finds a field.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// Tells whether a name can be read: a field, or a walk that begins at one.
    pub fn has(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.open || self.fields.is_empty() || self.fields.contains_key(first)
    }

    /// Names the fields behind which another record's fields can be read.
    pub fn walks(&self) -> impl Iterator<Item = &str> {
        let references = self.fields.iter().filter(|(_, field)| field.kind == Kind::Reference);
        references.map(|(name, _)| name.as_str())
    }

    /// Names the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> Record {
        Record::from_pairs(pairs.iter().map(|(name, value)| (*name, (*value).into())))
    }

    #[test]
    fn the_dictionary_tells_kinds_and_lengths() {
        let rows = [
            row(&[("element", "correlation_id"), ("internal_type", "string"), ("max_length", "100")]),
            row(&[("element", "opened_at"), ("internal_type", "glide_date_time"), ("max_length", "40")]),
            row(&[("element", "active"), ("internal_type", "boolean")]),
            row(&[("element", "caller_id"), ("internal_type", "reference"), ("max_length", "32")]),
            row(&[("element", ""), ("internal_type", "collection")]),
        ];
        let mut dictionary = Dictionary::default();
        dictionary.learn(&rows);
        assert_eq!(dictionary.field("correlation_id").and_then(|field| field.length_max), Some(100));
        let opened = dictionary.field("opened_at").expect("a field");
        assert_eq!((opened.kind, opened.length_max), (Kind::Moment, None));
        assert!(dictionary.field("active").is_some_and(|field| field.kind == Kind::Flag));
        assert_eq!(dictionary.walks().collect::<Vec<_>>(), ["caller_id"]);
        assert!(dictionary.has("sys_mod_count") && dictionary.has("active.x") && !dictionary.has("colour"));
        dictionary.learn(&[row(&[("element", "*")])]);
        assert!(dictionary.has("colour"));
        assert!(Dictionary::default().has("anything"), "where nothing is known nothing is refused");
    }
}
