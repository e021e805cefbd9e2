//! `rest`: any JSON API by description.
//!
//! What a system's table says is all that is known of it: paths, where records, ids, stamps and the next page
//! are, who we are there, how records are written, and what a reply tells of each. `docs/connectors/rest.md`
//! is the reference of its keys. The mock is made from the same description.
//!
//! The folder is not called `rest`: that one holds what all connectors over HTTP share.

mod auth;
mod batches;
mod destination;
mod lookup;
mod mock;
mod pages;
mod restored;
mod service;
mod settings;
mod source;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Call, Connector, Deletes, Destination, Features, NoBytes, Open, Source, StreamInfo, StreamSpec, System,
    rest,
};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Change, Record};
use destination::ApiDestination;
use lookup::Lookup;
use service::Service;
use settings::{Deletions, Settings, Stream};
use source::ApiSource;
use wire::Hole;

/// Records in one `write` call where each costs a request.
const SINGLES_MAX: usize = 50;

/// Records that a look at a stream asks for.
const LOOK: usize = 10;

/// The entry of the table of connectors.
pub const CONNECTOR: Connector = Connector {
    name: "rest",
    about: "Any JSON API over HTTP, by a description of its paths, pages, login and writes",
    remote: true,
    settings_schema: || schemars::schema_for!(Settings).to_value(),
    stream_options: &[],
    check_settings: |table| Settings::parse(table).map(drop),
    open: |open| Ok(Arc::new(Api::open(&open)?)),
    mock: Some(|settings| Arc::new(mock::ApiMock::new(&settings))),
};

/// One described system.
struct Api {
    system: String,
    service: Arc<Service>,
}

impl Api {
    fn open(open: &Open) -> Result<Self, Fault> {
        let settings = Settings::parse(&open.settings).map_err(|error| rest::wrong_settings(open, error))?;
        Ok(Self { system: open.system.clone(), service: Arc::new(Service::open(settings, open)?) })
    }

    fn stream(&self, spec: &StreamSpec) -> Result<Arc<Stream>, Fault> {
        self.service.streams.get(&spec.stream).map(Arc::clone).ok_or_else(|| {
            let known = self.service.streams.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Fault::fatal(
                FaultCode::Configuration,
                format!("{} has no stream {:?}", self.system, spec.stream),
                format!("describe it under systems.{}.streams, or write one of: {known}", self.system),
            )
        })
    }

    fn wrong(&self, spec: &StreamSpec, what: &str, remedy: impl Into<String>) -> Fault {
        Fault::fatal(FaultCode::Configuration, format!("{} of {}: {what}", spec.stream, self.system), remedy)
    }

    /// Holds a link's key to what the description goes by.
    fn check_key(&self, spec: &StreamSpec, stream: &Stream) -> Result<(), Fault> {
        let is_known = |hole: &Hole| match hole {
            Hole::Key | Hole::Keys => spec.key.len() == 1,
            Hole::KeyField(field) => spec.key.contains(field),
            _ => true,
        };
        if let Some(hole) = stream.holes().iter().find(|hole| !is_known(hole)) {
            return Err(self.wrong(
                spec,
                &format!("the description has {hole}, and the key is {}", spec.key.join(", ")),
                "write {key} for a key of one field, and {key.FIELD} for each field of one that has more",
            ));
        }
        let searched = stream.find.as_ref().and_then(|find| find.field.as_deref());
        let upserted = stream.create.as_ref().and_then(|create| create.upsert.as_deref());
        match searched.or(upserted) {
            Some(field) if spec.key != [field] => Err(self.wrong(
                spec,
                &format!("the description finds records by {field}, and the key is {}", spec.key.join(", ")),
                format!("write key = \"{field}\", or describe how to find by the other"),
            )),
            _ => Ok(()),
        }
    }

    /// Asks for what changed since the stamp of a record, and looks whether it comes as described.
    async fn check_changes(
        &self,
        source: &mut ApiSource,
        spec: &StreamSpec,
        stream: &Stream,
        record: &Record,
        call: &Call,
    ) -> Result<(), Fault> {
        let (Some(changes), Some(from)) = (&stream.changes, record.meta.modified_at) else { return Ok(()) };
        let turn = source.since(from.0, None, LOOK, call).await?;
        let stamps = turn.listed.changes.iter().filter_map(|change| match change {
            Change::Upsert(record) => record.meta.modified_at,
            _ => None,
        });
        if changes.ordered && !stamps.is_sorted() {
            return Err(self.wrong(
                spec,
                "`changes` does not show records in the order of their stamps",
                "ask for that order in its parameters, or leave `ordered` out",
            ));
        }
        Ok(())
    }

