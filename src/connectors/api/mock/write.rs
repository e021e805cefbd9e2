//! Changing: create, update, delete, alone or in batches, and the test's own push.

use serde_json::value::RawValue;

use super::super::super::mock::{Luck, Reply, Table, object_from_json, object_json};
use super::super::super::rest::Members;
use super::super::settings::{MatchBy, Stream, Write};
use super::super::wire::{Encoder, Facts, Hole, Pointer, Sent, Template, Tree};
use super::Visit;
use super::list::list_at;
use super::order::{at, find, find_agreeing, place_of};
use super::refusal::{Refused, message_place};
use super::route::Routed;
use crate::engine::record::{Number, Record, Timestamp, Value, value_from_raw};

/// One record of a request.
struct Item<'i> {
    raw: Option<&'i RawValue>,
    /// What it is known by in a batch, where it says so.
    name: Option<String>,
    id: Option<String>,
    key: Option<String>,
}

/// Answers a request that writes.
pub fn write(
    visit: &Visit<'_>,
    table: &mut Table,
    luck: &mut Luck,
    sent: Sent,
    write: &Write,
    routed: &Routed<'_>,
) -> Result<Reply, Refused> {
    let whole: Option<&RawValue> = serde_json::from_slice(&visit.request.body).ok();
    if write.batch.is_none() {
        luck.records = 1;
        let raw = whole.and_then(|whole| write.wrap.find(whole));
        if sent != Sent::Delete && raw.is_none() {
            return Err(Refused::new(400, "The body has no record."));
        }
        let item = Item {
            raw,
            name: None,
            id: routed.get(|hole| *hole == Hole::Id).map(str::to_owned).or_else(|| id_in(visit.stream, raw)),
            key: routed.get(|hole| matches!(hole, Hole::Key | Hole::KeyField(_))).map(str::to_owned),
        };
        let id = one(visit, table, luck, sent, write, &item)?;
        return Ok(single_reply(visit, table, sent, write, &id));
    }
    let items = list_at(&visit.request.body, &write.wrap)?;
    luck.records = items.len();
    batch(visit, table, luck, sent, write, &items)
}

fn id_in(stream: &Stream, raw: Option<&RawValue>) -> Option<String> {
    Some(value_from_raw(stream.id.find(raw?)?).ok()?.to_plain()?.into())
}

fn single_reply(visit: &Visit<'_>, table: &Table, sent: Sent, write: &Write, id: &str) -> Reply {
    let record = table.get(visit.name, id).map(|object| Tree::Raw(object_json(object)));
    let mut body = Tree::default();
    let mut says = false;
    if let (Some(place), Some(record), true) = (&write.reply, record, sent != Sent::Delete) {
        body.set(place.steps(), record);
        says = true;
    }
    if let Some(place) = &write.success {
        body.set(place.steps(), Tree::Raw("true".to_owned()));
        says = true;
    }
    match (says, sent) {
        (false, Sent::Delete) => Reply::empty(204),
        (_, Sent::Create) => Reply::json(201, body.to_text()),
        (..) => Reply::json(200, body.to_text()),
    }
}

/// Answers a batch: each record by itself where the description has a place for that, all or none elsewhere.
fn batch(
    visit: &Visit<'_>,
    table: &mut Table,
    luck: &mut Luck,
    sent: Sent,
    write: &Write,
    items: &[Box<RawValue>],
) -> Result<Reply, Refused> {
    let Some(batch) = &write.batch else { return Err(Refused::new(400, "This is no batch.")) };
    if items.len() > batch.max {
        return Err(Refused::new(400, format!("A batch has {} records at most.", batch.max)));
    }
    let tells = batch.errors.is_some()
        || batch.results.is_some() && (write.error.is_some() || write.success.is_some());
    let mut ends = Vec::with_capacity(items.len());
    let read: Vec<Item<'_>> = items.iter().map(|raw| item_of(visit.stream, write, raw)).collect();
    if !tells {
        // What can't be told of one is told of all, before any is written.
        for item in &read {
            check(visit, table, luck, sent, write, item)?;
        }
    }
    for item in &read {
        ends.push(one(visit, table, luck, sent, write, item));
    }
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for (item, end) in read.iter().zip(&ends) {
        let name = item.name.clone().map(|name| Tree::text(&name));
        match end {
            Err(refused) if batch.errors.is_some() => {
                let mut error = refused.body(visit.settings);
                if let (Some(place), Some(name)) = (&batch.error_echo, name) {
                    error.set(place.steps(), name);
                }
                errors.push(error);
            }
            Err(refused) => results.push(refusal(visit, write, refused, batch.echo.as_ref().zip(name))),
            Ok(id) => results.push(success(visit, table, sent, write, id, batch.echo.as_ref().zip(name))),
        }
    }
    let mut body = Tree::default();
    let failed = !errors.is_empty();
    if let Some(place) = &batch.results {
        body.set(place.steps(), Tree::List(results));
    }
    if let (Some(place), true) = (&batch.errors, failed || batch.results.is_none()) {
        body.set(place.steps(), Tree::List(errors));
    }
    match (batch.results.is_some() || batch.errors.is_some(), failed) {
        (false, _) => Ok(Reply::empty(204)),
        (true, true) => Ok(Reply::json(207, body.to_text())),
        (true, false) => Ok(Reply::json(200, body.to_text())),
    }
}

