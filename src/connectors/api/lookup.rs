//! Finding records by key or by id: one by one, many with one request, or in the whole list.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Method;
use serde_json::value::RawValue;

use super::super::rest::RawReply;
use super::super::{Call, StreamSpec};
use super::pages::Walk;
use super::service::{Ask, Service, Target};
use super::settings::{Find, Get, Stream, Verb};
use super::wire::{self, Decoder, Facts, Hole, Pointer, Query, Template, Tree, Unfit};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Change, Key, Record, RemoteId, Value, value_from_raw};

/// Values in one request where the description does not say how many.
const VALUES_MAX: usize = 50;
/// Bytes of them, so that a URL stays below what proxies take (8 KiB).
const VALUE_BYTES_MAX: usize = 1_800;
/// Records of a page of a list that is searched as a whole.
const SCAN_PAGE: usize = 10_000;

/// The records that a look-up found, by key; several where the key is not unique there.
pub type Found = BTreeMap<Key, Vec<Record>>;

/// The texts of the key fields, by which records are found.
pub type Texts = Vec<String>;

/// Finds records of one stream.
pub struct Lookup {
    pub service: Arc<Service>,
    pub stream: Arc<Stream>,
    pub name: String,
    pub key: Vec<String>,
}

impl Lookup {
    /// Starts for one end of a link; calls nothing.
    pub fn new(service: Arc<Service>, stream: Arc<Stream>, spec: &StreamSpec) -> Self {
        Self::of(service, stream, &spec.stream, &spec.key)
    }

    /// Starts for a stream.
    pub fn of(service: Arc<Service>, stream: Arc<Stream>, name: &str, key: &[String]) -> Self {
        Self { service, stream, name: name.to_owned(), key: key.to_vec() }
    }

    /// Tells whether records can be found by key.
    pub fn finds(&self) -> bool {
        self.stream.find.is_some() || self.is_keyed_by_id() && self.stream.get.is_some()
    }

    fn is_keyed_by_id(&self) -> bool {
        matches!(self.key.as_slice(), [only] if only == self.stream.id_field())
    }

    /// Finds records by key. `texts` are the key fields' texts of each record that is looked for.
    pub async fn find(&self, texts: &[Texts], call: &Call) -> Result<Found, Fault> {
        let mut found = Found::new();
        if texts.is_empty() {
            return Ok(found);
        }
        let records = match &self.stream.find {
            Some(find) if find.scan => {
                return self.scan(|record| self.asked(texts, record).is_some(), call).await;
            }
            Some(find) => self.search(find, texts, call).await?,
            None => {
                let ids: Vec<&str> =
                    texts.iter().filter_map(|texts| texts.first()).map(String::as_str).collect();
                self.find_ids(&ids, call).await?.into_values().collect()
            }
        };
        for record in records {
            let loose = self.stream.find.as_ref().is_some_and(|find| find.id.is_some());
            match (self.asked(texts, &record), loose) {
                (Some(key), _) => found.entry(key).or_default().push(record),
                // A search that shows ids shows near ones, too.
                (None, true) => {}
                (None, false) => return Err(self.finds_others()),
            }
        }
        Ok(found)
    }

    /// Returns the key of a record that can have been asked for; the service may ignore case.
    fn asked(&self, texts: &[Texts], record: &Record) -> Option<Key> {
        let same = |text: &String, name: &String| {
            let value = record.get(name);
            let plain = value.to_plain().unwrap_or_default();
            plain.to_lowercase() == text.to_lowercase() || Value::text(text).agrees(value)
        };
        let is_asked =
            texts.iter().any(|texts| texts.iter().zip(&self.key).all(|(text, name)| same(text, name)));
        wire::key_of(record, &self.key).filter(|_| is_asked)
    }

    fn finds_others(&self) -> Fault {
        Fault::fatal(
            FaultCode::Configuration,
            format!("find of {} shows other records than those asked for by the key", self.name),
            "the service passes over the parameter: mend `find`, or write find = { scan = true }",
        )
    }

    /// Asks a search by key.
    async fn search(&self, find: &Find, texts: &[Texts], call: &Call) -> Result<Vec<Record>, Fault> {
        let operation = format!("look {} up", self.name);
        let holes: Vec<Hole> =
            find.path.holes().chain(find.query.values().flat_map(Template::holes)).cloned().collect();
        let body_text = serde_json::to_string(&find.body).unwrap_or_default();
        let many = find.items.is_some() || holes.contains(&Hole::Keys) || body_text.contains("{keys}");
        let max = match (many, find.max) {
            (false, _) => 1,
            (true, 0) => VALUES_MAX,
            (true, max) => max,
        };
        let mut raws = Vec::new();
        for chunk in chunks(texts, max, find.items.is_some()) {
            let ask =
                self.search_ask(find, &operation, chunk).map_err(|unfit| self.unfit(&operation, &unfit))?;
            let Some(reply) = self.answer(&ask, &find.path, call).await? else { continue };
            raws.extend(self.raws(&operation, &reply.body, &find.records)?);
        }
        let Some(place) = &find.id else { return self.decoded(&operation, &raws) };
        let ids: Vec<String> = raws
            .iter()
            .filter_map(|raw| value_from_raw(place.find(raw)?).ok()?.to_plain().map(String::from))
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        Ok(self.find_ids(&ids, call).await?.into_values().collect())
    }

