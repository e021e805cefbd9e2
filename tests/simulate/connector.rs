//! The simulated systems as connectors: every call takes its time, passes the gate and may go wrong.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use record_sync::connectors::{
    Batch, Call, Class, Connector, Deletes, Delivery, Destination, End, Features, Gate, Listing, Load, Open,
    Outcome, Page, Report, SettingsError, Source, StreamInfo, StreamSpec, System, Wanted, Write,
};
use record_sync::engine::fault::{Fault, FaultCode};
use record_sync::engine::record::{Change, Cursor, Record, Schema, Side, Timestamp, Tombstone};

use crate::layout::Wants;
use crate::leases;
use crate::meddle;
use crate::reading;
use crate::setup::{KEYS, Nature};
use crate::steps::Trouble;
use crate::system::key_in;
use crate::world::{State, World, is_poison};

pub static CONNECTORS: &[&Connector] = &[&LOCAL, &REMOTE];

static LOCAL: Connector = connector("sim-local", false);
static REMOTE: Connector = connector("sim-remote", true);

const fn connector(name: &'static str, remote: bool) -> Connector {
    Connector {
        name,
        about: "a system of the simulation",
        remote,
        settings_schema: || {
            serde_json::json!({ "type": "object", "properties": { "side": { "type": "string" } },
                "additionalProperties": false })
        },
        stream_options: &[],
        check_settings: |_| Ok::<(), SettingsError>(()),
        open,
        mock: None,
    }
}

thread_local! {
    /// The world of the history that this thread plays.
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// Plays this world on this thread from now on.
pub fn enter(world: Option<Arc<World>>) {
    WORLD.with(|place| *place.borrow_mut() = world);
}

fn open(open: Open) -> Result<Arc<dyn System>, Fault> {
    let world = WORLD.with(|place| place.borrow().clone()).expect("a history is being played");
    let side = if open.settings["side"] == "a" { Side::A } else { Side::B };
    let nature = world.lock().system(side).nature;
    Ok(Arc::new(Simulated { line: Line { world, side, nature, gate: open.gate, wants: Wants::default() } }))
}

struct Simulated {
    line: Line,
}

/// The way to one system.
#[derive(Clone)]
struct Line {
    world: Arc<World>,
    side: Side,
    nature: Nature,
    gate: Arc<dyn Gate>,
    /// What its calls name.
    wants: Wants,
}

/// What goes on between us and a system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    /// A read that may claim to be whole.
    Scan,
    Write,
    Look,
}

/// How long nobody answers until a call is given up.
const TIME_OUT: Duration = Duration::from_secs(8);

/// A request that left us; should we die before it is known to have come in, it may come in all the same.
struct Sent<'l, T, F: FnOnce(&mut State, Option<Trouble>) -> T> {
    line: &'l Line,
    act: Option<F>,
    ticket: Option<u64>,
    number: u64,
    epoch: Option<u64>,
    at: i64,
}

impl<T, F: FnOnce(&mut State, Option<Trouble>) -> T> Drop for Sent<'_, T, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.line.gate.leave(ticket, Report { dropped: true, ..Report::default() });
        }
        let mut state = self.line.world.lock();
        state.answered(self.line.side, self.epoch.take(), None);
        let lands = state.lands(self.number);
        if let Some(act) = self.act.take().filter(|_| lands) {
            state.note(|| "    (a call that was on its way comes in)".to_owned());
            if self.line.nature.remote && !state.losses.stood_still_since(self.at) {
                self.line.arrive(&mut state);
            }
            if state.system(self.line.side).layout.answers(self.line.wants).is_ok() {
                act(&mut state, None);
            }
        }
    }
}

impl Line {
    /// The way to one stream.
    fn to(&self, stream: &StreamSpec) -> Self {
        Self { wants: Wants::of(stream), ..self.clone() }
    }