fn refusal(visit: &Visit<'_>, write: &Write, refused: &Refused, echo: Option<(&Pointer, Tree)>) -> Tree {
    let mut result = Tree::default();
    if let Some(place) = &write.success {
        result.set(place.steps(), success_word(place, refused.status));
    }
    match &write.error {
        Some(place) => result.set(place.steps(), Tree::text(&refused.message)),
        None => result.set(message_place(visit.settings).steps(), Tree::text(&refused.message)),
    }
    if let Some((place, name)) = echo {
        result.set(place.steps(), name);
    }
    result
}

fn success(
    visit: &Visit<'_>,
    table: &Table,
    sent: Sent,
    write: &Write,
    id: &str,
    echo: Option<(&Pointer, Tree)>,
) -> Tree {
    let mut result = Tree::default();
    let record = table.get(visit.name, id).map(|object| Tree::Raw(object_json(object)));
    match (&write.reply, record) {
        (Some(place), Some(record)) => result.set(place.steps(), record),
        _ => result.set(visit.stream.id.steps(), id_tree(visit.stream, id)),
    }
    if let Some(place) = &write.success {
        result.set(place.steps(), success_word(place, if sent == Sent::Create { 201 } else { 200 }));
    }
    if let Some((place, name)) = echo {
        result.set(place.steps(), name);
    }
    result
}

/// A place that is called a status holds one, any other says yes or no.
fn success_word(place: &Pointer, status: u16) -> Tree {
    let is_status = place.last().is_some_and(|name| name.to_ascii_lowercase().contains("status"));
    Tree::Raw(if is_status { status.to_string() } else { (status < 400).to_string() })
}

/// Reads one item of a batch.
fn item_of<'i>(stream: &Stream, write: &Write, raw: &'i RawValue) -> Item<'i> {
    let constant = |wanted: fn(&Hole) -> bool| {
        let named = write.item.iter().find(|(_, value)| {
            let template = value.as_str().and_then(|text| Template::parse(text).ok());
            template.is_some_and(|template| template.holes().any(wanted))
        });
        let (name, _) = named?;
        let place = match name.starts_with('/') {
            true => Pointer::parse(name).ok()?,
            false => Pointer::default().member(name),
        };
        Some(String::from(value_from_raw(place.find(raw)?).ok()?.to_plain()?))
    };
    let id = constant(|hole| *hole == Hole::Id).or_else(|| id_in(stream, Some(raw)));
    let key = constant(|hole| matches!(hole, Hole::Key | Hole::KeyField(_)));
    let name = match write.batch.as_ref().map(|batch| batch.by) {
        Some(MatchBy::Number) => constant(|hole| *hole == Hole::Number),
        Some(MatchBy::Id) => id.clone(),
        Some(MatchBy::Key) => key.clone(),
        _ => None,
    };
    Item { raw: Some(raw), name, id, key }
}

/// Finds the record that an item means.
fn meant(visit: &Visit<'_>, table: &Table, sent: Sent, write: &Write, item: &Item<'_>) -> Option<String> {
    let first = |text: &str| {
        let found = find(table, visit.name, visit.stream, text);
        found.first().map(|id| id.to_string())
    };
    let by_key = || {
        let field = write.upsert.clone()?;
        let own = item
            .raw
            .and_then(|raw| value_from_raw(place_of(visit.stream, &field).find(raw)?).ok()?.to_plain());
        let text = item.key.clone().or(own.map(String::from))?;
        first(&text)
    };
    match sent {
        Sent::Create => by_key(),
        Sent::Update | Sent::Delete => {
            let known = |id: &String| {
                table
                    .get(visit.name, id)
                    .is_some_and(|object| !super::order::is_deleted(visit.stream, object))
            };
            let named = item.key.as_ref().and_then(|key| first(key));
            item.id.clone().filter(known).or(named)
        }
    }
}

