//! Outreach: prospects, accounts and whatever else has attributes, over JSON:API.
//!
//! There is no upsert, no compare-and-set and no feed of deletions there. So a create looks its key
//! up first, the runtime reads again before it writes, and deletions are found by listing.
//!
//! Fields of a record are the resource's attributes by name, its `id`, and `account.id` for the
//! resource that a to-one relationship points to.

mod destination;
mod lookup;
mod mock;
mod restored;
mod service;
mod settings;
mod source;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Call, Connector, Deletes, Destination, Features, NoBytes, Open, Source, StreamInfo, StreamSpec, System,
    rest,
};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::Change;
use destination::OutreachDestination;
use service::Service;
use settings::Settings;
use source::OutreachSource;
use wire::{Decoder, Field, Query, Resource};

/// Records in one `write` call; each costs a request.
const BATCH_MAX: usize = 50;

/// A name that no service has; one that filters by it takes any field.
const NO_SUCH_FIELD: &str = "recordSyncProbe";

/// The entry of the table of connectors.
pub const CONNECTOR: Connector = Connector {
    name: "outreach",
    about: "Outreach over its JSON:API v2: prospects, accounts and other resources, both ways",
    remote: true,
    settings_schema: || schemars::schema_for!(Settings).to_value(),
    stream_options: &[],
    check_settings: |table| Settings::parse(table).map(drop),
    open: |open| Ok(Arc::new(Outreach::open(&open)?)),
    mock: Some(|settings| Arc::new(mock::OutreachMock::new(&settings))),
};

/// One configured Outreach organisation.
struct Outreach {
    service: Arc<Service>,
}

impl Outreach {
    fn open(open: &Open) -> Result<Self, Fault> {
        let settings = Settings::parse(&open.settings).map_err(|error| rest::wrong_settings(open, error))?;
        Ok(Self { service: Arc::new(Service::open(settings, open)?) })
    }

    /// Finds out whether the service takes fields that it has never heard of, as the mock does
    /// unless it is strict.
    async fn takes_any_field(&self, resource: &Resource, call: &Call) -> Result<bool, Fault> {
        let query = Query::new(resource.path())
            .with_any(&[(Field::Attribute(NO_SUCH_FIELD), vec![NO_SUCH_FIELD])])
            .with("page[size]", "1")
            .with("count", "false");
        match self.service.get("probe for open fields", query, call).await {
            Ok(_) => Ok(true),
            Err(fault) if refuses_the_query(&fault) => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

/// Gives the resource that a stream's name means.
fn resource_of(spec: &StreamSpec) -> Result<Resource, Fault> {
    Resource::parse(&spec.stream).ok_or_else(|| {
        Fault::fatal(
            FaultCode::Configuration,
            format!("{:?} is no name of an Outreach resource", spec.stream),
            "write stream = \"prospects\", \"accounts\" or another plural from the API's reference",
        )
    })
}

/// Tells whether the service did not take the query itself.
fn refuses_the_query(fault: &Fault) -> bool {
    fault.kind == FaultKind::Fatal && fault.code == FaultCode::Validation
}

#[async_trait]
impl System for Outreach {
    fn features(&self, _stream: &StreamSpec) -> Features {
        Features {
            deletes: Deletes::Listed,
            compare_and_set: false,
            upsert_by_key: false,
            // Of the others only a prospect's addresses are unique, and these are lists.
            batch_max: BATCH_MAX,
            request_max: 1,
            in_flight_max: self.service.settings.in_flight,
            loads: false,
            bulk: None,
        }
    }

    /// Reads one record that has the key: that shows its fields, and that the service can find
    /// records by the key, without which nothing could be created safely.
    async fn describe(&self, stream: &StreamSpec, call: &Call) -> Result<StreamInfo, Fault> {
        let resource = resource_of(stream)?;
        let operation = format!("describe {}", resource.plural);
        let mut query = Query::new(resource.path()).with("page[size]", "1").with("count", "false");
        for name in stream.key.iter().filter(|name| *name != "id") {
            query = query.with(&Field::parse(name).filter_name(), "__notnull__");
        }
        let reply = self.service.get(&operation, query, call).await.map_err(|fault| {
            if !refuses_the_query(&fault) {
                return fault;
            }
            Fault {
                remedy: Some(format!(
                    "the service must be able to filter by the key, or a lost reply would make a second \
                     record: write key = {}",
                    wire::keys_of(&resource).join(" or ")
                )),
                ..fault
            }
        })?;
        let page = Decoder::new(&stream.key, []).page(&operation, &reply.body)?;
        let mut fields: Vec<String> = match page.changes.first() {
            Some(Change::Upsert(record)) => record.schema.names().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let known = wire::attributes_of(&resource);
        let missing: Vec<String> = known.iter().filter(|name| !fields.contains(name)).cloned().collect();
        fields.extend(missing);
        // A key that the schema lacks and the service yet filters by says it all.
        let plain_key = stream.key.iter().all(|name| name == "id" || known.contains(name));
        let open = known.is_empty() || !plain_key || self.takes_any_field(&resource, call).await?;
        let barred = if open { BTreeMap::new() } else { wire::barred(&resource) };
        Ok(StreamInfo { fields, open, barred, ..StreamInfo::default() })
    }

    fn source(&self, stream: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        Ok(Box::new(OutreachSource::new(Arc::clone(&self.service), resource_of(stream)?, stream)))
    }

    fn destination(&self, stream: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        let service = Arc::clone(&self.service);
        let destination = OutreachDestination::new(service, resource_of(stream)?, stream);
        Ok(Arc::new(NoBytes::new(destination, "Outreach")))
    }
}