    /// Sends one request; `act` is what it does where it comes in.
    async fn call<T, F>(&self, kind: Kind, class: Class, act: F) -> Result<T, Fault>
    where
        F: FnOnce(&mut State, Option<Trouble>) -> T + Send,
        T: Send,
    {
        self.world.pass().await;
        let ticket = if self.nature.remote { Some(self.gate.enter(class).await?) } else { None };
        let (number, epoch, sent_at) = {
            let mut state = self.world.lock();
            (state.sends(), ticket.and_then(|_| state.leaves(self.side)), state.now())
        };
        let mut sent = Sent { line: self, act: Some(act), ticket, number, epoch, at: sent_at };
        self.travel().await;
        let (result, trouble) = {
            let mut state = self.world.lock();
            let trouble = self.trouble(&mut state, kind);
            state.figures.calls += 1;
            state.lands(number);
            // What was on its way while the process stood still came in meanwhile.
            if self.nature.remote && !state.losses.stood_still_since(sent_at) {
                self.arrive(&mut state);
            }
            let refused = matches!(
                trouble,
                Some(
                    Trouble::Throttled | Trouble::Unavailable | Trouble::Unauthorised | Trouble::LostRequest
                )
            );
            let act = sent.act.take().filter(|_| !refused);
            let answers = state.system(self.side).layout.answers(self.wants);
            (act.map(|act| answers.map(|()| act(&mut state, trouble))).transpose(), trouble)
        };
        let lost = matches!(trouble, Some(Trouble::LostReply | Trouble::LostRequest));
        if lost {
            tokio::time::sleep(if self.nature.remote { TIME_OUT } else { Duration::from_millis(5) }).await;
        } else {
            self.travel().await;
        }
        self.world.pass().await;
        let fault = trouble.and_then(fault);
        if let Some(ticket) = sent.ticket.take() {
            let failed = lost || trouble == Some(Trouble::Unavailable);
            let retry_after = (trouble == Some(Trouble::Throttled)).then_some(Duration::from_secs(2));
            self.gate.leave(ticket, Report { failed, retry_after, ..Report::default() });
            self.world.lock().answered(self.side, sent.epoch.take(), Some(failed));
        }
        match (fault, result?) {
            (Some(fault), _) => Err(fault),
            (None, Some(result)) => Ok(result),
            (None, None) => Err(Fault::transient(FaultCode::Connect, "the simulation answered nothing")),
        }
    }

    fn arrive(&self, state: &mut State) {
        let now = state.now();
        if !state.system(self.side).arrive(now) {
            let nature = &self.nature;
            let text = format!(
                "{} got more than {} calls in {} s",
                self.side.as_str(),
                nature.max_requests,
                nature.window_s
            );
            state.violated("window", text);
        }
    }

    async fn travel(&self) {
        let (low, high) = self.nature.latency_ms;
        let wait = self.world.lock().chance.between(low, high);
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        self.world.pass().await;
    }

    /// Draws the trouble that a call meets, if any.
    fn trouble(&self, state: &mut State, kind: Kind) -> Option<Trouble> {
        let troubles = state.system(self.side).troubles.clone();
        for (trouble, share) in troubles {
            let fits = match trouble {
                Trouble::Partial => kind == Kind::Write,
                Trouble::ShortRead => kind == Kind::Scan && self.nature.remote,
                Trouble::Twice => kind == Kind::Read,
                _ => true,
            };
            if fits && state.chance.percent(u64::from(share)) {
                state.figures.faults += 1;
                state.note(|| format!("    {} meets {trouble:?}", self.side.as_str()));
                return Some(trouble);
            }
        }
        None
    }
}

fn fault(trouble: Trouble) -> Option<Fault> {
    match trouble {
        Trouble::Throttled => Some(Fault::throttled(Some(Duration::from_secs(2)), "429")),
        Trouble::Unavailable => Some(Fault::transient(FaultCode::Unavailable, "503")),
        Trouble::Unauthorised => Some(Fault::fatal(FaultCode::Auth, "401", "renew the secret")),
        Trouble::LostReply | Trouble::LostRequest => {
            Some(Fault::transient(FaultCode::Timeout, "nobody answered").and_may_have_happened())
        }
        Trouble::Partial | Trouble::ShortRead | Trouble::Twice => None,
    }
}

#[async_trait]
impl System for Simulated {
    fn features(&self, _stream: &StreamSpec) -> Features {
        self.line.nature.features()
    }

    async fn describe(&self, _stream: &StreamSpec, call: &Call) -> Result<StreamInfo, Fault> {
        let line = &self.line;
        let fields = |state: &mut State, _: Option<Trouble>| -> Vec<String> {
            state.system(line.side).layout.schema.names().map(str::to_owned).collect()
        };
        Ok(StreamInfo {
            fields: line.call(Kind::Look, call.class, fields).await?,
            open: false,
            ..StreamInfo::default()
        })
    }

    fn source(&self, stream: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        Ok(Box::new(SimSource { line: self.line.to(stream), seen: None, before: None }))
    }

