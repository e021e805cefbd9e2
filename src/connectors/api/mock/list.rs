//! Reading: one record, some of them, or a page of many.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::super::super::mock::{Id, Luck, Order, Reply, Table, object_json, query_pairs};
use super::super::settings::{Find, Get, List, PageStyle};
use super::super::wire::{Hole, Pointer, Query, Template, Tree};
use super::Visit;
use super::order::{BY_ID, BY_STAMP};
use super::refusal::Refused;
use super::route::Routed;
use crate::engine::record::{Timestamp, value_from_raw};

/// The parameter of our own next links.
const AFTER: &str = "after_record";

/// Answers a request for one record by id, or for some.
pub fn get(visit: &Visit<'_>, table: &Table, get: &Get, routed: &Routed<'_>) -> Result<Reply, Refused> {
    let shown = |id: &str| {
        let object =
            table.get(visit.name, id).filter(|object| !super::order::is_deleted(visit.stream, object))?;
        Some(Tree::Raw(object_json(object)))
    };
    let mut body = Tree::default();
    if let Some(ids) = routed.get(|hole| *hole == Hole::Ids) {
        let join = if get.join.is_empty() { "," } else { &get.join };
        body.set(get.records.steps(), Tree::List(ids.split(join).filter_map(shown).collect()));
        return Ok(Reply::json(200, body.to_text()));
    }
    let id = routed.get(|hole| *hole == Hole::Id).unwrap_or_default();
    let record = shown(id).ok_or_else(|| Refused::not_found(format!("There is no record {id}.")))?;
    body.set(get.record.steps(), record);
    Ok(Reply::json(200, body.to_text()))
}

/// Answers a search by key.
pub fn find(visit: &Visit<'_>, table: &Table, find: &Find, routed: &Routed<'_>) -> Result<Reply, Refused> {
    let join = if find.join.is_empty() { "," } else { &find.join };
    let texts: Vec<String> = match routed.get(|hole| *hole == Hole::Keys) {
        Some(keys) => keys.split(join).map(str::to_owned).collect(),
        None => match routed.get(|hole| matches!(hole, Hole::Key | Hole::KeyField(_))) {
            Some(key) => vec![key.to_owned()],
            None => in_body(visit, find)?,
        },
    };
    let records = texts
        .iter()
        .flat_map(|text| super::order::find(table, visit.name, visit.stream, text))
        .filter_map(|id| {
            let record = Tree::Raw(object_json(table.get(visit.name, &id)?));
            let Some(place) = &find.id else { return Some(record) };
            let mut hit = Tree::default();
            let own = place.steps();
            hit.set(own, Tree::text(&id));
            Some(hit)
        });
    let mut body = Tree::default();
    body.set(find.records.steps(), Tree::List(records.collect()));
    Ok(Reply::json(200, body.to_text()))
}

/// Reads the keys of the items of a body.
fn in_body(visit: &Visit<'_>, find: &Find) -> Result<Vec<String>, Refused> {
    let place = find.items.as_ref().ok_or_else(|| Refused::new(400, "Nothing is looked for."))?;
    let items = list_at(&visit.request.body, place)?;
    let carries = |value: &serde_json::Value| {
        let template = value.as_str().and_then(|text| Template::parse(text).ok());
        template.is_some_and(|template| template.holes().next().is_some())
    };
    let name = find.item.iter().find(|(_, value)| carries(value)).map(|(name, _)| name.clone());
    let place = Pointer::default().member(&name.unwrap_or_default());
    let text = |item: &RawValue| Some(String::from(value_from_raw(place.find(item)?).ok()?.to_plain()?));
    Ok(items.iter().filter_map(|item| text(item)).collect())
}

/// Takes the list out of a body.
pub fn list_at(body: &[u8], place: &Pointer) -> Result<Vec<Box<RawValue>>, Refused> {
    let wrong = || Refused::new(400, format!("The body has no list at {place}."));
    let whole: &RawValue =
        serde_json::from_slice(body).map_err(|_| Refused::new(400, "The body is no JSON."))?;
    let list = place.find(whole).ok_or_else(wrong)?;
    serde_json::from_str(list.get()).map_err(|_| wrong())
}

/// What a page asks for.
struct Asked<'v> {
    pairs: Vec<(String, String)>,
    body: Option<&'v RawValue>,
}

