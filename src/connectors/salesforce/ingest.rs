//! The bulk road of the writing end: a backlog goes in by one bulk job instead of a call for every 200 records.
//!
//! Rows are known again by their own column, the external id or the Id, in whatever order the service tells of
//! them. A job is an upsert by external id, an update by Id or a delete by Id, as single saves are: to send one
//! twice changes nothing.

use super::destination::{Road, SalesforceDestination, key_text, saved};
use super::forecast::forecast;
use super::jobs::{Work, failed, gone};
use super::org::{Ask, no_field, unreadable};
use super::rights::{check_fields, check_upsert};
use super::wire::{self, JobInfo, Told};
use crate::connectors::{Call, Delivery, Outcome, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Schema, Value};
use std::sync::Arc;

/// Fewer records are cheaper by collections: a job takes about eight calls.
pub const BULK_FROM: usize = 2_000;
/// The service works in batches of so many rows.
pub const BULK_MAX: usize = 10_000;
/// Bytes of an upload. Its results repeat what was sent, and replies are bounded.
const UPLOAD_MAX: usize = 20 * 1024 * 1024;

/// Rows that go into a job, and those that CSV can't say.
struct Load<'d> {
    column: String,
    csv: String,
    /// Each delivery with what stands in its column.
    going: Vec<(usize, &'d Delivery, String)>,
}

impl SalesforceDestination {
    /// Writes deliveries of one road by a job; `None` stands for those that have to go another way. Gives `None`
    /// as a whole where a job would not do.
    pub(super) async fn ingest(
        &self,
        road: Road,
        shape: &Arc<Schema>,
        deliveries: &[&Delivery],
        call: &Call,
    ) -> Result<Option<Vec<Option<Outcome>>>, Fault> {
        let object = &self.stream.stream;
        let Some(load) = self.load(road, shape, deliveries, call).await? else { return Ok(None) };
        let operation = format!("load {object}");
        let external = (road == Road::Upsert).then_some(load.column.as_str());
        let body = wire::ingest_body(object, road.operation(), external);
        let job = self.org.open_job(&operation, Work::Ingest, &body, call).await?;
        for (_, delivery, _) in &load.going {
            if let Ok(key) = key_text(&delivery.key) {
                self.org.footprints.leave(object, &key);
            }
        }
        // From here on nothing else is written to the object, whatever becomes of this call.
        let held = self.org.at_work.hold(object, &job.id);
        self.org.feed_job(&operation, &held, &load.csv, call).await?;
        let ended = self.org.finish_job(&operation, (&job.id, Some(&held)), call).await?;
        let mut told =
            self.told(&operation, &ended, &load, call).await.map_err(Fault::and_may_have_happened)?;
        let unsaid = match ended.state.as_str() {
            // Nothing was said of the row, so nobody knows.
            "JobComplete" => {
                let message = format!("{operation}: the bulk job {} says nothing of a row", ended.id);
                Fault::transient(FaultCode::Protocol, message).and_may_have_happened()
            }
            // What was going on when somebody stopped it is in no result.
            "Aborted" => failed(&operation, &ended).and_may_have_happened(),
            _ => failed(&operation, &ended),
        };
        let described = self.org.described(object, false, call).await?;
        let (key_field, _) = self.key_field()?;
        let mut outcomes: Vec<Option<Outcome>> = deliveries.iter().map(|_| None).collect();
        for (at, delivery, key) in &load.going {
            let outcome = match told.take(key) {
                Some(item) => match saved(&operation, road, item) {
                    Outcome::Delivered { id, revision, .. } => Outcome::Delivered {
                        id,
                        revision,
                        stored: forecast(&described, shape, delivery, key_field),
                    },
                    refused => refused,
                },
                None => Outcome::Failed(unsaid.clone()),
            };
            if let Some(place) = outcomes.get_mut(*at) {
                *place = Some(outcome);
            }
        }
        Ok(Some(outcomes))
    }

