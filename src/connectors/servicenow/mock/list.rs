//! Reading: one row, or a page of many with its headers.

use std::borrow::Cow;

use super::catalogue::{Catalogue, Kind, text_of, value_at};
use super::query::{Condition, Op, Query, Resolved, order_rows};
use super::refusal::Refused;
use super::render::{Display, Shape};
use super::{State, Visit};
use crate::connectors::mock::{Id, Luck, Object, Rank, Reply, Table, query_pairs};
use crate::connectors::rest::PathQuery;
use crate::connectors::servicenow::wire::format_moment;
use crate::engine::record::Timestamp;

const LIMIT: usize = 10_000;

/// The parameters of a request.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub fn of(visit: &Visit<'_>) -> Self {
        Self(query_pairs(&visit.request.query))
    }

    fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn number(&self, name: &str, otherwise: usize) -> Result<usize, Refused> {
        match self.text(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| Refused::parameter(name, "It is no whole number")),
        }
    }

    /// Reads how rows are to be shown.
    pub fn shape<'s>(&self, visit: &'s Visit<'_>) -> Shape<'s> {
        let fields = self.text("sysparm_fields").map(|fields| {
            let names = fields.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        });
        let display = match self.text("sysparm_display_value").map(str::to_lowercase).as_deref() {
            Some("true") => Display::Displays,
            Some("all") => Display::Both,
            _ => Display::Values,
        };
        Shape {
            stream: &visit.stream,
            fields,
            display,
            links: !self.flag("sysparm_exclude_reference_link"),
            base_url: &visit.request.base_url,
        }
    }

    /// Reads the query, or the simple filters where there is none.
    fn query(&self, visit: &Visit<'_>, table: &Table, catalogue: &Catalogue) -> Query {
        if let Some(text) = self.text("sysparm_query") {
            return Query::parse(text);
        }
        let filters = self.0.iter().filter(|(name, _)| !name.starts_with("sysparm_"));
        let clause = |(name, value): &(String, String)| {
            let value = undisplayed(table, catalogue, &visit.stream, name, value);
            vec![Condition { field: name.clone(), op: Op::Is, value }]
        };
        Query { groups: vec![filters.map(clause).collect()], ..Query::default() }
    }
}

/// Turns what people read into the value that stands for it: a choice's label, a record's name.
pub fn undisplayed(table: &Table, catalogue: &Catalogue, stream: &str, field: &str, text: &str) -> String {
    let Some(declared) = Catalogue::declared(stream, field) else { return text.to_owned() };
    if let Some((value, _)) = declared.choices.iter().find(|(_, label)| label.eq_ignore_ascii_case(text)) {
        return (*value).to_owned();
    }
    let named = |other: &str| {
        let rows = table.rows(other).map(|(id, _)| id);
        rows.into_iter()
            .find(|id| catalogue.display(table, stream, field, id).eq_ignore_ascii_case(text))
            .map(|id| id.to_string())
    };
    let referred = declared.reference.filter(|_| text.len() != 32);
    referred.and_then(named).unwrap_or_else(|| text.to_owned())
}

/// Answers `GET /table/incident/0f…`.
pub fn get(visit: &Visit<'_>, state: &mut State, table: &Table, id: &str) -> Result<Reply, Refused> {
    let object = table.get(&visit.stream, id).ok_or_else(Refused::record)?;
    Ok(single(visit, 200, &state.catalogue, table, object))
}

/// Writes the reply that shows one row.
pub fn single(
    visit: &Visit<'_>,
    status: u16,
    catalogue: &Catalogue,
    table: &Table,
    object: &Object,
) -> Reply {
    let parameters = Parameters::of(visit);
    let shape = parameters.shape(visit);
    let row = shape.row(table, catalogue, object, &shape.columns(catalogue));
    Reply::json(status, serde_json::json!({ "result": row }).to_string())
}

/// A page: its ids, and how many rows there are over all pages where that is counted.
#[derive(Default)]
struct Page {
    ids: Vec<Id>,
    total: usize,
}