impl Asked<'_> {
    /// Reads a parameter of the query, or a place of the body.
    fn get(&self, name: &str) -> Option<String> {
        match name.starts_with('/') {
            true => {
                let place = Pointer::parse(name).ok()?;
                Some(value_from_raw(place.find(self.body?)?).ok()?.to_plain()?.into())
            }
            false => self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        }
    }

    fn number(&self, name: &Option<String>) -> Result<Option<u64>, Refused> {
        let Some((name, text)) = name.as_ref().and_then(|name| Some((name, self.get(name)?))) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| Refused::new(400, format!("{name} is no whole number.")))
    }
}

/// Answers a request for a page. `by_stamp` says that it shows what changed since a moment.
pub fn list(
    visit: &Visit<'_>,
    table: &Table,
    list: &List,
    by_stamp: bool,
    luck: &Luck,
) -> Result<Reply, Refused> {
    let body = serde_json::from_slice::<&RawValue>(&visit.request.body).ok();
    let asked = Asked { pairs: query_pairs(&visit.request.query), body };
    let page = &list.page;
    let size = asked.number(&page.size_param)?.unwrap_or(page.size as u64).min(page.size as u64);
    let size = usize::try_from(size).unwrap_or(1).max(1);
    let told = page.param.as_ref().and_then(|name| asked.get(name));
    let skipped = match page.style {
        PageStyle::Offset => asked.number(&page.param)?.unwrap_or(0),
        PageStyle::Page => {
            let number = asked.number(&page.param)?.unwrap_or(page.first);
            number.saturating_sub(page.first).saturating_mul(size as u64)
        }
        _ => 0,
    };
    let after = match page.style {
        PageStyle::Cursor => told.filter(|token| !token.is_empty()),
        PageStyle::Link | PageStyle::NextUrl => asked.get(AFTER),
        _ => None,
    };
    let after =
        after.map(|token| decode(&token).ok_or_else(|| Refused::new(400, "The cursor is none of ours.")));
    let ids = match by_stamp {
        true => Ids::ByStamp(since(visit, list, &asked)?),
        false => Ids::All,
    };
    // One more than shown tells that there is more.
    let (most, counts) = match page.style {
        PageStyle::Cursor | PageStyle::Link | PageStyle::NextUrl => (size.saturating_add(1), false),
        PageStyle::Offset | PageStyle::Page => (size, true),
        PageStyle::None => (usize::MAX, true),
    };
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let window = Window { skipped, most, counts };
    let (ids, total) = match luck.empty_pages() {
        true => (Vec::new(), 0),
        false => ids.of(visit, table, after.transpose()?, window),
    };
    let shown: Vec<&Cut> = match page.style {
        PageStyle::None => ids.iter().collect(),
        _ => ids.iter().take(size).collect(),
    };
    let reached = skipped.saturating_add(shown.len());
    let more = reached < total && page.style != PageStyle::None;
    let records = shown.iter().filter_map(|cut| {
        let object = table.get(visit.name, &cut.1)?;
        Some(Tree::Raw(object_json(object)))
    });
    let mut body = Tree::default();
    body.set(list.records.steps(), Tree::List(records.collect()));
    let token = shown.last().filter(|_| more).map(|last| encode(last));
    let link = token.as_ref().map(|token| {
        let kept = asked.pairs.iter().filter(|(name, _)| name != AFTER);
        let start = Query::new(format!("{}{}", visit.request.base_url, visit.request.path));
        kept.fold(start, |query, (name, value)| query.with(name, value)).with(AFTER, token).into_text()
    });
    let told = match page.style {
        PageStyle::NextUrl => Some(link.as_deref()),
        PageStyle::Cursor => Some(token.as_deref()),
        _ => None,
    };
    if let (Some(told), Some(place)) = (told, &page.next) {
        body.set(place.steps(), told.map_or(Tree::Raw("null".to_owned()), Tree::text));
    }
    if let Some(place) = &page.more {
        body.set(place.steps(), Tree::Raw(more.to_string()));
    }
    if let Some(place) = &page.total {
        body.set(place.steps(), Tree::Raw(total.to_string()));
    }
    let reply = Reply::json(200, body.to_text());
    Ok(match (page.style, link) {
        (PageStyle::Link, Some(link)) => reply.with_header("link", format!("<{link}>; rel=\"next\"")),
        _ => reply,
    })
}

/// A record's place in an order.
type Cut = (i64, Id);

