//! The writing end.
//!
//! Invariant: what is compared and what is written is one transaction, begun for writing: nobody
//! else can move the row in between.

mod apply;
mod find;
mod refusal;
mod target;

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::db::{Db, Location, cut_off, pragma};
use super::options::{Options, Stream};
use super::source::Projection;
use super::twin::{Stand, Stands, Twin};
use super::wire;
use crate::connectors::turns::Turns;
use crate::connectors::{Batch, Call, Delivery, Destination, Outcome, StreamSpec, Wanted, Write};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Record, Schema};
use apply::Writer;
use find::{Finder, Found};
use target::Target;

pub(super) struct SqliteDestination {
    core: Turns<Core>,
}

struct Core {
    db: Db,
    spec: StreamSpec,
    options: Options,
    prepared: Option<Prepared>,
    /// Writes that may have moved more than they told.
    doubts: u64,
}

/// What was learnt of the stream, as long as neither file nor schema change.
struct Prepared {
    generation: u64,
    schema: i64,
    stream: Arc<Stream>,
    /// What look-ups show: the same as the reading end.
    projection: Arc<Projection>,
    /// The last batch's shape; batches of one link share it.
    target: Option<Arc<Target>>,
}

impl SqliteDestination {
    pub fn new(location: Location, spec: StreamSpec, options: Options, twin: &Twin) -> Self {
        let core = Core { db: Db::new(location), spec, options, prepared: None, doubts: 0 };
        let core = Arc::new(Mutex::new(core));
        let writer: Weak<Mutex<Core>> = Arc::downgrade(&core);
        twin.meet(writer);
        Self { core: Turns::new(core) }
    }
}

#[async_trait]
impl Destination for SqliteDestination {
    async fn write(&self, batch: &Batch, _call: &Call) -> Result<Vec<Outcome>, Fault> {
        let batch = batch.clone();
        self.core.take(move |core| core.write(&batch)).await.unwrap_or_else(|| Err(cut_off()))
    }

    async fn look_up(&self, wanted: &[Wanted], _call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let wanted = wanted.to_vec();
        self.core.take(move |core| core.look_up(&wanted)).await.unwrap_or_else(|| Err(cut_off()))
    }
}

impl Core {
    fn prepare(&mut self) -> Result<&mut Prepared, Fault> {
        let (conn, generation) = self.db.get()?;
        let schema = pragma(conn, "schema_version")
            .map_err(|error| wire::classify(&format!("looking at {}", self.spec.stream), &error))?;
        let stands = self
            .prepared
            .as_ref()
            .is_some_and(|known| known.generation == generation && known.schema == schema);
        if !stands {
            let stream = Stream::load(conn, &self.spec, &self.options)?;
            let projection = Projection::of_stream(&stream, &self.spec)?;
            self.prepared = Some(Prepared {
                generation,
                schema,
                stream: Arc::new(stream),
                projection: Arc::new(projection),
                target: None,
            });
        }
        self.prepared.as_mut().ok_or_else(|| Fault::transient(FaultCode::Storage, "the stream went away"))
    }

