//! Filters and sort orders of list requests, as the service reads them.

use std::cmp::Ordering;

use super::super::super::mock::Object;
use super::super::wire::{Field, Kind};
use super::refusal::Refused;
use crate::engine::record::{Number, Timestamp, Value};

/// One condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The field's name in an object: `firstName`, `id`, `account.id`.
    pub field: String,
    pub test: Test,
}

/// What a field has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Any(Vec<String>),
    /// Both ends included; an open end is `None`.
    Range(Option<String>, Option<String>),
    Null,
    NotNull,
    /// `filter[q]`: a word of the name begins so.
    Prefix(String),
}

impl Filter {
    /// Reads all filters of a query. Equal parameters that come twice do no harm.
    pub fn parse_all(pairs: &[(String, String)], kind: Option<&Kind>) -> Result<Vec<Self>, Refused> {
        let long = pairs.iter().any(|(name, value)| name == "newFilterSyntax" && value == "true");
        let mut filters: Vec<Self> = Vec::new();
        for (name, value) in pairs {
            let Some(path) = name.strip_prefix("filter") else { continue };
            let steps: Vec<&str> = path
                .strip_prefix('[')
                .and_then(|path| path.strip_suffix(']'))
                .map(|path| path.split("][").collect())
                .ok_or_else(|| Refused::parameter(name, "is no filter"))?;
            let (field, last) = match steps.as_slice() {
                [field] => ((*field).to_owned(), None),
                [field, last @ ("" | "gte" | "lte" | "gt" | "lt")] => ((*field).to_owned(), Some(*last)),
                [relation, "id"] => (format!("{relation}.id"), None),
                [relation, "id", last @ ("" | "gte" | "lte" | "gt" | "lt")] => {
                    (format!("{relation}.id"), Some(*last))
                }
                _ => return Err(Refused::parameter(name, "is not supported")),
            };
            may_filter(&field, kind).map_err(|why| Refused::parameter(name, &why))?;
            let test = match (last, long) {
                (None, false) => Test::parse(value, field == "q"),
                (None | Some(""), _) => Test::literal(value),
                (Some("gte" | "gt"), _) => Test::Range(Some(value.clone()), None),
                (Some(_), _) => Test::Range(None, Some(value.clone())),
            };
            merge(&mut filters, Self { field, test }, last == Some(""));
        }
        Ok(filters)
    }

    /// Tells whether an object passes.
    pub fn accepts(&self, object: &Object) -> bool {
        let value = &object.get(&self.field).unwrap_or(Value::Null);
        let absent = matches!(value, Value::Null | Value::Absent);
        match &self.test {
            Test::Null => absent,
            Test::NotNull => !absent,
            Test::Any(texts) => texts.iter().any(|text| equals(value, text)),
            Test::Range(from, to) => {
                !absent
                    && from.as_ref().is_none_or(|from| order_with(value, from).is_ge())
                    && to.as_ref().is_none_or(|to| order_with(value, to).is_le())
            }
            Test::Prefix(text) => ["name", "firstName", "lastName", "domain"].iter().any(|field| {
                object.text(field).is_some_and(|name| {
                    let text = text.to_lowercase();
                    name.to_lowercase().split_whitespace().any(|word| word.starts_with(&text))
                })
            }),
        }
    }
}

impl Test {
    /// Reads the short form: a value, a list by commas, a range by dots.
    fn parse(text: &str, prefix: bool) -> Self {
        if prefix {
            return Self::Prefix(text.to_owned());
        }
        if let Some((from, to)) = text.split_once("..") {
            let end = |text: &str| (!matches!(text, "inf" | "neginf" | "")).then(|| text.to_owned());
            return Self::Range(end(from), end(to));
        }
        match text {
            "__null__" => Self::Null,
            "__notnull__" => Self::NotNull,
            _ => Self::Any(text.split(',').map(str::to_owned).collect()),
        }
    }

    /// Reads the long form, where commas and dots mean nothing.
    fn literal(text: &str) -> Self {
        match text {
            "__null__" => Self::Null,
            "__notnull__" => Self::NotNull,
            _ => Self::Any(vec![text.to_owned()]),
        }
    }
}