enum Ids {
    All,
    /// From this moment on, in milliseconds.
    ByStamp(i64),
}

/// Which part of an order is shown.
#[derive(Clone, Copy)]
struct Window {
    skipped: usize,
    most: usize,
    /// All are counted, not only those that are shown.
    counts: bool,
}

impl Window {
    /// Takes the part out, and counts where the number of all is not known.
    fn of<'o>(self, mut all: impl Iterator<Item = (i64, &'o Id)>, known: Option<usize>) -> (Vec<Cut>, usize) {
        let skipped = all.by_ref().take(self.skipped).count();
        let shown: Vec<Cut> =
            all.by_ref().take(self.most).map(|(stamp, id)| (stamp, Id::clone(id))).collect();
        let behind = if self.counts && known.is_none() { all.count() } else { 0 };
        let count = skipped + shown.len() + behind;
        (shown, known.filter(|_| self.counts).unwrap_or(count))
    }
}

impl Ids {
    fn of(&self, visit: &Visit<'_>, table: &Table, after: Option<Cut>, window: Window) -> (Vec<Cut>, usize) {
        let order = |name: &str| table.order(visit.name, name);
        match (self, after) {
            (Self::All, None) => {
                let ids = order(BY_ID).into_iter().flat_map(|order| order.from(0, ""));
                window.of(ids, order(BY_ID).map(Order::count))
            }
            (Self::All, Some((_, last))) => {
                let ids = order(BY_ID).into_iter().flat_map(|order| order.from(0, &last));
                window.of(ids.filter(|(_, id)| **id != last), None)
            }
            (Self::ByStamp(from), Some((stamp, last))) if stamp >= *from => {
                let ids = order(BY_STAMP).into_iter().flat_map(|order| order.from(stamp, &last));
                window.of(ids.filter(|(at, id)| *at != stamp || **id != last), None)
            }
            // Only where they are marked do deleted records stand here, and the mark tells of the deletion.
            (Self::ByStamp(from), _) => {
                window.of(order(BY_STAMP).into_iter().flat_map(|order| order.from(*from, "")), None)
            }
        }
    }
}

/// Reads the moment since which changes are asked for.
fn since(visit: &Visit<'_>, list: &List, asked: &Asked<'_>) -> Result<i64, Refused> {
    let changes = visit.stream.changes.as_ref();
    let format = changes.and_then(|changes| changes.format.as_ref()).unwrap_or(&visit.stream.stamp_format);
    let in_query = list.query.iter().find_map(|(name, template)| {
        let text = asked.get(name)?;
        template.read(&text).filter(|(hole, _)| **hole == Hole::Stamp).map(|(_, value)| value.to_owned())
    });
    let told = serde_json::Value::Object(list.body.clone());
    let text = in_query.or_else(|| in_place(&told, asked.body?));
    let text = text.ok_or_else(|| Refused::new(400, "Nothing says since when."))?;
    let at = format.read_text(&text).ok_or_else(|| Refused::new(400, format!("{text:?} is no moment.")))?;
    let exclusive = changes.is_some_and(|changes| changes.exclusive);
    let Timestamp(at) = at;
    Ok(if exclusive { at.saturating_add(format.grain_ms()) } else { at })
}

/// Finds the text that stands in a body where the description has the moment.
fn in_place(told: &serde_json::Value, given: &RawValue) -> Option<String> {
    let step = |name: String, told: &serde_json::Value| {
        in_place(told, Pointer::default().member(&name).find(given)?)
    };
    match told {
        serde_json::Value::String(text) => {
            let template = Template::parse(text).ok()?;
            let value = value_from_raw(given).ok()?.to_plain()?;
            template.read(&value).filter(|(hole, _)| **hole == Hole::Stamp).map(|(_, value)| value.to_owned())
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().find_map(|(at, told)| step(at.to_string(), told))
        }
        serde_json::Value::Object(members) => {
            members.iter().find_map(|(name, told)| step(name.clone(), told))
        }
        _ => None,
    }
}

/// Writes a place so that it means nothing to anybody else.
fn encode((stamp, id): &Cut) -> String {
    URL_SAFE_NO_PAD.encode(format!("{stamp}:{id}"))
}

fn decode(token: &str) -> Option<Cut> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (stamp, id) = text.split_once(':')?;
    Some((stamp.parse().ok()?, id.into()))
}
