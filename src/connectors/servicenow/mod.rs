//! ServiceNow over its Table API and Batch API.
//!
//! There is no upsert, no compare-and-set and no soft deletion there. So a create looks its key up first (a
//! correlation field), the runtime reads again before it writes, and deletions are read from `sys_audit_delete`
//! or found by listing.
//!
//! - [`wire`] is what is sent, what comes back and what a refusal means, pure;
//! - [`instance`] sends it, with a login; [`table`] reads pages whatever access rules hide of them;
//! - [`source`] reads by a keyset over (sys_updated_on, sys_id), deletions before it;
//! - [`destination`] writes by batches;
//! - [`mock`] is an instance that the project ships.

mod destination;
mod instance;
mod login;
mod lookup;
mod mock;
mod options;
mod place;
mod settings;
mod source;
mod table;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Call, Connector, Deletes, Destination, Features, NoBytes, Open, Source, StreamInfo, StreamSpec, System,
    rest,
};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Record;
use destination::ServiceNowDestination;
use instance::Instance;
use settings::Settings;
use source::{GRAVEYARD, ServiceNowSource};
use wire::{Decoder, Dictionary, Encoded, SYSTEM_FIELDS};

/// When a record was changed last.
const STAMP: &str = "sys_updated_on";

/// Records in one `write` call: a look-up and a batch. The service gives a batch 30 seconds.
const BATCH_MAX: usize = 100;

/// An instance serves few REST requests of one user at once.
const IN_FLIGHT_MAX: usize = 4;

/// The entry of the table of connectors.
pub const CONNECTOR: Connector = Connector {
    name: "servicenow",
    about: "ServiceNow tables over the Table API and the Batch API, or the built-in mock of an instance",
    remote: true,
    settings_schema: || schemars::schema_for!(Settings).to_value(),
    stream_options: options::STREAM_OPTIONS,
    check_settings: |table| Settings::parse(table).map(drop),
    open: |open| Ok(Arc::new(ServiceNow::open(&open)?)),
    mock: Some(mock::make),
};

/// One configured instance.
struct ServiceNow {
    instance: Arc<Instance>,
}

impl ServiceNow {
    fn open(open: &Open) -> Result<Self, Fault> {
        let settings = Settings::parse(&open.settings).map_err(|error| rest::wrong_settings(open, error))?;
        Ok(Self { instance: Arc::new(Instance::open(settings, open)?) })
    }

    /// Reads one row that passes: proof that the table is there and may be read.
    async fn sample(
        &self,
        stream: &StreamSpec,
        query: &Encoded,
        call: &Call,
    ) -> Result<Option<Record>, Fault> {
        let operation = format!("describe {}", stream.stream);
        let request = self.instance.rows(&stream.stream, query, None).with("sysparm_limit", "1");
        let reply = self.instance.get_again(&operation, &request, call).await?;
        Ok(Decoder::new(&[], []).plain_rows(&operation, &reply.body)?.into_iter().next())
    }

    /// Makes sure that moments in conditions are read as they are shown, by the latest row, which must be found by its own
    /// stamp: they are shown in UTC and read in the user's time zone, and what is read by stamps would be
    /// incomplete in any other.
    async fn check_zone(&self, stream: &StreamSpec, row: &Record, call: &Call) -> Result<(), Fault> {
        let text = |row: &Record, name: &str| row.get(name).as_text().map(str::to_owned);
        let (Some(id), Some(stamp)) = (text(row, "sys_id"), text(row, STAMP)) else { return Ok(()) };
        let itself = Encoded::new().is("sys_id", &id);
        let at_its_moment = itself.clone().from(STAMP, &stamp).until(STAMP, &stamp);
        // Twice: it may have been saved a moment ago, and another node answers that has not heard of it.
        for _ in 0..2 {
            if self.sample(stream, &at_its_moment, call).await?.is_some() {
                return Ok(());
            }
            // It may have been changed in between.
            let now = self.sample(stream, &itself, call).await?.and_then(|row| text(&row, STAMP));
            if now.as_ref() != Some(&stamp) {
                return Ok(());
            }
        }
        Err(Fault::fatal(
            FaultCode::Configuration,
            format!(
                "a record of the ServiceNow table {} is not found by its own {STAMP}: conditions are read in another \
                 time zone than GMT",
                stream.stream
            ),
            "set the time zone of our user there to GMT; if it is, an access rule keeps it from asking by this field",
        ))
    }

