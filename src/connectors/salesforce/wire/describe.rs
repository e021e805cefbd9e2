//! What an object type looks like.

use serde::Deserialize;

/// How a field's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Boolean,
    Date,
    DateTime,
}

/// A field as describe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// In the declared spelling; SOQL and saves ignore case, replies do not.
    pub name: String,
    pub kind: Kind,
    /// Values that differ in case are different; the service says so of unique fields only.
    pub case_sensitive: bool,
    /// Records can be upserted by it.
    pub external_id: bool,
    /// Our user may set it, on a new record at least.
    pub writable: bool,
    /// Fits into a cell of CSV.
    pub in_bulk: bool,
}

/// An object type as describe shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    pub fields: Vec<FieldInfo>,
    /// Fields come into being when first used; only the built-in mock says so.
    pub open: bool,
    /// The service keeps a log of what was deleted.
    pub replicateable: bool,
}

impl Described {
    /// Reads a describe answer.
    pub fn decode(body: &[u8]) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_slice(body)?;
        let fields = answer.fields.into_iter().map(|field| FieldInfo {
            kind: kind(&field.r#type),
            in_bulk: !matches!(field.r#type.as_str(), "address" | "location" | "base64"),
            name: field.name,
            case_sensitive: field.case_sensitive,
            external_id: field.external_id || field.id_lookup,
            writable: field.createable || field.updateable,
        });
        Ok(Self {
            fields: fields.collect(),
            open: answer.own.is_some_and(|own| own.open),
            replicateable: answer.replicateable,
        })
    }

    /// Finds a field by its name, case ignored.
    pub fn field(&self, name: &str) -> Option<&FieldInfo> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Gives the declared spelling of a field; an open type takes any name.
    pub fn spelling(&self, name: &str) -> Option<String> {
        match self.field(name) {
            Some(field) => Some(field.name.clone()),
            None => (self.open && is_name(name)).then(|| name.to_owned()),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    fields: Vec<AnswerField>,
    // Whoever leaves it out is asked, and may refuse.
    #[serde(default = "yes")]
    replicateable: bool,
    #[serde(rename = "recordSync")]
    own: Option<Own>,
}

#[derive(Deserialize)]
struct AnswerField {
    name: String,
    r#type: String,
    #[serde(default, rename = "caseSensitive")]
    case_sensitive: bool,
    #[serde(default, rename = "externalId")]
    external_id: bool,
    #[serde(default, rename = "idLookup")]
    id_lookup: bool,
    // Whoever leaves these out forbids nothing.
    #[serde(default = "yes")]
    createable: bool,
    #[serde(default = "yes")]
    updateable: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    open: bool,
}

fn kind(name: &str) -> Kind {
    match name {
        "int" | "long" | "double" | "currency" | "percent" => Kind::Number,
        "boolean" => Kind::Boolean,
        "date" => Kind::Date,
        "datetime" => Kind::DateTime,
        _ => Kind::Text,
    }
}

/// Tells whether a text could be the name of a field or type, and nothing but that.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 80
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read() {
        let body = br#"{"name":"Contact","fields":[{"name":"LastName","type":"string","length":80},
            {"name":"Amount__c","type":"currency"}],"childRelationships":[]}"#;
        let described = Described::decode(body).expect("a description");
        assert!(!described.open && described.replicateable);
        assert_eq!(described.spelling("lastname").as_deref(), Some("LastName"));
        assert_eq!(described.field("amount__C").map(|field| field.kind), Some(Kind::Number));
        assert_eq!(described.spelling("nope"), None);
        let unlogged =
            Described::decode(br#"{"fields":[],"replicateable":false}"#).expect("one without a log");
        assert!(!unlogged.replicateable);
        let open = Described::decode(br#"{"fields":[],"recordSync":{"open":true}}"#).expect("an open one");
        assert_eq!(open.spelling("any_thing").as_deref(), Some("any_thing"));
        assert_eq!(open.spelling("x FROM User"), None, "not a name");
    }
}