    fn target(&mut self, shape: &Arc<Schema>) -> Result<(Arc<Stream>, Arc<Target>), Fault> {
        let key = self.spec.key.clone();
        let prepared = self.prepare()?;
        let stream = Arc::clone(&prepared.stream);
        if let Some(target) = prepared.target.as_ref().filter(|target| target.shape() == shape) {
            return Ok((stream, Arc::clone(target)));
        }
        let (conn, _) = self.db.get()?;
        let target = Arc::new(Target::new(conn, &stream, shape, &key)?);
        self.prepare()?.target = Some(Arc::clone(&target));
        Ok((stream, target))
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>, Fault> {
        // Until it is known that all went as it is told.
        self.doubts += 1;
        let (stream, target) = self.target(&batch.shape)?;
        let outcomes = self.write_all(batch, &stream, &target)?;
        let creates = || batch.deliveries.iter().all(|delivery| matches!(delivery.write, Write::Create(_)));
        let is_certain = !outcomes.iter().any(Outcome::may_have_happened);
        if is_certain && !target.reaches.triggers && (!target.reaches.cascades || creates()) {
            self.doubts -= 1;
        }
        Ok(outcomes)
    }

    fn write_all(&mut self, batch: &Batch, stream: &Stream, target: &Target) -> Result<Vec<Outcome>, Fault> {
        let (conn, _) = self.db.get()?;
        match together(conn, stream, target, &batch.deliveries) {
            Ok(outcomes) => Ok(outcomes),
            Err(Setback::Whole(fault)) => Err(fault),
            Err(Setback::Single) => {
                Ok(batch.deliveries.iter().map(|delivery| alone(conn, stream, target, delivery)).collect())
            }
        }
    }

    fn look_up(&mut self, wanted: &[Wanted]) -> Result<Vec<Option<Record>>, Fault> {
        let prepared = self.prepare()?;
        let (stream, projection) = (Arc::clone(&prepared.stream), Arc::clone(&prepared.projection));
        let (conn, _) = self.db.get()?;
        let doing = format!("looking up in {}", stream.table.name);
        let found = || -> rusqlite::Result<Vec<Option<Found>>> {
            // One picture for all keys.
            let transaction = conn.unchecked_transaction()?;
            let mut finder = Finder::new(&transaction, &stream, &projection)?;
            let keys: Vec<_> = wanted.iter().map(|wanted| &wanted.key).collect();
            finder.expect(&keys)?;
            let found = keys.iter().map(|key| Ok(finder.find(key)?.into_iter().next())).collect();
            drop(finder);
            transaction.finish()?;
            found
        };
        let found = found().map_err(|error| wire::classify(&doing, &error))?;
        found
            .into_iter()
            .map(|found| match found {
                None => Ok(None),
                Some(found) if found.deleted => Ok(None),
                Some(found) => found
                    .record
                    .map(Some)
                    .map_err(|reason| Fault::rejected(FaultCode::Validation, format!("{doing}: {reason}"))),
            })
            .collect()
    }
}

impl Stands for Core {
    fn stand(&mut self) -> Option<Stand> {
        let doubts = self.doubts;
        let (conn, generation) = self.db.get().ok()?;
        let version = pragma(conn, "data_version").ok()?;
        Some(Stand { generation, version, doubts })
    }
}

/// Why a batch did not go through as one transaction.
enum Setback {
    /// Nothing was written, and the same would happen to each record.
    Whole(Fault),
    /// Some record takes the transaction down with it: nothing was written, try each by itself.
    Single,
}

/// Writes all in one transaction. A refused statement undoes itself and leaves its neighbours alone.
fn together(
    conn: &mut Connection,
    stream: &Stream,
    target: &Target,
    deliveries: &[Delivery],
) -> Result<Vec<Outcome>, Setback> {
    let doing = format!("writing to {}", stream.table.name);
    let whole = |error: rusqlite::Error| Setback::Whole(wire::classify(&doing, &error));
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(whole)?;
    let mut outcomes = Vec::with_capacity(deliveries.len());
    {
        let mut writer = Writer::new(&transaction, stream, target).map_err(whole)?;
        let keys: Vec<_> = deliveries.iter().map(|delivery| &delivery.key).collect();
        writer.expect(&keys).map_err(whole)?;
        for delivery in deliveries {
            match writer.apply(delivery) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) if !is_of_record(&error) => return Err(whole(error)),
                // A trigger or a constraint rolled everything back.
                Err(_) if transaction.is_autocommit() && deliveries.len() > 1 => return Err(Setback::Single),
                Err(error) => {
                    outcomes.push(Outcome::Failed(wire::classify(&doing, &error)));
                    if transaction.is_autocommit() {
                        return Ok(outcomes);
                    }
                }
            }
        }
    }
    match transaction.commit() {
        Ok(()) => Ok(outcomes),
        // A deferred foreign key: it shows only now, and not whose it is.
        Err(error) if is_of_record(&error) && deliveries.len() > 1 => Err(Setback::Single),
        Err(error) if is_of_record(&error) => Ok(vec![Outcome::Failed(wire::classify(&doing, &error))]),
        Err(error) => Err(Setback::Whole(wire::classify(&doing, &error).and_may_have_happened())),
    }
}

/// Writes one record in a transaction of its own.
fn alone(conn: &mut Connection, stream: &Stream, target: &Target, delivery: &Delivery) -> Outcome {
    let outcome = together(conn, stream, target, std::slice::from_ref(delivery));
    let failed =
        || Fault::transient(FaultCode::Storage, format!("writing to {} was cut off", stream.table.name));
    match outcome {
        Ok(mut outcomes) => outcomes.pop().unwrap_or_else(|| Outcome::Failed(failed())),
        Err(Setback::Whole(fault)) => Outcome::Failed(fault),
        Err(Setback::Single) => Outcome::Failed(failed()),
    }
}

/// Tells whether an error speaks of the record rather than of the database.
fn is_of_record(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    )
}