/// Adds a filter to those before it: items of the long form's list belong together, and so do both
/// ends of a range.
fn merge(filters: &mut Vec<Filter>, filter: Filter, item: bool) {
    for known in filters.iter_mut().filter(|known| known.field == filter.field) {
        match (&mut known.test, &filter.test) {
            (Test::Any(values), Test::Any(more)) if item => {
                values.extend(more.iter().cloned());
                return;
            }
            (Test::Range(from, to), Test::Range(more_from, more_to))
                if (from.is_none() && more_to.is_none()) || (to.is_none() && more_from.is_none()) =>
            {
                *from = from.take().or_else(|| more_from.clone());
                *to = to.take().or_else(|| more_to.clone());
                return;
            }
            (known, test) if known == test => return,
            _ => {}
        }
    }
    filters.push(filter);
}

/// Says why a strict mock does not filter by a field.
fn may_filter(field: &str, kind: Option<&Kind>) -> Result<(), String> {
    let Some(kind) = kind else { return Ok(()) };
    let fit = match Field::parse(field) {
        Field::Id => true,
        Field::ToOne(relation) => kind.to_one.contains(&relation),
        Field::Attribute("q") => matches!(kind.singular, "prospect" | "account"),
        Field::Attribute(name) => kind.filterable.contains(&name),
    };
    if fit { Ok(()) } else { Err(format!("can't be filtered by on {}", kind.singular)) }
}

/// One term of `sort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub field: String,
    pub descending: bool,
}

/// Reads `sort`; the id comes last, so that the order is total.
pub fn parse_sort(text: Option<&str>, kind: Option<&Kind>) -> Result<Vec<Term>, Refused> {
    let mut terms: Vec<Term> = Vec::new();
    for part in text.unwrap_or("").split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (field, descending) = match part.strip_prefix('-') {
            Some(field) => (field, true),
            None => (part, false),
        };
        if let Some(kind) = kind {
            let scalar = field != "timeZone" && field != "sharingTeamId" && !kind.lists.contains(&field);
            if !kind.filterable.contains(&field) || !scalar {
                return Err(Refused::parameter("sort", &format!("can't be by {field} on {}", kind.singular)));
            }
        }
        if terms.iter().all(|term| term.field != field) {
            terms.push(Term { field: field.to_owned(), descending });
        }
    }
    if terms.iter().all(|term| term.field != "id") {
        terms.push(Term { field: "id".to_owned(), descending: false });
    }
    Ok(terms)
}