/// Which rows a page holds.
#[derive(Clone, Copy)]
struct Cut {
    offset: usize,
    limit: usize,
    counted: bool,
}

/// Answers `GET /table/incident`.
pub fn list(visit: &Visit<'_>, state: &mut State, table: &mut Table, luck: &Luck) -> Result<Reply, Refused> {
    let parameters = Parameters::of(visit);
    let cut = Cut {
        offset: parameters.number("sysparm_offset", 0)?,
        limit: parameters.number("sysparm_limit", LIMIT)?,
        counted: !parameters.flag("sysparm_no_count"),
    };
    let query = parameters.query(visit, table, &state.catalogue);
    let query = Resolved::new(query, &visit.stream, &state.catalogue, &super::asker(table, visit.now));
    // Not for look-ups by a field: an answer of "not there" would be a lie of another kind.
    let page = match luck.empty_pages() && query.lists().next().is_none() {
        true => Page::default(),
        false => page(visit, state, table, &query, cut),
    };
    if page.ids.is_empty() && visit.old {
        return Err(Refused::record());
    }
    let shape = parameters.shape(visit);
    let rows = page.ids.iter().filter_map(|id| table.get(&visit.stream, id));
    let columns = shape.columns(&state.catalogue);
    let rows: Vec<serde_json::Value> =
        rows.map(|object| shape.row(table, &state.catalogue, object, &columns)).collect();
    let mut reply = Reply::json(200, serde_json::json!({ "result": rows }).to_string());
    if cut.counted {
        reply = reply.with_header("x-total-count", page.total.to_string());
        if page.total > cut.limit && !parameters.flag("sysparm_suppress_pagination_header") {
            reply = reply.with_header("link", links(visit, &parameters, cut, page.total));
        }
    }
    Ok(reply)
}

/// Writes the `Link` header: first, prev, next, last; those that lead nowhere are left out.
fn links(visit: &Visit<'_>, parameters: &Parameters, cut: Cut, total: usize) -> String {
    let path = format!("{}{}", visit.request.base_url, visit.request.path);
    let kept =
        parameters.0.iter().filter(|(name, _)| !matches!(name.as_str(), "sysparm_offset" | "sysparm_limit"));
    let base = kept.fold(PathQuery::new(path), |query, (name, value)| query.with(name, value));
    let base = base.with("sysparm_limit", &cut.limit.to_string());
    let last = (total - 1) / cut.limit.max(1) * cut.limit;
    let places = [
        ("first", Some(0)),
        ("prev", (cut.offset > 0).then(|| cut.offset.saturating_sub(cut.limit))),
        ("next", Some(cut.offset + cut.limit).filter(|next| *next < total)),
        ("last", Some(last)),
    ];
    let links = places.into_iter().filter_map(|(name, offset)| {
        let url = base.clone().with("sysparm_offset", &offset?.to_string()).into_text();
        Some(format!("<{url}>;rel=\"{name}\""))
    });
    links.collect::<Vec<_>>().join(",")
}

/// The fields by which rows are kept in order, once a read has asked for it.
const ORDERED: [&str; 2] = ["sys_updated_on", "sys_created_on"];