/// Holds a record to what the service demands of it.
fn check(
    visit: &Visit<'_>,
    _table: &Table,
    luck: &mut Luck,
    sent: Sent,
    write: &Write,
    item: &Item<'_>,
) -> Result<(), Refused> {
    if luck.record_fails() {
        return Err(Refused::invalid("This record is refused, as the test asked."));
    }
    let (Some(raw), true) = (item.raw, sent != Sent::Delete) else { return Ok(()) };
    let value =
        |field: &String| place_of(visit.stream, field).find(raw).and_then(|raw| value_from_raw(raw).ok());
    for field in &visit.stream.required {
        let is_told = value(field);
        let is_blank = is_told.as_ref().is_some_and(Value::is_blank);
        if is_blank || is_told.is_none() && (sent == Sent::Create || write.is_whole()) {
            return Err(Refused::invalid(format!("{field} can't be blank.")));
        }
    }
    if visit.strict && !visit.stream.fields.is_empty() {
        let values =
            visit.stream.values.find(raw).and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok());
        let known = |name: &str| {
            visit.stream.names(name)
                || name == visit.stream.id_field()
                || write.item.contains_key(name)
                || visit
                    .stream
                    .paths
                    .values()
                    .any(|place| place.steps().first().is_some_and(|step| step == name))
        };
        if let Some((name, _)) = values.iter().flat_map(|values| &values.0).find(|(name, _)| !known(name)) {
            return Err(Refused::invalid(format!("There is no field {name}.")));
        }
    }
    Ok(())
}

/// Writes one record; gives its id.
fn one(
    visit: &Visit<'_>,
    table: &mut Table,
    luck: &mut Luck,
    sent: Sent,
    write: &Write,
    item: &Item<'_>,
) -> Result<String, Refused> {
    check(visit, table, luck, sent, write, item)?;
    let repeated = write.idempotency_header.as_ref().and_then(|name| {
        let value = visit.request.header(&name.to_ascii_lowercase())?;
        Some(format!("repeat {} {value}", visit.name))
    });
    if let Some(id) = repeated.as_ref().and_then(|fact| table.fact(fact)) {
        return Ok(id.to_owned());
    }
    let there = meant(visit, table, sent, write, item);
    let id = match (sent, there) {
        (Sent::Create, None) => insert(visit, table, luck, write, item)?,
        (Sent::Create | Sent::Update, Some(id)) => {
            replace(visit, table, luck, write, item, &id)?;
            id
        }
        (Sent::Delete, Some(id)) => {
            delete(visit, table, &id);
            id
        }
        (Sent::Update | Sent::Delete, None) => {
            return Err(Refused::not_found(format!(
                "There is no record {}.",
                item.id.as_deref().unwrap_or("of that key")
            )));
        }
    };
    if let Some(fact) = repeated {
        table.set_fact(&fact, id.clone());
    }
    Ok(id)
}

/// Takes the members out of an item that are not the record's own.
fn own_members(visit: &Visit<'_>, luck: &Luck, write: &Write, raw: Option<&RawValue>) -> Tree {
    let members = raw.and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok()).unwrap_or_default();
    let mut own = Tree::default();
    let id = visit.stream.id.steps().first();
    for (name, raw) in members.0 {
        if write.item.contains_key(&*name) || id.is_some_and(|id| *id == name) {
            continue;
        }
        let value =
            value_from_raw(raw).map_or_else(|_| Tree::raw(raw), |value| Tree::value(&luck.stored(value)));
        own.set(&[name.into_owned()], value);
    }
    own
}

fn id_tree(stream: &Stream, id: &str) -> Tree {
    match Number::parse(id) {
        Some(number) if stream.id_number => Tree::value(&number),
        _ => Tree::text(id),
    }
}

fn insert(
    visit: &Visit<'_>,
    table: &mut Table,
    luck: &Luck,
    write: &Write,
    item: &Item<'_>,
) -> Result<String, Refused> {
    let id_field = visit.stream.id_field();
    let is_given = write.with_id == Some(true) || write.upsert.as_deref() == Some(id_field);
    let id = match item.id.clone().or_else(|| item.key.clone()).filter(|_| is_given) {
        Some(given) if table.get(visit.name, &given).is_some() => {
            return Err(Refused::new(409, "A record of this id is there already."));
        }
        Some(given) => given,
        None => next_id(table, visit.name),
    };
    let record = own_members(visit, luck, write, item.raw);
    put(visit.name, visit.stream, table, &id, record, visit.now);
    Ok(id)
}

