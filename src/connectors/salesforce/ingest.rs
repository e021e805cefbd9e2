//! The bulk road of the writing end: a backlog goes in by bulk jobs instead of a call for every 200 records.
//!
//! Rows are known again by their own column, the external id or the Id, in whatever order the service tells of
//! them. A job is an upsert by external id, an update by Id or a delete by Id, as single saves are: to send one
//! twice changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use super::destination::{Road, SalesforceDestination, key_text, of_one, saved};
use super::forecast::forecast;
use super::jobs::{Work, failed, gone};
use super::org::{Ask, no_field, unreadable};
use super::rights::{check_fields, check_upsert};
use super::wire::{self, Described, JobInfo, Kind, Told};
use crate::connectors::{Call, Delivery, Outcome, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Schema, Value};

/// Fewer records are cheaper by collections: a bulk job takes about eight calls.
pub const BULK_FROM: usize = 2_000;
/// The service works in batches of so many rows.
pub const BULK_MAX: usize = 10_000;
/// Bytes of an upload: what goes beyond takes another job. They stand in memory, and once more in the results,
/// which repeat what was sent.
const UPLOAD_MAX: usize = 8 * 1024 * 1024;
/// Rows that make a bulk job of their own worth it. What is so long that fewer fill an upload goes by collections.
const ROWS_MIN: usize = BULK_FROM / 2;

/// What the rows of all jobs of a batch have in common.
struct Heads {
    described: Arc<Described>,
    /// The column by which rows are known again, the external id or the Id.
    column: String,
    /// Places in the shape of the other columns, which some row sets, with their names and kinds.
    set: Vec<(usize, String, Option<Kind>)>,
}

/// Rows that go into one job.
struct Load<'d> {
    csv: String,
    /// Each delivery with its place and with what stands in its column.
    going: Vec<(usize, &'d Delivery, String)>,
    /// Where the next job begins.
    until: usize,
}

impl SalesforceDestination {
    /// Writes deliveries of one road by as many jobs as it takes; `None` stands for those that have to go another
    /// way.
    pub(super) async fn ingest(
        &self,
        road: Road,
        shape: &Arc<Schema>,
        deliveries: &[&Delivery],
        call: &Call,
    ) -> Result<Vec<Option<Outcome>>, Fault> {
        let heads = self.heads(road, shape, deliveries, call).await?;
        let mut outcomes: Vec<Option<Outcome>> = deliveries.iter().map(|_| None).collect();
        let (mut seen, mut from) = (HashSet::new(), 0);
        while from < deliveries.len() {
            let load = self.load(&heads, road, shape, (deliveries, from), &mut seen)?;
            let (earlier, rest) = (from, outcomes.get_mut(load.until..));
            from = load.until;
            if load.going.len() < ROWS_MIN {
                continue;
            }
            let told = match self.by_job(&heads, road, shape, &load, call).await {
                Ok(told) => told,
                Err(fault) if earlier == 0 => return Err(fault),
                // What the earlier jobs have answered must not be lost, and nothing goes past this one.
                Err(fault) => {
                    let fault = of_one(fault);
                    let untried = Fault { may_have_happened: false, ..fault.clone() };
                    rest.into_iter().flatten().for_each(|it| *it = Some(Outcome::Failed(untried.clone())));
                    from = deliveries.len();
                    load.going.iter().map(|_| Outcome::Failed(fault.clone())).collect()
                }
            };
            for ((at, ..), outcome) in load.going.iter().zip(told) {
                if let Some(place) = outcomes.get_mut(*at) {
                    *place = Some(outcome);
                }
            }
        }
        Ok(outcomes)
    }

    /// Writes rows by one job; gives an outcome each, in order.
    async fn by_job(
        &self,
        heads: &Heads,
        road: Road,
        shape: &Arc<Schema>,
        load: &Load<'_>,
        call: &Call,
    ) -> Result<Vec<Outcome>, Fault> {
        let object = &self.stream.stream;
        let operation = format!("load {object}");
        let external = (road == Road::Upsert).then_some(heads.column.as_str());
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
        let told = self.told(&operation, &ended, &heads.column, call).await;
        let mut told = told.map_err(Fault::and_may_have_happened)?;
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
        let (key_field, _) = self.key_field()?;
        let outcome = |(_, delivery, key): &(usize, &Delivery, String)| match told.take(key) {
            Some(item) => match saved(&operation, road, item) {
                Outcome::Delivered { id, revision, .. } => Outcome::Delivered {
                    id,
                    revision,
                    stored: forecast(&heads.described, shape, delivery, key_field),
                },
                refused => refused,
            },
            None => Outcome::Failed(unsaid.clone()),
        };
        Ok(load.going.iter().map(outcome).collect())
    }

