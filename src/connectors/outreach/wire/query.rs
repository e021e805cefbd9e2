//! Requests as text: paths with filter, sort, page and sparse fields.
//!
//! Invariant: names and values go through [`PathQuery`], so that no value can end its parameter or begin
//! another. Pure.

use super::super::super::rest::PathQuery;
use super::names::{Field, Resource};

/// Builds one path with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(PathQuery);

impl Query {
    /// Starts with a path of our own making.
    pub fn new(path: impl Into<String>) -> Self {
        Self(PathQuery::new(path))
    }

    /// Follows the query of a `links.next` on a path of our own, with another page size.
    pub fn following(path: impl Into<String>, next: &str, page_size: usize) -> Self {
        let pairs = url::form_urlencoded::parse(next.as_bytes()).filter(|(name, _)| name != "page[size]");
        pairs
            .fold(Self::new(path), |query, (name, value)| query.with(&name, &value))
            .with("page[size]", &page_size.to_string())
    }

    /// Adds one parameter.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        Self(self.0.with(name, value))
    }

    /// Asks for these fields only, and for `always` beside them.
    #[must_use]
    pub fn with_fields<'n>(
        self,
        resource: &Resource,
        fields: impl IntoIterator<Item = &'n str>,
        always: &[&'n str],
    ) -> Self {
        let mut names: Vec<&str> =
            fields.into_iter().filter_map(|name| Field::parse(name).sparse_name()).collect();
        names.extend(always);
        names.sort_unstable();
        names.dedup();
        self.with(&format!("fields[{}]", resource.singular), &names.join(","))
    }

    /// Asks for the records whose field holds one of these values. Values that the short list form
    /// would take apart go out in the long form.
    #[must_use]
    pub fn with_any(self, clauses: &[(Field<'_>, Vec<&str>)]) -> Self {
        let long = clauses.iter().flat_map(|(_, values)| values).any(|value| needs_long_form(value));
        clauses.iter().fold(
            if long { self.with("newFilterSyntax", "true") } else { self },
            |query, (field, values)| {
                let name = field.filter_name();
                if long {
                    let name = format!("{name}[]");
                    values.iter().fold(query, |query, value| query.with(&name, value))
                } else {
                    query.with(&name, &values.join(","))
                }
            },
        )
    }

    /// Returns the finished text.
    pub fn into_text(self) -> String {
        self.0.into_text()
    }
}

/// Tells whether the short form reads something else than this text: a list or a range.
fn needs_long_form(value: &str) -> bool {
    value.is_empty() || value.contains(',') || value.contains("..")
}

/// Takes the query out of a `links.next`; host and path of it are never followed, so that no reply
/// can lead a token elsewhere.
pub fn query_of_link(link: &str) -> Option<&str> {
    link.split_once('?')
        .map(|(_, query)| query.split('#').next().unwrap_or(query))
        .filter(|query| !query.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prospects() -> Resource {
        Resource::parse("prospects").expect("a resource")
    }

    #[test]
    fn filters_read_back_as_they_were_meant() {
        let email = Field::Attribute("emails");
        // (values, decoded parameters, why)
        let cases = [
            (vec!["a@b.test"], vec![("filter[emails]", "a@b.test")], "one"),
            (vec!["1", "2"], vec![("filter[emails]", "1,2")], "the short list"),
            (
                vec!["a,b", "c"],
                vec![("newFilterSyntax", "true"), ("filter[emails][]", "a,b"), ("filter[emails][]", "c")],
                "a comma is a value's own",
            ),
            (
                vec!["1..2"],
                vec![("newFilterSyntax", "true"), ("filter[emails][]", "1..2")],
                "dots are no range",
            ),
            (
                vec!["x&filter[id]=1#%é+ "],
                vec![("filter[emails]", "x&filter[id]=1#%é+ ")],
                "nothing leaves its value",
            ),
        ];
        for (values, expected, why) in cases {
            let text = Query::new("/api/v2/prospects").with_any(&[(email, values)]).into_text();
            let url = url::Url::parse(&format!("http://host{text}")).expect("a URL");
            let got: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let expected: Vec<(String, String)> =
                expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(got, expected, "{why}");
        }
    }

    #[test]
    fn sparse_fields_are_named_once() {
        let text = Query::new("/p")
            .with_fields(&prospects(), ["id", "account.id", "title", "updatedAt"], &["updatedAt"])
            .into_text();
        assert_eq!(text, "/p?fields%5Bprospect%5D=account%2Ctitle%2CupdatedAt");
    }

    #[test]
    fn only_the_query_of_a_link_is_followed() {
        let cases = [
            ("http://elsewhere.test/api/v2/prospects?page%5Bafter%5D=x", Some("page%5Bafter%5D=x")),
            ("?a=b#c", Some("a=b")),
            ("http://elsewhere.test/", None),
            ("x?", None),
        ];
        for (link, expected) in cases {
            assert_eq!(query_of_link(link), expected, "{link}");
        }
    }
}
