//! Reading: one record, or a page of many.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::super::super::mock::{Id, Luck, Object, Reply, Table, query_pairs};
use super::super::wire::{Field, Query, Resource};
use super::filter::{Filter, Term, Test, order_keys, parse_sort, time};
use super::include::Wanted;
use super::order::{BY_EMAIL, BY_ID, BY_STAMP, keep_by_id, keep_by_stamp, keep_emails};
use super::refusal::Refused;
use super::render::{push_resource, sparse_of};
use super::{Visit, document_reply};
use crate::engine::record::{Value, value_from_raw, write_json};

const PAGE_SIZE: usize = 50;
const PAGE_SIZE_MAX: usize = 1000;

/// What is asked for, apart from the form.
struct Asked {
    filters: Vec<Filter>,
    sort: Vec<Term>,
    size: usize,
    /// The sort key of the last record of the page before.
    after: Option<Vec<Value>>,
    /// Passed over, for the old style of paging.
    offset: usize,
}

/// Answers `GET /prospects/1`.
pub fn get(visit: &Visit<'_>, table: &Table, id: &str) -> Result<Reply, Refused> {
    let object =
        table.get(&visit.resource.plural, id).ok_or_else(|| Refused::record(&visit.resource.singular, id))?;
    let pairs = query_pairs(&visit.request.query);
    let mut included = String::new();
    if let Some(mut wanted) = Wanted::parse(visit, &pairs)? {
        wanted.note(object);
        wanted.push(visit, &pairs, table, &mut included);
    }
    Ok(document(visit, 200, object, &included))
}

/// Builds the document of one record.
pub fn single(visit: &Visit<'_>, status: u16, object: &Object) -> Reply {
    document(visit, status, object, "")
}

fn document(visit: &Visit<'_>, status: u16, object: &Object, beside: &str) -> Reply {
    let sparse = sparse_of(&query_pairs(&visit.request.query), &visit.resource);
    let mut body = String::from("{\"data\":");
    push_resource(&visit.resource, object, &sparse, &visit.request.base_url, &mut body);
    body.push_str(beside);
    body.push('}');
    document_reply(status, body)
}

/// Answers `GET /prospects`.
pub fn list(visit: &Visit<'_>, table: &mut Table, luck: &Luck) -> Result<Reply, Refused> {
    let pairs = query_pairs(&visit.request.query);
    let asked = Asked::parse(visit, &pairs)?;
    let mut wanted = Wanted::parse(visit, &pairs)?;
    let counted = pairs.iter().any(|(name, value)| name == "count" && value == "true");
    // Not for look-ups by a field: an answer of "not there" would be a lie of another kind.
    let lists = asked.filters.iter().all(|filter| filter.field == "updatedAt");
    let mut ids = match luck.empty_pages() && lists {
        true => Vec::new(),
        false => asked.ids(table, &visit.resource),
    };
    let more = ids.len() > asked.size;
    ids.truncate(asked.size);

    let sparse = sparse_of(&pairs, &visit.resource);
    let mut body = String::from("{\"data\":[");
    let mut last = None;
    for (at, id) in ids.iter().enumerate() {
        let Some(object) = table.get(&visit.resource.plural, id) else { continue };
        if at > 0 {
            body.push(',');
        }
        push_resource(&visit.resource, object, &sparse, &visit.request.base_url, &mut body);
        if let Some(wanted) = &mut wanted {
            wanted.note(object);
        }
        last = Some(object);
    }
    body.push_str("],\"meta\":{");
    if counted {
        let count = asked.count(table, &visit.resource);
        body.push_str(&format!("\"count\":{count},\"count_truncated\":false"));
    }
    body.push('}');
    if let Some(wanted) = &wanted {
        wanted.push(visit, &pairs, table, &mut body);
    }
    if let (true, Some(last)) = (more, last) {
        push_links(visit, &pairs, &asked, last, &mut body);
    }
    body.push('}');
    Ok(document_reply(200, body))
}