fn page(visit: &Visit<'_>, state: &State, table: &mut Table, query: &Resolved, cut: Cut) -> Page {
    let stream = visit.stream.as_str();
    let candidates = candidates(query, stream, table);
    let terms: Vec<(&str, bool)> =
        query.order.iter().map(|sort| (sort.field.as_str(), sort.descending)).collect();
    let ordered = match terms.as_slice() {
        [(field, false)] | [(field, false), ("sys_id", false)] if candidates.is_none() => {
            ORDERED.into_iter().find(|known| known == field)
        }
        _ => None,
    };
    if let Some(field) = ordered {
        keep_order(table, stream, field);
    }
    let table = &*table;
    let catalogue = &state.catalogue;
    let passes = |object: &Object| {
        query.accepts(&|field| match field.contains('.') {
            true => value_at(table, catalogue, stream, object, field),
            false => text_of(object, field),
        })
    };
    if candidates.is_none() && matches!(terms.as_slice(), [] | [("sys_id", false), ..]) {
        let rows = table.rows_from(stream, query.least("sys_id").unwrap_or_default());
        return taken(
            rows.filter(|(_, object)| passes(object)).map(|(id, _)| id),
            cut,
            total(table, query, stream),
        );
    }
    let order = ordered.and_then(|field| Some((field, table.order(stream, field)?)));
    if let Some((field, order)) = order.filter(|(_, order)| order.is_whole()) {
        let passes = |stamp: i64, id: &str| {
            query.accepts(&|name| match name {
                _ if name == field => Cow::Owned(format_moment(Timestamp(stamp))),
                "sys_id" => Cow::Owned(id.to_owned()),
                name => table
                    .get(stream, id)
                    .map_or(Cow::Borrowed(""), |object| value_at(table, catalogue, stream, object, name)),
            })
        };
        let least = query.least(field).unwrap_or_default();
        let (stamp, id) = match moment(least) {
            Some(at) => (at, query.least_id(field, least).unwrap_or_default()),
            None => (i64::MIN, ""),
        };
        let rows = order.from(stamp, id).filter(|(stamp, id)| passes(*stamp, id));
        return taken(rows.map(|(_, id)| id), cut, total(table, query, stream));
    }
    let mut rows: Vec<(&Id, &Object)> = match &candidates {
        Some(ids) => ids.iter().filter_map(|id| table.entry(stream, id)).collect(),
        None => table.rows(stream).collect(),
    };
    rows.retain(|(_, object)| passes(object));
    order_rows(&mut rows, &query.order, stream, table, catalogue);
    taken(rows.into_iter().map(|(id, _)| id), cut, None)
}

/// Keeps rows in the order of a field that holds moments; what is written in any other form has no place.
fn keep_order(table: &mut Table, stream: &str, field: &'static str) {
    table.keep_order(stream, field, Rank::Bytes, move |object| moment(&text_of(object, field)));
}

/// Reads a moment in the stored form to the letter, in milliseconds.
fn moment(text: &str) -> Option<i64> {
    let fits = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b' ',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    // A leap second would be taken for the one before it.
    if text.len() != 19 || !text.bytes().enumerate().all(fits) || text.ends_with(":60") {
        return None;
    }
    let at = text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(at.timestamp().as_millisecond())
}

/// Tells how many rows there are where that is known beforehand.
fn total(table: &Table, query: &Resolved, stream: &str) -> Option<usize> {
    query.accepts_all().then(|| table.count(stream))
}

/// Cuts a page out, and counts what lies behind it where that is wanted and not known.
fn taken<'r>(mut rows: impl Iterator<Item = &'r Id>, cut: Cut, total: Option<usize>) -> Page {
    let skipped = rows.by_ref().take(cut.offset).count();
    let ids: Vec<Id> = rows.by_ref().take(cut.limit).cloned().collect();
    let behind = if cut.counted && total.is_none() { rows.count() } else { 0 };
    let total = total.unwrap_or(skipped + ids.len() + behind);
    Page { ids, total }
}

/// Narrows the search down where an index can.
fn candidates(query: &Resolved, stream: &str, table: &mut Table) -> Option<Vec<Id>> {
    let (field, kind, values) = query.lists().find(|(field, kind, _)| {
        let exact = matches!(kind, Kind::Id | Kind::Text | Kind::Email | Kind::Reference);
        // Half of the rows are no help.
        exact && !field.contains('.') && *field != "tablename"
    })?;
    let mut ids: Vec<Id> = match kind {
        Kind::Id => {
            let known = values.into_iter().filter_map(|id| table.entry(stream, id));
            known.map(|(id, _)| Id::clone(id)).collect()
        }
        _ => values.into_iter().flat_map(|text| table.find(stream, field, text)).collect(),
    };
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}