    /// Makes sure that deletions can be read where they are told.
    async fn check_graveyard(&self, stream: &StreamSpec, call: &Call) -> Result<(), Fault> {
        let operation = format!("look at {GRAVEYARD}");
        let query = Encoded::new().is("tablename", &stream.stream);
        let fields = ["sys_id".to_owned()];
        let request = self.instance.rows(GRAVEYARD, &query, Some(&fields)).with("sysparm_limit", "1");
        match self.instance.get_again(&operation, &request, call).await {
            Err(fault) if wire::is_forbidden(&fault) => Err(Fault {
                remedy: Some(format!(
                    "give the user read access to {GRAVEYARD}, or write deletes = \"list\" at this end of the link"
                )),
                ..fault
            }),
            other => other.map(drop),
        }
    }
}

/// Why `SYSTEM_FIELDS` can't be written, and what helps.
const SYSTEM_BAR: &str = "ServiceNow sets it itself; take it out of the mapping of this direction";

/// Checks a stream's name before it gets into a path.
fn check_name(stream: &StreamSpec) -> Result<(), Fault> {
    match wire::is_name(&stream.stream) && !stream.stream.contains('.') {
        true => Ok(()),
        false => Err(Fault::fatal(
            FaultCode::Configuration,
            format!("{:?} is no name of a ServiceNow table", stream.stream),
            "write stream = \"incident\" or another table by its name",
        )),
    }
}

fn no_field(stream: &StreamSpec, field: &str) -> Fault {
    Fault::fatal(
        FaultCode::Configuration,
        format!("the ServiceNow table {} has no field {field}, or our user may not see it", stream.stream),
        "correct the link's key (correlation_id is made for this), or give the user access",
    )
}

#[async_trait]
impl System for ServiceNow {
    fn features(&self, stream: &StreamSpec) -> Features {
        Features {
            deletes: options::deletes(stream).unwrap_or(Deletes::Reported),
            compare_and_set: false,
            // A correlation field is unique by habit only.
            upsert_by_key: false,
            batch_max: BATCH_MAX,
            request_max: BATCH_MAX,
            in_flight_max: IN_FLIGHT_MAX,
            loads: false,
            bulk: None,
        }
    }

    async fn describe(&self, stream: &StreamSpec, call: &Call) -> Result<StreamInfo, Fault> {
        check_name(stream)?;
        let deletes = options::deletes(stream)?;
        let row = self.sample(stream, &Encoded::new().latest(STAMP), call).await?;
        if let Some(row) = &row {
            self.check_zone(stream, row, call).await?;
        }
        let told = self.instance.dictionary(&stream.stream, true, call).await?;
        let mut known = Dictionary::clone(&told);
        if let Some(row) = row.filter(|_| told.is_empty()) {
            known.learn_names(row.schema.names());
        }
        // The service drops what it does not know from a query, and would find any record by it.
        if let Some(field) = stream.key.iter().find(|name| !wire::is_name(name) || !known.has(name)) {
            return Err(no_field(stream, field));
        }
        if deletes == Deletes::Reported {
            self.check_graveyard(stream, call).await?;
        }
        let fields = known.names().map(str::to_owned).collect();
        // Where the dictionary can't be read any field may be a reference.
        let walks = if told.is_empty() { known.names().collect() } else { known.walks().collect::<Vec<_>>() };
        let walks = walks.into_iter().map(str::to_owned).collect();
        // A key can be `sys_id`, which is then not written but found.
        let own = SYSTEM_FIELDS.iter().filter(|name| !stream.key.iter().any(|key| key == *name));
        let barred = own.map(|name| ((*name).to_owned(), SYSTEM_BAR.to_owned())).collect();
        Ok(StreamInfo { fields, open: known.open || known.is_empty(), walks, barred })
    }

    fn source(&self, stream: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        check_name(stream)?;
        let deletes = options::deletes(stream)?;
        Ok(Box::new(ServiceNowSource::new(Arc::clone(&self.instance), deletes, stream)))
    }

    fn destination(&self, stream: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        check_name(stream)?;
        let destination = ServiceNowDestination::new(Arc::clone(&self.instance), stream);
        Ok(Arc::new(NoBytes::new(destination, "ServiceNow")))
    }
}