fn push_links(
    visit: &Visit<'_>,
    pairs: &[(String, String)],
    asked: &Asked,
    last: &Object,
    body: &mut String,
) {
    let mut kept: Vec<&(String, String)> = Vec::new();
    for pair in pairs {
        if !matches!(pair.0.as_str(), "page[after]" | "page[before]" | "page[offset]")
            && !kept.contains(&pair)
        {
            kept.push(pair);
        }
    }
    let base = Query::new(format!("{}{}", visit.request.base_url, visit.resource.path()));
    let first = kept.into_iter().fold(base, |query, (name, value)| query.with(name, value));
    let next = match pairs.iter().any(|(name, _)| name == "page[limit]") {
        true => first.clone().with("page[offset]", &(asked.offset + asked.size).to_string()),
        false => first.clone().with("page[after]", &encode_after(&sort_key(&asked.sort, last))),
    };
    for (name, link) in [(",\"links\":{\"first\":", first), (",\"next\":", next)] {
        body.push_str(name);
        write_json(&Value::text(link.into_text()), body);
    }
    body.push('}');
}

impl Asked {
    fn parse(visit: &Visit<'_>, pairs: &[(String, String)]) -> Result<Self, Refused> {
        let value =
            |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let number = |name: &str, otherwise: usize| match value(name) {
            None => Ok(otherwise),
            Some(text) => text.parse::<usize>().map_err(|_| Refused::parameter(name, "is no whole number")),
        };
        let size = match (number("page[size]", 0)?, number("page[limit]", 0)?) {
            (0, 0) => PAGE_SIZE,
            (0, limit) => limit,
            (size, _) => size,
        };
        if size > PAGE_SIZE_MAX {
            return Err(Refused::parameter("page[size]", "is more than 1000"));
        }
        // A client that follows a link and repeats its own parameters sends the cursor once.
        let after = value("page[after]").map(|text| {
            decode_after(text).ok_or_else(|| Refused::parameter("page[after]", "is no cursor of ours"))
        });
        let sort = parse_sort(value("sort"), visit.kind)?;
        let after = after.transpose()?;
        if after.as_ref().is_some_and(|after| after.len() != sort.len()) {
            return Err(Refused::parameter("page[after]", "belongs to another order"));
        }
        Ok(Self {
            filters: Filter::parse_all(pairs, visit.kind)?,
            sort,
            size,
            after,
            offset: number("page[offset]", 0)?,
        })
    }

    /// Gives the ids of the page, and one more where there is more.
    fn ids(&self, table: &mut Table, resource: &Resource) -> Vec<Id> {
        let wanted = self.size + 1;
        let candidates = self.candidates(table, resource);
        let names: Vec<(&str, bool)> =
            self.sort.iter().map(|term| (term.field.as_str(), term.descending)).collect();
        match (&candidates, names.as_slice()) {
            (None, [("id", false)]) => keep_by_id(table, &resource.plural),
            (None, [("updatedAt", false), ("id", false)]) => keep_by_stamp(table, &resource.plural),
            _ => {}
        }
        let table = &*table;
        let order = |name: &str| table.order(&resource.plural, name).into_iter();
        let passes = |id: &Id| {
            table.get(&resource.plural, id).is_some_and(|object| {
                self.filters.iter().all(|filter| filter.accepts(object)) && self.is_after(object)
            })
        };
        let page = |ids: &mut dyn Iterator<Item = &Id>| -> Vec<Id> {
            ids.filter(|id| passes(id)).skip(self.offset).take(wanted).cloned().collect()
        };
        match (candidates, names.as_slice()) {
            (None, [("id", false)]) => {
                let from = self.after.as_ref().and_then(|after| whole(after.first())).unwrap_or(i64::MIN);
                page(&mut order(BY_ID).flat_map(|order| order.from(from, "")).map(|(_, id)| id))
            }
            (None, [("updatedAt", false), ("id", false)]) => {
                let (from, id) = self.place_from();
                page(&mut order(BY_STAMP).flat_map(|order| order.from(from, &id)).map(|(_, id)| id))
            }
            (candidates, _) => {
                let all = || table.rows(&resource.plural).map(|(id, _)| Id::clone(id)).collect();
                let mut keyed: Vec<(Vec<Value>, Id)> = candidates
                    .unwrap_or_else(all)
                    .into_iter()
                    .filter(passes)
                    .filter_map(|id| Some((sort_key(&self.sort, table.get(&resource.plural, &id)?), id)))
                    .collect();
                keyed.sort_by(|left, right| order_keys(&self.sort, &left.0, &right.0));
                keyed.into_iter().skip(self.offset).take(wanted).map(|(_, id)| id).collect()
            }
        }
    }

