//! Salesforce over its REST API.
//!
//! - [`wire`] is what is sent, what comes back and what a refusal means, pure;
//! - [`org`] sends it, with a token;
//! - [`source`] reads by a keyset over (SystemModstamp, Id), the bin included, a long first read by [`extract`];
//! - [`graves`] are the deletions that the bin shows no more;
//! - [`destination`] upserts by external id, up to 200 records a call, a backlog by [`ingest`];
//! - [`jobs`] are what both of the latter work with; [`at_work`] remembers those that may be writing;
//! - [`mock`] is an org that the project ships.
//!
//! Absent on purpose: composite trees, links to parents by external id.

mod at_work;
mod destination;
mod extract;
mod footprints;
mod forecast;
mod graves;
mod ingest;
mod jobs;
mod keys;
mod login;
mod lookup;
mod mock;
mod org;
mod restored;
mod rights;
mod settings;
mod source;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Bulk, Call, Connector, Deletes, Destination, Features, NoBytes, Open, Source, StreamInfo, StreamSpec,
    System,
};
use crate::engine::fault::Fault;

use destination::{CALL_MAX, LOOK_MAX, SalesforceDestination};
use ingest::{BULK_FROM, BULK_MAX};
use org::{Org, no_field};
use source::SalesforceSource;

/// The entry in the table of connectors.
pub const CONNECTOR: Connector = Connector {
    name: "salesforce",
    about: "Salesforce objects over the REST API, or the built-in mock of an org",
    remote: true,
    settings_schema: settings::schema,
    stream_options: &[],
    check_settings: settings::check,
    open,
    mock: Some(mock::make),
};

fn open(open: Open) -> Result<Arc<dyn System>, Fault> {
    Ok(Arc::new(Salesforce { org: Arc::new(Org::new(&open)?) }))
}

struct Salesforce {
    org: Arc<Org>,
}

#[async_trait]
impl System for Salesforce {
    fn features(&self, _stream: &StreamSpec) -> Features {
        Features {
            deletes: Deletes::Reported,
            // Only single records take If-Unmodified-Since, and its grain is a second.
            compare_and_set: false,
            upsert_by_key: true,
            // An external id need not be unique.
            batch_max: CALL_MAX,
            request_max: CALL_MAX,
            in_flight_max: 4,
            loads: false,
            bulk: self.org.settings.bulk.then_some(Bulk {
                from: BULK_FROM,
                max: BULK_MAX,
                look_max: LOOK_MAX,
            }),
        }
    }

    async fn describe(&self, stream: &StreamSpec, call: &Call) -> Result<StreamInfo, Fault> {
        let described = self.org.described(&stream.stream, true, call).await?;
        let external = self.org.settings.external_id_field.iter();
        for field in stream.key.iter().chain(external) {
            if described.spelling(field).is_none() {
                return Err(no_field(&stream.stream, field));
            }
        }
        let fields = described.fields.iter().map(|field| field.name.clone()).collect();
        let barred = match stream.key.as_slice() {
            [key] => {
                let external = self.org.settings.external_id_field.as_deref().unwrap_or(key);
                rights::barred(&described, &stream.stream, key, external)
            }
            _ => BTreeMap::new(),
        };
        Ok(StreamInfo { fields, open: described.open, barred, ..StreamInfo::default() })
    }

    fn source(&self, stream: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        Ok(Box::new(SalesforceSource::new(Arc::clone(&self.org), stream.clone())))
    }

    fn destination(&self, stream: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        let destination = SalesforceDestination::new(Arc::clone(&self.org), stream.clone());
        Ok(Arc::new(NoBytes::new(destination, "Salesforce")))
    }
}