    /// Looks whether a record that a list shows is also found by its id and its key.
    async fn check_lookups(
        &self,
        lookup: &Lookup,
        spec: &StreamSpec,
        record: &Record,
        call: &Call,
    ) -> Result<(), Fault> {
        let id = record.meta.id.as_deref().unwrap_or_default();
        if lookup.stream.get.is_some() && !lookup.find_ids(&[id], call).await?.contains_key(id) {
            return Err(self.wrong(
                spec,
                "`get` does not find a record that `list` shows",
                "check its path, and where the record stands in the reply",
            ));
        }
        let Some(key) = wire::key_of(record, &spec.key) else { return Ok(()) };
        let is_cheap = lookup.stream.find.as_ref().is_some_and(|find| !find.scan);
        let texts: Vec<String> = key.parts().into_iter().map(String::from).collect();
        if is_cheap && !lookup.find(&[texts], call).await?.contains_key(&key) {
            return Err(self.wrong(
                spec,
                "`find` does not find a record that `list` shows, by its key",
                "check its parameters, and where the records stand in the reply",
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl System for Api {
    fn features(&self, spec: &StreamSpec) -> Features {
        let stream = self.service.streams.get(&spec.stream);
        let deletes = match stream.map(|stream| stream.deletions()) {
            Some(Deletions::Reported) => Deletes::Reported,
            Some(Deletions::Listed) => Deletes::Listed,
            Some(Deletions::Scanned) | None => Deletes::Scanned,
        };
        let largest = stream.and_then(|stream| stream.writes().map(|(_, write)| write.batch_max()).max());
        let smallest = stream.and_then(|stream| stream.writes().map(|(_, write)| write.batch_max()).min());
        let batch_max = largest.filter(|max| *max > 1).unwrap_or(SINGLES_MAX);
        let upserts =
            stream.and_then(|stream| stream.create.as_ref()).is_some_and(|create| create.upsert.is_some());
        Features {
            deletes,
            compare_and_set: false,
            upsert_by_key: upserts,
            batch_max,
            request_max: smallest.unwrap_or(1),
            in_flight_max: self.service.settings.in_flight,
            loads: false,
            bulk: None,
        }
    }

    /// Reads a page and holds a record of it against the description: its id, its stamp, its key, and
    /// whether it is found by them.
    async fn describe(&self, spec: &StreamSpec, call: &Call) -> Result<StreamInfo, Fault> {
        let stream = self.stream(spec)?;
        self.check_key(spec, &stream)?;
        let mut source = ApiSource::new(Arc::clone(&self.service), Arc::clone(&stream), spec);
        let turn = source.whole(&format!("describe {}", spec.stream), None, LOOK, call).await?;
        let mut fields = stream.fields.clone();
        let mut records = Vec::new();
        for change in &turn.listed.changes {
            match change {
                Change::Upsert(record) => records.push(record),
                Change::Malformed(malformed) if turn.listed.changes.len() == 1 || records.is_empty() => {
                    return Err(self.wrong(
                        spec,
                        &format!("a record is not as described: {}", malformed.reason),
                        "check `id`, `values` and `list.records`",
                    ));
                }
                Change::Malformed(_) | Change::Delete(_) => {}
            }
        }
        if let Some(record) = records.first().copied() {
            fields.extend(
                record.schema.names().map(str::to_owned).filter(|name| !stream.fields.contains(name)),
            );
            if stream.changes.is_some() && record.meta.modified_at.is_none() {
                return Err(self.wrong(
                    spec,
                    "a record has no stamp where the description says, or one of another format",
                    "check `stamp` and `stamp_format`",
                ));
            }
            let has = |name: &String| {
                stream.names(name) || records.iter().any(|record| !record.get(name).is_missing())
            };
            if let Some(missing) = spec.key.iter().find(|name| !has(name)) {
                let known = record.schema.names().collect::<Vec<_>>().join(", ");
                return Err(self.wrong(
                    spec,
                    &format!("no record has the key {missing}"),
                    format!("write one of its fields as the key: {known}; or describe where it stands under `paths`"),
                ));
            }
            self.check_changes(&mut source, spec, &stream, record, call).await?;
            let lookup = Lookup::new(Arc::clone(&self.service), Arc::clone(&stream), spec);
            self.check_lookups(&lookup, spec, record, call).await?;
        } else {
            fields.extend(stream.paths.keys().cloned());
            fields.extend(spec.key.iter().cloned());
            fields.push(stream.id_field().to_owned());
        }
        let mut known = std::collections::BTreeSet::new();
        fields.retain(|name| known.insert(name.clone()));
        Ok(StreamInfo { fields, open: stream.fields.is_empty(), ..StreamInfo::default() })
    }

    fn source(&self, spec: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        Ok(Box::new(ApiSource::new(Arc::clone(&self.service), self.stream(spec)?, spec)))
    }

    fn destination(&self, spec: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        let destination = ApiDestination::new(Arc::clone(&self.service), self.stream(spec)?, spec);
        Ok(Arc::new(NoBytes::new(destination, "JSON")))
    }
}