/// Compares the sort keys of two objects.
pub fn order_keys(terms: &[Term], left: &[Value], right: &[Value]) -> Ordering {
    terms
        .iter()
        .zip(left.iter().zip(right))
        .map(|(term, (left, right))| {
            let order = order(left, right);
            if term.descending { order.reverse() } else { order }
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Orders values of one field; null comes last, as in the service's database.
fn order(left: &Value, right: &Value) -> Ordering {
    let null = |value: &Value| matches!(value, Value::Null | Value::Absent | Value::Unknown);
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        _ if null(left) || null(right) => null(left).cmp(&null(right)),
        _ => match (float(left), float(right)) {
            (Some(left), Some(right)) => left.total_cmp(&right),
            _ => left.to_plain().cmp(&right.to_plain()),
        },
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Number(number) => Some(number.to_f64()),
        _ => None,
    }
}

/// Compares a value with the text of a filter: numbers by amount, times as times.
fn order_with(value: &Value, text: &str) -> Ordering {
    let Value::Text(own) = value else {
        return Number::parse(text).map_or_else(
            || value.to_plain().unwrap_or_default().as_str().cmp(text),
            |number| order(value, &number),
        );
    };
    match (time(own), time(text)) {
        (Some(own), Some(other)) => own.cmp(&other),
        _ => own.as_str().cmp(text),
    }
}

fn equals(value: &Value, text: &str) -> bool {
    match value {
        Value::Json(list) => items(list).iter().any(|item| equals_text(item, text)),
        Value::Text(own) => own == text || (time(own).is_some() && time(own) == time(text)),
        other => Value::text(text).agrees(other) && !matches!(other, Value::Null | Value::Absent),
    }
}

/// Mail addresses and tags are compared without their case.
fn equals_text(item: &Value, text: &str) -> bool {
    item.to_plain().is_some_and(|item| item.to_lowercase() == text.to_lowercase())
}

/// Takes a list apart; anything else has no items.
pub fn items(json: &str) -> Vec<Value> {
    let raw: Vec<&serde_json::value::RawValue> = serde_json::from_str(json).unwrap_or_default();
    raw.into_iter().filter_map(|raw| crate::engine::record::value_from_raw(raw).ok()).collect()
}

/// Reads a full time or a date alone, which is its first moment.
pub fn time(text: &str) -> Option<Timestamp> {
    // A cheap look first: most texts are no times.
    if text.as_bytes().get(4) != Some(&b'-') {
        return None;
    }
    match text.len() {
        10 => Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")),
        _ => Timestamp::parse_rfc3339(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::mock::{object_from_json, query_pairs};
    use super::super::super::wire::{Resource, kind_of};
    use super::*;

    fn strict() -> Option<&'static Kind> {
        kind_of(&Resource::parse("prospects").expect("a resource"))
    }

    #[test]
    fn filters_mean_what_the_service_means() {
        let object = object_from_json(
            r#"{"id": 7, "firstName": "Sally, Jr", "title": null, "emails": ["A@x.test","b@x.test"],
                "account.id": 5, "score": 1.50, "updatedAt": "2025-01-15T10:30:00.417Z", "name": "Sally Doe"}"#,
        )
        .expect("an object");
        // (query, passes, why)
        let cases = [
            ("filter[id]=7", true, "equal"),
            ("filter%5Bid%5D=1,7", true, "a list, brackets encoded"),
            ("filter[id]=5..10", true, "a range"),
            ("filter[id]=7..7", true, "both ends belong to it"),
            ("filter[id]=8..inf", false, "above"),
            ("filter[id]=neginf..6", false, "below"),
            ("filter[id]=10", false, "numbers are no texts"),
            ("filter[score]=1.5", true, "numbers are equal by amount"),
            ("filter[firstName]=Sally, Jr", false, "a comma makes a list"),
            (
                "newFilterSyntax=true&filter[firstName][]=x&filter[firstName][]=Sally, Jr",
                true,
                "but not here",
            ),
            ("newFilterSyntax=true&filter[id][gte]=7&filter[id][lte]=7", true, "the long range"),
            ("newFilterSyntax=true&filter[id][gte]=1&filter[id][lte]=6", false, "the long range, outside"),
            ("filter[emails]=a@X.test", true, "any item of a list, case ignored"),
            ("filter[title]=__null__", true, "null"),
            ("filter[title]=__notnull__", false, "not null"),
            ("filter[nothing]=__null__", true, "absent is null"),
            ("filter[title]=", false, "null is not the empty text"),
            ("filter[account][id]=5,6", true, "by a relationship"),
            ("filter[updatedAt]=2025-01-15T10:30:00.417Z..inf", true, "from, inclusive"),
            ("filter[updatedAt]=2025-01-15T10:30:00.418Z..inf", false, "a millisecond too late"),
            ("filter[updatedAt]=2025-01-15T11:30:00.417%2B01:00", true, "the same moment elsewhere"),
            ("filter[updatedAt]=2025-01-15..inf", true, "a date alone"),
            ("filter[q]=do", true, "the beginning of a word"),
            ("filter[id]=7&filter[id]=7", true, "said twice"),
            ("filter[id]=7&filter[id]=8", false, "said twice in two ways"),
            ("filter[id]=7&filter[score]=2", false, "all have to pass"),
        ];
        for (query, passes, why) in cases {
            let filters = Filter::parse_all(&query_pairs(query), None).expect("filters");
            assert_eq!(filters.iter().all(|filter| filter.accepts(&object)), passes, "{why}: {query}");
        }
    }

    #[test]
    fn a_strict_service_filters_and_sorts_by_few_fields() {
        for query in
            ["filter[externalId]=1", "filter[custom1]=1", "filter[tags]=1", "filter[a][b][c]=1", "filter=1"]
        {
            assert!(Filter::parse_all(&query_pairs(query), strict()).is_err(), "{query}");
        }
        for query in ["filter[emails]=1", "filter[id]=1", "filter[account][id]=1", "filter[updatedAt][gte]=x"]
        {
            assert!(Filter::parse_all(&query_pairs(query), strict()).is_ok(), "{query}");
        }
        for sort in ["emails", "-timeZone", "company"] {
            assert!(parse_sort(Some(sort), strict()).is_err(), "{sort}");
        }
        let terms = parse_sort(Some("-updatedAt,id"), strict()).expect("a sort");
        assert_eq!(terms.len(), 2, "the id is not added twice");
    }

    #[test]
    fn sorted_values_have_nulls_last() {
        let terms = parse_sort(Some("title"), None).expect("a sort");
        let key = |title: Value, id: i64| vec![title, Value::Int(id)];
        let sorted = [
            key(Value::Int(-2), 9),
            key(Value::Int(10), 1),
            key("a".into(), 3),
            key("a".into(), 20),
            key(Value::Null, 1),
        ];
        assert!(sorted.windows(2).all(|pair| order_keys(&terms, &pair[0], &pair[1]).is_lt()));
    }
}