    async fn heads(
        &self,
        road: Road,
        shape: &Arc<Schema>,
        deliveries: &[&Delivery],
        call: &Call,
    ) -> Result<Heads, Fault> {
        let (key_field, external_field) = self.key_field()?;
        let object = &self.stream.stream;
        let described = self.org.described(object, false, call).await?;
        let names = super::destination::spellings(&described, shape, object)?;
        let external = described.spelling(external_field).ok_or_else(|| no_field(object, external_field))?;
        let of_key = |name: &str| super::destination::is_of_key(road, name, &external, key_field);
        if road == Road::Upsert {
            check_upsert(&described, object, &external)?;
        }
        check_fields(&described, object, &names, deliveries, of_key)?;
        let sets = |place: usize| {
            let value = |delivery: &&Delivery| {
                let value = values(delivery).and_then(|values| values.get(place));
                value.is_some_and(|value| !value.is_missing())
            };
            deliveries.iter().any(value)
        };
        let kind = |name: &str| described.field(name).map(|field| field.kind);
        let set = names.iter().enumerate().filter(|(place, name)| !of_key(name) && sets(*place));
        let set = set.map(|(place, name)| (place, name.clone(), kind(name))).collect();
        let column = match road {
            Road::Upsert => external,
            Road::Update | Road::Delete => "Id".to_owned(),
        };
        Ok(Heads { described, column, set })
    }

    /// Writes rows down until an upload is full, leaving out those that CSV would not keep. `seen` holds what
    /// stood in the column of earlier ones.
    fn load<'d>(
        &self,
        heads: &Heads,
        road: Road,
        shape: &Schema,
        (deliveries, from): (&[&'d Delivery], usize),
        seen: &mut HashSet<String>,
    ) -> Result<Load<'d>, Fault> {
        let unwritten = |error: csv::Error| unreadable("write CSV", &error.to_string());
        let kind = heads.described.field(&heads.column).map(|field| field.kind);
        let names =
            std::iter::once(heads.column.as_str()).chain(heads.set.iter().map(|(_, name, _)| &**name));
        let mut csv = wire::Csv::new(names).map_err(unwritten)?;
        let mut going = Vec::new();
        let mut until = deliveries.len();
        for (at, delivery) in deliveries.iter().enumerate().skip(from) {
            let key = match road {
                Road::Upsert => self.key_cell(shape, delivery, kind),
                Road::Update | Road::Delete => delivery.id.as_ref().map(|id| id.to_string()),
            };
            let Some(key) = key.filter(|key| !key.is_empty() && !seen.contains(key)) else { continue };
            let cell = |(place, _, kind): &(usize, String, Option<Kind>)| {
                let value = values(delivery).and_then(|values| values.get(*place)).unwrap_or(&Value::Absent);
                wire::cell(*kind, value)
            };
            let Some(cells) = heads.set.iter().map(cell).collect::<Option<Vec<String>>>() else { continue };
            let row = || std::iter::once(&key).chain(&cells);
            if !going.is_empty() && csv.len() + wire::Csv::row_len(row()) > UPLOAD_MAX {
                until = at;
                break;
            }
            csv.push(row()).map_err(unwritten)?;
            seen.insert(key.clone());
            going.push((at, *delivery, key));
        }
        Ok(Load { csv: csv.into_text().map_err(unwritten)?, going, until })
    }

    /// Returns what stands for a record in the column of the external id.
    fn key_cell(&self, shape: &Schema, delivery: &Delivery, kind: Option<Kind>) -> Option<String> {
        let (key_field, _) = self.key_field().ok()?;
        let value = super::destination::given_key(shape, key_field, delivery)
            .or_else(|| Some(Value::text(super::destination::key_text(&delivery.key).ok()?)))?;
        wire::cell(kind, &value)
    }

    /// Asks what became of the rows: as few calls as the job's own figures allow.
    async fn told(&self, operation: &str, job: &JobInfo, column: &str, call: &Call) -> Result<Told, Fault> {
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
            told.learn(&reply.body, column).map_err(|error| unreadable(operation, &error.to_string()))?;
        }
        Ok(told)
    }
}

fn values(delivery: &Delivery) -> Option<&[Value]> {
    match &delivery.write {
        Write::Create(values) | Write::Update(values) => Some(values),
        Write::Delete => None,
    }
}