    /// Writes the rows down; `None` where there are too many bytes of them, or fields that CSV would not keep.
    async fn load<'d>(
        &self,
        road: Road,
        shape: &Arc<Schema>,
        deliveries: &[&'d Delivery],
        call: &Call,
    ) -> Result<Option<Load<'d>>, Fault> {
        let (key_field, external_field) = self.key_field()?;
        let object = &self.stream.stream;
        let described = self.org.described(object, false, call).await?;
        let names = super::destination::spellings(&described, shape, object)?;
        let external = described.spelling(external_field).ok_or_else(|| no_field(object, external_field))?;
        let column = match road {
            Road::Upsert => external.clone(),
            Road::Update | Road::Delete => "Id".to_owned(),
        };
        let of_key = |name: &str| super::destination::is_of_key(road, name, &external, key_field);
        if road == Road::Upsert {
            check_upsert(&described, object, &external)?;
        }
        check_fields(&described, object, &names, deliveries, of_key)?;
        // Columns that some row sets.
        let set: Vec<usize> = (0..names.len())
            .filter(|place| {
                names.get(*place).is_some_and(|name| !of_key(name))
                    && deliveries.iter().any(|delivery| {
                        values(delivery)
                            .and_then(|values| values.get(*place))
                            .is_some_and(|value| !value.is_missing())
                    })
            })
            .collect();
        let kind = |name: &str| described.field(name).map(|field| field.kind);
        let (mut rows, mut going) =
            (Vec::with_capacity(deliveries.len()), Vec::with_capacity(deliveries.len()));
        let mut seen = std::collections::HashSet::new();
        for (at, delivery) in deliveries.iter().enumerate() {
            let key = match road {
                Road::Upsert => self.key_cell(shape, delivery, kind(&external)),
                Road::Update | Road::Delete => delivery.id.as_ref().map(|id| id.to_string()),
            };
            let Some(key) = key.filter(|key| !key.is_empty() && seen.insert(key.clone())) else { continue };
            let cell = |place: &usize| {
                let value = values(delivery).and_then(|values| values.get(*place)).unwrap_or(&Value::Absent);
                wire::cell(names.get(*place).and_then(|name| kind(name)), value)
            };
            let Some(cells) = set.iter().map(cell).collect::<Option<Vec<String>>>() else { continue };
            rows.push(std::iter::once(key.clone()).chain(cells).collect());
            going.push((at, *delivery, key));
        }
        let mut heads = vec![column.clone()];
        heads.extend(set.iter().filter_map(|place| names.get(*place).cloned()));
        let csv = wire::write_csv(&heads, &rows).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let csv = csv.filter(|csv| csv.len() <= UPLOAD_MAX && going.len() >= BULK_FROM / 2);
        Ok(csv.map(|csv| Load { column, csv, going }))
    }

    /// Returns what stands for a record in the column of the external id.
    fn key_cell(&self, shape: &Schema, delivery: &Delivery, kind: Option<wire::Kind>) -> Option<String> {
        let (key_field, _) = self.key_field().ok()?;
        let value = super::destination::given_key(shape, key_field, delivery)
            .or_else(|| Some(Value::text(super::destination::key_text(&delivery.key).ok()?)))?;
        wire::cell(kind, &value)
    }

    /// Asks what became of the rows: as few calls as the job's own figures allow.
    async fn told(
        &self,
        operation: &str,
        job: &JobInfo,
        load: &Load<'_>,
        call: &Call,
    ) -> Result<Told, Fault> {
        let mut told = Told::default();
        for (kind, is_wanted) in [
            ("successfulResults", job.number_records_processed > job.number_records_failed),
            ("failedResults", job.number_records_failed > 0),
        ] {
            if !is_wanted {
                continue;
            }
            let path = format!("jobs/ingest/{}/{kind}", job.id);
            let ask = Ask { is_csv: true, ..Ask::get(operation, &path) };
            let reply = self.org.ask_again(ask, call).await?.ok_or_else(|| gone(operation, &job.id))?;
            told.learn(&reply.body, &load.column)
                .map_err(|error| unreadable(operation, &error.to_string()))?;
        }
        Ok(told)
    }
}

fn values(delivery: &Delivery) -> Option<&Vec<Value>> {
    match &delivery.write {
        Write::Create(values) | Write::Update(values) => Some(values),
        Write::Delete => None,
    }
}