    /// Narrows the search down where an index can: ids, mail addresses, texts.
    fn candidates(&self, table: &mut Table, resource: &Resource) -> Option<Vec<Id>> {
        let kind = super::kind_of(resource);
        self.filters.iter().find_map(|filter| {
            let Test::Any(texts) = &filter.test else { return None };
            let mut ids: Vec<Id> = match (Field::parse(&filter.field), filter.field.as_str()) {
                (Field::Id, _) => {
                    let numbers = texts.iter().filter_map(|text| text.trim().parse::<u64>().ok());
                    numbers.map(|number| Id::from(number.to_string())).collect()
                }
                (_, "emails") => {
                    keep_emails(table, &resource.plural);
                    let found = |text: &String| table.look_up(&resource.plural, BY_EMAIL, text);
                    texts.iter().flat_map(found).collect()
                }
                (_, "createdAt" | "updatedAt") => return None,
                (Field::Attribute(name), _) if kind.is_none_or(|kind| !kind.lists.contains(&name)) => {
                    texts.iter().flat_map(|text| table.find(&resource.plural, name, text)).collect()
                }
                _ => return None,
            };
            ids.sort_unstable();
            ids.dedup();
            Some(ids)
        })
    }

    /// Gives the first stamp that can be shown, by the filter and by the page before, and the first id that has it.
    fn place_from(&self) -> (i64, String) {
        let bounds = self.filters.iter().filter(|filter| filter.field == "updatedAt");
        let bounds = bounds.filter_map(|filter| match &filter.test {
            Test::Range(Some(from), _) => time(from).map(|from| from.0),
            _ => None,
        });
        let after = self.after.as_ref().and_then(|after| {
            let id = whole(after.get(1)).map(|id| id.to_string()).unwrap_or_default();
            Some((time(after.first()?.as_text()?)?.0, id))
        });
        bounds.map(|from| (from, String::new())).chain(after).max().unwrap_or((i64::MIN, String::new()))
    }

    fn is_after(&self, object: &Object) -> bool {
        self.after
            .as_ref()
            .is_none_or(|after| order_keys(&self.sort, &sort_key(&self.sort, object), after).is_gt())
    }

    fn count(&self, table: &Table, resource: &Resource) -> usize {
        if self.filters.is_empty() {
            return table.count(&resource.plural);
        }
        let passes = |object: &Object| self.filters.iter().all(|filter| filter.accepts(object));
        table.rows(&resource.plural).filter(|(_, object)| passes(object)).count()
    }
}

fn sort_key(sort: &[Term], object: &Object) -> Vec<Value> {
    let value = |term: &Term| object.get(&term.field).unwrap_or(Value::Null);
    sort.iter().map(value).collect()
}

fn whole(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Int(int) => Some(*int),
        _ => None,
    }
}

/// Writes a sort key so that it means nothing to anybody else.
fn encode_after(key: &[Value]) -> String {
    let mut text = String::from("[");
    for (at, value) in key.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        write_json(value, &mut text);
    }
    text.push(']');
    URL_SAFE_NO_PAD.encode(text)
}

fn decode_after(text: &str) -> Option<Vec<Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let raw: Vec<&RawValue> = serde_json::from_slice(&bytes).ok()?;
    raw.into_iter().map(|raw| value_from_raw(raw).ok()).collect()
}