    fn search_ask(&self, find: &Find, operation: &str, chunk: &[Texts]) -> Result<Ask, Unfit> {
        let key = |texts: &'_ Texts| -> Vec<(String, String)> {
            self.key.iter().cloned().zip(texts.iter().cloned()).collect()
        };
        let first = chunk.first().map(key).unwrap_or_default();
        let pairs = borrowed(&first);
        let keys: Vec<&str> = chunk.iter().filter_map(|texts| texts.first()).map(String::as_str).collect();
        let facts = Facts { key: &pairs, keys: &keys, join: join(&find.join), ..Facts::default() };
        let query = Query::path(&find.path, &facts)?.with_all(&find.query, &facts)?;
        let body = match find.method {
            Some(Verb::Post) => {
                let mut body = Tree::default();
                for (name, value) in &find.body {
                    body.set(std::slice::from_ref(name), wire::constant(&self.stream, value, &facts)?);
                }
                if let Some(place) = &find.items {
                    let items = chunk.iter().map(|texts| {
                        let own = key(texts);
                        let pairs = borrowed(&own);
                        let facts = Facts { key: &pairs, ..Facts::default() };
                        let item = serde_json::Value::Object(find.item.clone());
                        wire::constant(&self.stream, &item, &facts)
                    });
                    body.set(place.steps(), Tree::List(items.collect::<Result<_, _>>()?));
                }
                Some(body.to_text())
            }
            _ => None,
        };
        Ok(Ask {
            operation: operation.to_owned(),
            method: find.method.map_or(Method::GET, Verb::method),
            target: Target::Below(query.into_text()),
            body,
            headers: Vec::new(),
            writes: false,
        })
    }

    /// Finds records by id.
    pub async fn find_ids(&self, ids: &[&str], call: &Call) -> Result<BTreeMap<RemoteId, Record>, Fault> {
        let mut wanted: Vec<&str> = ids.iter().copied().filter(|id| !id.is_empty()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let Some(get) = &self.stream.get else {
            let is_wanted = |record: &Record| {
                record.meta.id.as_deref().is_some_and(|id| wanted.binary_search(&id).is_ok())
            };
            let found = self.scan(is_wanted, call).await?.into_values().flatten();
            return Ok(found.filter_map(|record| Some((record.meta.id.clone()?, record))).collect());
        };
        let operation = format!("get {}", self.name);
        let raws = self.get_raw(get, &operation, &wanted, call).await?;
        let records = self.decoded(&operation, &raws)?;
        let records = records.into_iter().filter_map(|record| Some((record.meta.id.clone()?, record)));
        Ok(records.filter(|(id, _)| wanted.binary_search(&id.as_str()).is_ok()).collect())
    }

    /// Reads a record as it stands, to the letter.
    pub async fn raw(&self, id: &str, call: &Call) -> Result<Option<Box<RawValue>>, Fault> {
        let operation = format!("get {}", self.name);
        let Some(get) = &self.stream.get else { return Ok(None) };
        let raws = self.get_raw(get, &operation, &[id], call).await?;
        let is_it = |raw: &RawValue| {
            let own = self
                .stream
                .id
                .find(raw)
                .and_then(|own| value_from_raw(own).ok())
                .and_then(|own| own.to_plain());
            own.as_deref() == Some(id)
        };
        Ok(raws.into_iter().find(|raw| is_it(raw)))
    }

    async fn get_raw(
        &self,
        get: &Get,
        operation: &str,
        ids: &[&str],
        call: &Call,
    ) -> Result<Vec<Box<RawValue>>, Fault> {
        let many = get
            .path
            .holes()
            .chain(get.query.values().flat_map(Template::holes))
            .any(|hole| *hole == Hole::Ids);
        let max = match (many, get.max) {
            (false, _) => 1,
            (true, 0) => VALUES_MAX,
            (true, max) => max,
        };
        let texts: Vec<Texts> = ids.iter().map(|id| vec![(*id).to_owned()]).collect();
        let mut raws = Vec::new();
        for chunk in chunks(&texts, max, false) {
            let ids: Vec<&str> = chunk.iter().filter_map(|texts| texts.first()).map(String::as_str).collect();
            let facts =
                Facts { id: ids.first().copied(), ids: &ids, join: join(&get.join), ..Facts::default() };
            let query = Query::path(&get.path, &facts).and_then(|query| query.with_all(&get.query, &facts));
            let Ok(query) = query else { continue };
            let ask = Ask {
                operation: operation.to_owned(),
                method: Method::GET,
                target: Target::Below(query.into_text()),
                body: None,
                headers: Vec::new(),
                writes: false,
            };
            let Some(reply) = self.answer(&ask, &get.path, call).await? else { continue };
            match many {
                true => raws.extend(self.raws(operation, &reply.body, &get.records)?),
                false => raws.push(one_at(operation, &reply.body, &get.record)?),
            }
        }
        Ok(raws)
    }

    /// Asks for what a record fills into a path, where a 404 means that it is not there; of a path of its own,
    /// it means that the path is wrong.
    async fn answer(&self, ask: &Ask, path: &Template, call: &Call) -> Result<Option<RawReply>, Fault> {
        match path.holes().next() {
            Some(_) => self.service.ask_for_one(ask, call).await,
            None => self.service.ask(ask, call).await.map(Some),
        }
    }

    /// Reads the whole list for some of its records.
    async fn scan(&self, is_wanted: impl Fn(&Record) -> bool, call: &Call) -> Result<Found, Fault> {
        let operation = format!("look through {}", self.name);
        let walk = Walk {
            service: &self.service,
            stream: &self.stream,
            list: &self.stream.list,
            operation: &operation,
            stamp: None,
        };
        let mut decoder = Decoder::new(Arc::clone(&self.stream), &self.key, []);
        let (mut found, mut step) = (Found::new(), None);
        loop {
            let turn = walk.page(step.as_ref(), SCAN_PAGE, &mut decoder, call).await?;
            for change in turn.listed.changes {
                if let Change::Upsert(record) = change
                    && is_wanted(&record)
                    && let Some(key) = wire::key_of(&record, &self.key)
                {
                    let known = found.entry(key).or_default();
                    known.retain(|known| known.meta.id != record.meta.id);
                    known.push(record);
                }
            }
            step = turn.next;
            if step.is_none() {
                return Ok(found);
            }
        }
    }

    fn raws(&self, operation: &str, body: &[u8], records: &Pointer) -> Result<Vec<Box<RawValue>>, Fault> {
        let list = one_at(operation, body, records)?;
        serde_json::from_str::<Option<Vec<Box<RawValue>>>>(list.get()).map(Option::unwrap_or_default).map_err(
            |_| {
                let message = format!("{operation}: what the reply has at {records} is no list of records");
                Fault::transient(FaultCode::Protocol, message)
            },
        )
    }

    /// Reads records; those marked as deleted are not there.
    fn decoded(&self, operation: &str, raws: &[Box<RawValue>]) -> Result<Vec<Record>, Fault> {
        let mut decoder = Decoder::new(Arc::clone(&self.stream), &self.key, []);
        let records = raws.iter().map(|raw| decoder.single(operation, raw));
        records.filter_map(Result::transpose).collect()
    }

    fn unfit(&self, operation: &str, unfit: &Unfit) -> Fault {
        Fault::fatal(
            FaultCode::Configuration,
            format!("{operation}: {} {}", unfit.hole, unfit.reason),
            "name the key's fields as {key.FIELD} where the key has several",
        )
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// Between several values a comma stands where the description says nothing.
fn join(told: &str) -> &str {
    if told.is_empty() { "," } else { told }
}

/// Takes one place out of a reply.
fn one_at(operation: &str, body: &[u8], place: &Pointer) -> Result<Box<RawValue>, Fault> {
    let protocol = |reason: String| Fault::transient(FaultCode::Protocol, format!("{operation}: {reason}"));
    let whole: &RawValue =
        serde_json::from_slice(body).map_err(|error| protocol(format!("the reply is no JSON: {error}")))?;
    let found = place.find(whole).ok_or_else(|| protocol(format!("the reply has nothing at {place}")))?;
    Ok(found.to_owned())
}

/// Cuts what is looked for into requests of a bearable length.
fn chunks(texts: &[Texts], max: usize, in_body: bool) -> Vec<&[Texts]> {
    let (mut chunks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, texts_here) in texts.iter().enumerate() {
        let here: usize = texts_here.iter().map(String::len).sum();
        let is_long = !in_body && bytes + here > VALUE_BYTES_MAX;
        if at > start && (at - start >= max || is_long) {
            chunks.extend(texts.get(start..at));
            (start, bytes) = (at, 0);
        }
        bytes += here;
    }
    chunks.extend(texts.get(start..).filter(|rest| !rest.is_empty()));
    chunks
}
