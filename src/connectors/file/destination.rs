//! The writing end: one atomic replacement for a whole batch.
//!
//! Invariant: what is published was made from the very content that stands at the path at the
//! moment of the rename; where that moved meanwhile, the work starts over. Writers of one file in
//! this process take turns; against other processes the look just before the rename has to do.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::connectors::turns::Turns;
use crate::connectors::{Batch, Call, Destination, Load, Outcome, Wanted};
use crate::engine::fault::Fault;
use crate::engine::record::{Key, Meta, Record, Schema};

use super::broken::Broken;
use super::edits::Edits;
use super::load::FileLoad;
use super::reader::{Item, Reader};
use super::replace::{Sink, Temp, mark_of, sync_folder};
use super::rewrite::rewrite;
use super::settings::Target;
use super::snapshot::{Place, Snapshot};
use super::source::{Plan, interrupted, pause};

/// How often a batch is tried before a fault is told.
const TRIES_MAX: u32 = 6;

/// The writing end of one file.
pub(super) struct FileDestination {
    plan: Arc<Plan>,
    /// What is written later stands later in the file.
    turns: Turns<()>,
}

impl FileDestination {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, turns: Turns::new(Arc::default()) }
    }
}

#[async_trait]
impl Destination for FileDestination {
    async fn write(&self, batch: &Batch, _call: &Call) -> Result<Vec<Outcome>, Fault> {
        if batch.deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let (plan, batch) = (Arc::clone(&self.plan), batch.clone());
        let mut doubled = Vec::new();
        let work = move |(): &mut ()| patiently(&plan, || write_once(&plan, &batch, &mut doubled));
        self.turns.take(work).await.unwrap_or_else(|| Err(interrupted()))
    }

    async fn look_up(&self, wanted: &[Wanted], _call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let (plan, wanted) = (Arc::clone(&self.plan), wanted.to_vec());
        let work = move || patiently(&plan, || look_up_once(&plan, &wanted).map(Some));
        tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
    }

    async fn open_load(&self, shape: &Arc<Schema>) -> Result<Box<dyn Load>, Fault> {
        let (plan, shape) = (Arc::clone(&self.plan), Arc::clone(shape));
        let work = move || patiently(&plan, || FileLoad::open(&plan, &shape).map(Some));
        let load = tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())??;
        Ok(Box::new(load))
    }

    async fn holds_load(&self, mark: &str) -> Result<bool, Fault> {
        let (plan, mark) = (Arc::clone(&self.plan), mark.to_owned());
        let work = move || patiently(&plan, || is_there(&plan, &mark).map(Some));
        tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
    }
}

/// Tells whether the file is the one of this mark, for good: whoever put it there may have died before that was sure.
fn is_there(plan: &Plan, mark: &str) -> Result<bool, Broken> {
    let place = Place::find(&plan.target.path)?;
    let there = match std::fs::metadata(&place.real) {
        Ok(meta) => mark_of(&meta),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Broken::Read(error)),
    };
    let is_there = there.as_deref() == Some(mark);
    if is_there {
        sync_folder(&place.real).map_err(Broken::Write)?;
    }
    Ok(is_there)
}

/// Tries until it is done, while what is wrong may pass; `None` asks for another try at once.
pub(super) fn patiently<T>(
    plan: &Plan,
    mut once: impl FnMut() -> Result<Option<T>, Broken>,
) -> Result<T, Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        match once() {
            Ok(Some(done)) => return Ok(done),
            Ok(None) if tries < TRIES_MAX => {}
            Ok(None) => return Err(Broken::Changed.into_fault(&plan.target.path)),
            Err(broken) if broken.passes() && tries < TRIES_MAX => pause(tries - 1),
            Err(broken) => return Err(broken.into_fault(&plan.target.path)),
        }
    }
}

/// Writes the batch, or finds out that some of its keys are in the file more than once.
fn write_once(plan: &Plan, batch: &Batch, doubled: &mut Vec<usize>) -> Result<Option<Vec<Outcome>>, Broken> {
    let Target { format, delimiter, .. } = plan.target;
    let place = Place::find(&plan.target.path)?;
    let _turn = place.shared.writer();
    let old = Snapshot::open(&plan.target, &place)?;
    let mut temp = Temp::create(&place.real, old.as_ref().map(|old| &old.meta))?;
    let mut edits = Edits::new(batch, format, doubled);
    let added = edits.filled();
    let input = old.as_ref().map(Snapshot::reader).transpose()?;
    let mut appender = rewrite(input, (format, delimiter), &plan.key, &added, &mut edits, &mut temp)?;
    let found = edits.doubled();
    if !found.is_empty() {
        doubled.extend(found);
        return Ok(None);
    }
    let mut spilled = Ok(());
    edits.additions(|values| {
        appender.push(values, &mut temp);
        if spilled.is_ok() {
            spilled = temp.spill();
        }
        appender.outcome(&batch.shape, values)
    });
    spilled?;
    if edits.changed() {
        appender.close(&mut temp);
        plan.replace(&place, old.as_ref(), temp, !appender.is_wider())?;
        place.shared.tell(&plan.key, edits.touches());
    }
    Ok(Some(edits.finish()))
}

fn look_up_once(plan: &Plan, wanted: &[Wanted]) -> Result<Vec<Option<Record>>, Broken> {
    let place = Place::find(&plan.target.path)?;
    let Some(snapshot) = Snapshot::open(&plan.target, &place)? else { return Ok(vec![None; wanted.len()]) };
    let Target { format, delimiter, .. } = plan.target;
    let mut found: HashMap<&Key, Option<Record>> = wanted.iter().map(|wanted| (&wanted.key, None)).collect();
    let mut reader = Reader::open(snapshot.reader()?, format, delimiter, &plan.key, None)?;
    let meta = Meta { modified_at: Some(snapshot.stamp.modified_at()), ..Meta::default() };
    while let Some(item) = reader.next()? {
        let Item::Record { schema, values } = item else { continue };
        let record = Record { schema, values: values.into(), meta: meta.clone() };
        let Ok(key) = Key::from_values(plan.key.iter().map(|name| record.get(name))) else { continue };
        if let Some(place) = found.get_mut(&key).filter(|place| place.is_none()) {
            *place = Some(record);
        }
    }
    reader.check_header()?;
    snapshot.verify_in_hand()?;
    Ok(wanted.iter().map(|wanted| found.get(&wanted.key).cloned().flatten()).collect())
}
