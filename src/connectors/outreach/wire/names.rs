//! The two names of every resource, and what a field's name stands for.
//!
//! The path is the plural (`/prospects`), the `type` member the singular (`prospect`), both camelCase.

use std::borrow::Cow;

/// One kind of resource under both its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// As it stands in a path: `emailAddresses`.
    pub plural: String,
    /// As it stands in `type` and in `fields[…]`: `emailAddress`.
    pub singular: String,
}

impl Resource {
    /// Takes a stream's name as users write it, plural or singular, with or without a capital;
    /// `None` where it is no name of a resource.
    pub fn parse(stream: &str) -> Option<Self> {
        let mut letters = stream.chars();
        let first = letters.next().filter(char::is_ascii_alphabetic)?;
        if stream.len() > 64 || !stream.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return None;
        }
        let name = format!("{}{}", first.to_ascii_lowercase(), letters.as_str());
        let singular = singular_of(&name).into_owned();
        Some(Self { plural: plural_of(&singular), singular })
    }

    /// Returns the path of the collection.
    pub fn path(&self) -> String {
        format!("/api/v2/{}", self.plural)
    }

    /// Returns the path of one member.
    pub fn member(&self, id: &str) -> String {
        format!("/api/v2/{}/{id}", self.plural)
    }
}

/// Gives the singular of a camelCase plural; a singular stays what it is.
fn singular_of(name: &str) -> Cow<'_, str> {
    if name.ends_with("status") || name.ends_with("ss") {
        return name.into();
    }
    if let Some(stem) = name.strip_suffix("ies") {
        return format!("{stem}y").into();
    }
    if ["sses", "xes", "ches", "shes", "uses"].iter().any(|ending| name.ends_with(ending))
        && !name.ends_with("auses")
    {
        return name.strip_suffix("es").unwrap_or(name).into();
    }
    name.strip_suffix('s').unwrap_or(name).into()
}

fn plural_of(singular: &str) -> String {
    let consonant_before_y = singular
        .strip_suffix('y')
        .filter(|stem| stem.ends_with(|letter: char| !matches!(letter, 'a' | 'e' | 'i' | 'o' | 'u')));
    if let Some(stem) = consonant_before_y {
        return format!("{stem}ies");
    }
    let hissing = ["s", "x", "ch", "sh"].iter().any(|ending| singular.ends_with(ending));
    format!("{singular}{}", if hissing { "es" } else { "s" })
}

/// What a field of a record stands for in a resource object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'n> {
    /// The resource's own id, which the service gives and nobody sets.
    Id,
    /// `account.id`: the id of the one resource that this relationship points to.
    ToOne(&'n str),
    Attribute(&'n str),
}

impl<'n> Field<'n> {
    /// Reads a field's name.
    pub fn parse(name: &'n str) -> Self {
        match name.strip_suffix(".id") {
            _ if name == "id" => Self::Id,
            Some(relation) if !relation.is_empty() && !relation.contains('.') => Self::ToOne(relation),
            _ => Self::Attribute(name),
        }
    }

    /// Returns the name under which `fields[type]` asks for it; nothing for the id, which always comes.
    pub fn sparse_name(self) -> Option<&'n str> {
        match self {
            Self::Id => None,
            Self::ToOne(name) | Self::Attribute(name) => Some(name),
        }
    }

    /// Returns the parameter that filters by it: `filter[id]`, `filter[account][id]`, `filter[domain]`.
    pub fn filter_name(self) -> String {
        match self {
            Self::Id => "filter[id]".to_owned(),
            Self::ToOne(name) => format!("filter[{name}][id]"),
            Self::Attribute(name) => format!("filter[{name}]"),
        }
    }
}

/// Gives the `type` that a to-one relationship points to.
pub fn relation_type(relation: &str) -> &str {
    match relation {
        "owner" | "creator" | "updater" | "user" | "assignee" => "user",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_in_the_plural_or_in_the_singular() {
        // (as written, plural, singular, why)
        let cases = [
            ("prospects", "prospects", "prospect", "as in the path"),
            ("prospect", "prospects", "prospect", "as in `type`"),
            ("Account", "accounts", "account", "as people write it"),
            ("opportunities", "opportunities", "opportunity", "y"),
            ("emailAddresses", "emailAddresses", "emailAddress", "ss"),
            ("emailAddress", "emailAddresses", "emailAddress", "a singular that ends in s"),
            ("mailboxes", "mailboxes", "mailbox", "x"),
            ("batches", "batches", "batch", "ch"),
            ("callPurposes", "callPurposes", "callPurpose", "ses is not always es"),
            ("sequences", "sequences", "sequence", "ces"),
            ("duties", "duties", "duty", "ies"),
            ("stages", "stages", "stage", "plain"),
        ];
        for (stream, plural, singular, why) in cases {
            let expected = Resource { plural: plural.into(), singular: singular.into() };
            assert_eq!(Resource::parse(stream), Some(expected), "{why}");
        }
        for stream in ["", "a/b", "pros pects", "1x", "../users", "a?b"] {
            assert_eq!(Resource::parse(stream), None, "{stream:?} must not reach a path");
        }
    }

    #[test]
    fn a_field_name_says_where_it_stands() {
        let cases = [
            ("id", Field::Id),
            ("firstName", Field::Attribute("firstName")),
            ("account.id", Field::ToOne("account")),
            (".id", Field::Attribute(".id")),
            ("a.b.id", Field::Attribute("a.b.id")),
        ];
        for (name, expected) in cases {
            assert_eq!(Field::parse(name), expected);
        }
    }
}