    fn destination(&self, stream: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        Ok(Arc::new(SimDestination { line: self.line.to(stream) }))
    }
}

struct SimSource {
    line: Line,
    /// The change count of the system when the last pass began.
    seen: Option<u64>,
    /// Where the last page was read from, and to.
    before: Option<[Option<Cursor>; 2]>,
}

#[async_trait]
impl Source for SimSource {
    async fn read(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let line = self.line.clone();
        let limit = limit.min(line.nature.page_max);
        let kind = if line.nature.deletes == Deletes::Scanned { Kind::Scan } else { Kind::Read };
        if after.is_none() || kind == Kind::Read {
            self.seen = Some(line.world.lock().system(line.side).seq);
        }
        // Only who goes on where the last page ended may be shown that page again.
        let again = self.before.take().filter(|[_, to]| to.as_ref() == after).and_then(|[from, _]| from);
        let page = line.call(kind, call.class, |state, trouble| {
            let twice = trouble == Some(Trouble::Twice) && again.is_some();
            let from = if twice { again.as_ref() } else { after };
            let short = trouble == Some(Trouble::ShortRead);
            let mut page = reading::page(state, line.side, from, limit, short);
            if twice && page.end != End::Complete {
                page.end = End::More;
            }
            page
        });
        let read = page.await;
        match &read {
            Ok(page) => self.before = Some([after.cloned(), page.cursor.clone()]),
            Err(_) => self.seen = None,
        }
        read
    }

    async fn list(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Listing, Fault> {
        let line = self.line.clone();
        let limit = limit.min(line.nature.list_max);
        let listed = line.call(Kind::Scan, call.class, |state, trouble| {
            reading::listing(state, line.side, after, limit, trouble == Some(Trouble::ShortRead))
        });
        listed.await
    }

    async fn audit(&mut self, after: Option<&Cursor>, limit: usize, call: &Call) -> Result<Page, Fault> {
        let line = self.line.clone();
        let limit = limit.min(line.nature.page_max);
        let audited = line.call(Kind::Scan, call.class, |state, trouble| {
            reading::audit(state, line.side, after, limit, trouble == Some(Trouble::ShortRead))
        });
        audited.await
    }

    fn audits(&self) -> bool {
        self.line.nature.deletes != Deletes::Scanned
    }

    fn may_have_changed(&mut self) -> bool {
        let mut state = self.line.world.lock();
        let seq = state.system(self.line.side).seq;
        self.line.nature.remote || self.seen != Some(seq)
    }
}

struct SimDestination {
    line: Line,
}

#[async_trait]
impl Destination for SimDestination {
    async fn write(&self, batch: &Batch, call: &Call) -> Result<Vec<Outcome>, Fault> {
        let line = &self.line;
        assert!(batch.deliveries.len() <= line.nature.call_max(), "a batch is too long");
        // A page delivers to a local system without a job.
        if line.nature.remote {
            leases::look(&line.world, line.side, &batch.deliveries, call.class).await;
        }
        let chokes = line.nature.chokes && batch.deliveries.iter().any(carries_poison);
        let act = |state: &mut State, trouble: Option<Trouble>| {
            if chokes {
                state.note(|| format!("    {} chokes on a call", line.side.as_str()));
                return Err(Fault::rejected(FaultCode::Validation, "something in this call is no good"));
            }
            let mut outcomes = Vec::with_capacity(batch.deliveries.len());
            for delivery in &batch.deliveries {
                if trouble == Some(Trouble::Partial) && state.chance.flip() {
                    let fault = Fault::transient(FaultCode::Unavailable, "not this one");
                    outcomes.push(Outcome::Failed(fault));
                    continue;
                }
                outcomes.push(state.deliver(line.side, &batch.shape, delivery, &call.correlation_id));
                if trouble == Some(Trouble::LostReply)
                    && let Some(key) = key_in(&delivery.key)
                {
                    state.doubt_last(line.side, key);
                    state.pushes.doubt_last(line.side, key);
                }
            }
            Ok(outcomes)
        };
        let outcomes = line.call(Kind::Write, call.class, act).await?;
        meddle::meddle(&line.world, line.side, &batch.deliveries).await;
        outcomes
    }