fn next_id(table: &mut Table, name: &str) -> String {
    let serial = format!("serial {name}");
    let id = table.fact(&serial).and_then(|last| last.parse::<u64>().ok()).unwrap_or(0) + 1;
    table.set_fact(&serial, id.to_string());
    id.to_string()
}

fn replace(
    visit: &Visit<'_>,
    table: &mut Table,
    luck: &Luck,
    write: &Write,
    item: &Item<'_>,
    id: &str,
) -> Result<(), Refused> {
    let before = table.get(visit.name, id).cloned().unwrap_or_default();
    let revision = visit.stream.revision.as_ref().or(visit.stream.stamp.as_ref());
    let revision = revision.and_then(|place| at(&before, place)?.to_plain());
    if let (true, Some(wanted)) = (write.if_match, visit.request.header("if-match"))
        && revision.as_deref() != Some(wanted)
    {
        return Err(Refused::new(412, "The record has changed since."));
    }
    let sent = own_members(visit, luck, write, item.raw);
    let record = match write.is_whole() {
        true => sent,
        false => merged(Tree::Raw(object_json(&before)), &sent, &visit.stream.values),
    };
    put(visit.name, visit.stream, table, id, record, visit.now);
    Ok(())
}

/// Lays members over a record; those of the object with the fields one by one.
fn merged(mut record: Tree, sent: &Tree, values: &Pointer) -> Tree {
    let text = sent.to_text();
    let Ok(raw) = serde_json::from_str::<&RawValue>(&text) else { return record };
    let members = serde_json::from_str::<Members<'_>>(raw.get()).unwrap_or_default();
    let inside = values.steps().first();
    for (name, raw) in members.0 {
        if inside.is_none_or(|inside| *inside != name) {
            record.set(&[name.into_owned()], Tree::raw(raw));
        }
    }
    if let Some(fields) = values.find(raw).filter(|_| inside.is_some()) {
        for (name, raw) in serde_json::from_str::<Members<'_>>(fields.get()).unwrap_or_default().0 {
            record.set(values.member(&name).steps(), Tree::raw(raw));
        }
    }
    record
}

/// Stores a record under its id, with a new stamp.
fn put(name: &str, stream: &Stream, table: &mut Table, id: &str, mut record: Tree, now: Timestamp) {
    record.set(stream.id.steps(), id_tree(stream, id));
    if let Some(place) = &stream.stamp {
        record.set(place.steps(), Tree::value(&stream.stamp_format.value(table.next_stamp(now))));
    }
    let Ok(object) = object_from_json(&record.to_text()) else { return };
    table.put(name, id, object);
}

fn delete(visit: &Visit<'_>, table: &mut Table, id: &str) {
    let Some(object) = table.get(visit.name, id).cloned() else { return };
    match &visit.stream.deleted {
        Some(place) => {
            let mut record = Tree::Raw(object_json(&object));
            record.set(place.steps(), Tree::Raw("true".to_owned()));
            put(visit.name, visit.stream, table, id, record, visit.now);
        }
        None => {
            table.remove(visit.name, id);
        }
    }
}

/// Puts a flat record in, changing the one with the same key.
pub fn push(
    name: &str,
    stream: &Stream,
    table: &mut Table,
    (key_field, key): (&str, &Value),
    record: &Record,
    now: Timestamp,
) -> Result<String, String> {
    let there = find_agreeing(table, name, stream, key_field, key);
    let open = Stream { read_only: Vec::new(), ..stream.clone() };
    let encoder = Encoder { stream: &open, write: &Write::default(), sent: Sent::Update };
    let base = there.as_ref().and_then(|id| table.get(name, id)).map(|object| Tree::Raw(object_json(object)));
    let written = encoder
        .record(base, &record.schema, &record.values, &Facts::default())
        .map_err(|unfit| unfit.reason.to_owned())?;
    let id = match there {
        Some(id) => id,
        None if key_field == stream.id_field() => key.to_plain().unwrap_or_default().into(),
        None => next_id(table, name),
    };
    put(name, stream, table, &id, written, now);
    Ok(id)
}