    async fn look_up(&self, wanted: &[Wanted], call: &Call) -> Result<Vec<Option<Record>>, Fault> {
        let line = &self.line;
        let is_poller = matches!(call.class, Class::Backfill);
        let refusal = refusal(&line.nature, wanted);
        let act = |state: &mut State, _: Option<Trouble>| {
            if let Some(fault) = refusal {
                state.note(|| format!("    {} does not take this look-up: {fault}", line.side.as_str()));
                return Err(fault);
            }
            let now = state.now();
            let found = wanted
                .iter()
                .map(|wanted| {
                    let key = key_in(&wanted.key)?;
                    if state.system(line.side).by_key(key).is_none() {
                        state.found_gone(line.side, key);
                    }
                    let system = state.system(line.side);
                    // Only the look before a write says what that write could know: the pollers' do not.
                    if !is_poller {
                        system.looked.insert(key, now);
                    }
                    let by_id = wanted.id.as_ref().and_then(|id| id.parse().ok());
                    let row =
                        by_id.and_then(|id: u64| system.rows.get(&id)).or_else(|| system.by_key(key))?;
                    Some(system.record(row))
                })
                .collect();
            Ok(found)
        };
        line.call(Kind::Look, call.class, act).await?
    }

    async fn open_load(&self, shape: &Arc<Schema>) -> Result<Box<dyn Load>, Fault> {
        let line = &self.line;
        let act = |state: &mut State, _: Option<Trouble>| (state.begin_filling(line.side), state.sent);
        let (seq, number) = line.call(Kind::Look, Class::Live, act).await?;
        let (line, shape) = (line.clone(), Arc::clone(shape));
        Ok(Box::new(SimLoad { line, shape, staged: Vec::new(), seq, mark: number.to_string() }))
    }

    async fn holds_load(&self, mark: &str) -> Result<bool, Fault> {
        let line = &self.line;
        let act = |state: &mut State, _: Option<Trouble>| {
            state.system(line.side).loaded.as_deref().is_some_and(|loaded| loaded == mark)
        };
        line.call(Kind::Look, Class::Live, act).await
    }
}

/// The filling of an empty system.
struct SimLoad {
    line: Line,
    shape: Arc<Schema>,
    staged: Vec<Delivery>,
    /// The change count of the system when it began.
    seq: u64,
    mark: String,
}

#[async_trait]
impl Load for SimLoad {
    fn mark(&self) -> Option<String> {
        Some(self.mark.clone())
    }

    async fn stage(&mut self, deliveries: &[Delivery]) -> Result<Vec<Outcome>, Fault> {
        self.staged.extend_from_slice(deliveries);
        let through = || Outcome::Delivered { id: None, revision: None, stored: None };
        Ok(deliveries.iter().map(|_| through()).collect())
    }

    async fn finish(self: Box<Self>) -> Result<(), Fault> {
        let Self { line, shape, staged, seq, mark } = &*self;
        let act = |state: &mut State, _: Option<Trouble>| {
            if state.system(line.side).seq != *seq {
                return Err(Fault::transient(FaultCode::Conflict, "somebody wrote there meanwhile"));
            }
            match state.fill_at_once(line.side, shape, staged, mark) {
                true => Ok(()),
                false => Err(Fault::transient(FaultCode::Storage, "nobody says what became of it")
                    .and_may_have_happened()),
            }
        };
        line.call(Kind::Write, Class::Live, act).await?
    }
}

/// Some systems don't take every look-up of several records: two of their keys only by themselves.
fn refusal(nature: &Nature, wanted: &[Wanted]) -> Option<Fault> {
    let names = |key: u8| wanted.iter().any(|wanted| key_in(&wanted.key) == Some(key));
    match nature.chokes && wanted.len() > 1 {
        true if names(KEYS / 2) => Some(Fault::rejected(FaultCode::Validation, "no such question")),
        true if names(KEYS / 3) => Some(Fault::transient(FaultCode::Protocol, "too long a question")),
        _ => None,
    }
}

fn carries_poison(delivery: &Delivery) -> bool {
    match &delivery.write {
        Write::Create(values) | Write::Update(values) => values.iter().any(is_poison),
        Write::Delete => false,
    }
}

/// A tombstone as a system reports it.
pub fn tombstone(nature: &Nature, grave: &crate::system::Grave) -> Change {
    let id = Some(grave.id.to_string().into());
    let key = (!nature.graves_by_id).then(|| crate::system::key_of(grave.key));
    Change::Delete(Tombstone { key, id, at: Some(Timestamp(grave.at)) })
}
