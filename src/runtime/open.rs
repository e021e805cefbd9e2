//! Opens a link and keeps it at work until it is stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::book::{BookError, RuleBook};
use super::contact;
use super::fuse;
use super::link::{End, LinkContext, LinkParts, Phase, Tuning, along_mut, at, lock};
use super::meter;
use super::page::storage;
use super::poller::Poller;
use super::presence;
use super::supervisor::{LinkKey, OpenedSystem, Running, Runtime};
use super::vault::StoredVault;
use super::worker;
use crate::config::{Customer, EndConfig, LinkConfig};
use crate::connectors::{self, Bounds, Call, Class, Open, StreamInfo, StreamSpec, System};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::job::RetryPolicy;
use crate::engine::record::{Direction, Side};
use crate::engine::rules::{self, EndFacts, Flow, LinkFacts, LinkRules};
use crate::store::{LinkState, Sums};

const BLOCKED_DELAY: Duration = Duration::from_secs(1);
const BLOCKED_DELAY_MAX: Duration = Duration::from_secs(30);

/// Keeps a link open until it is stopped; what blocks it is said in its view and tried again.
pub async fn keep(runtime: Arc<Runtime>, key: LinkKey, running: Arc<Running>, stop: CancellationToken) {
    let mut delay = BLOCKED_DELAY;
    while !stop.is_cancelled() {
        *lock(&running.view.phase) = Phase::Connecting;
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            opened = open(&runtime, &key, &running, &stop) => opened,
        };
        match opened {
            Ok(Some((ctx, state))) => {
                if work(&ctx, &running, &state).await {
                    delay = BLOCKED_DELAY;
                    continue;
                }
                let reason = "a task of the link broke down; the log says where, please report it";
                *lock(&running.view.phase) = Phase::Blocked(reason.to_owned());
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).min(BLOCKED_DELAY_MAX);
            }
            Ok(None) => {
                lock(&runtime.flows).remove(&key);
                *lock(&running.view.phase) = Phase::Paused;
                stop.cancelled().await;
            }
            Err(fault) if fault.is_stopping() => break,
            Err(fault) => {
                *lock(&running.view.phase) = Phase::Blocked(fault.to_string());
                tracing::warn!(event = "link.blocked", customer = %key.0, link = %key.1, error = %fault,
                    "the link can't work; trying again");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).min(BLOCKED_DELAY_MAX);
            }
        }
    }
    running.context.store(None);
}

/// Runs an opened link: workers from the start, pollers once both sides are matched. False where one
/// of them broke down; then all have ended, and the link can be opened again.
async fn work(ctx: &Arc<LinkContext>, running: &Running, state: &LinkState) -> bool {
    *lock(&running.sums) = None;
    running.context.store(Some(Arc::clone(ctx)));
    meter::begin(ctx);
    let mut tasks = JoinSet::new();
    for direction in Direction::BOTH {
        if ctx.rules.way(direction).is_some() {
            tasks.spawn(worker::run(Arc::clone(ctx), direction));
        }
    }
    if let Some([a, b]) = matched(ctx, state).await {
        ctx.enter(Phase::Live);
        tracing::info!(event = "link.live", customer = %ctx.customer, link = %ctx.name,
            rules_version = ctx.rules.version, "watching both sides");
        for (side, poller) in [(Side::A, a), (Side::B, b)] {
            if ctx.rules.way(side.outward()).is_some() {
                tasks.spawn(poller.run());
            }
        }
    }
    let mut whole = true;
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            whole = false;
            ctx.stop.cancel();
            tracing::error!(event = "link.broke_down", customer = %ctx.customer, link = %ctx.name,
                error = %error, "a task of the link broke down");
        }
    }
    running.context.store(None);
    presence::keep(ctx, running, whole);
    whole
}

/// Brings both sides together as far as that is still to be done; `None` when the link is stopped.
async fn matched(ctx: &Arc<LinkContext>, state: &LinkState) -> Option<[Poller; 2]> {
    let mut delay = BLOCKED_DELAY;
    loop {
        match try_match(ctx, state).await {
            Ok(pollers) => {
                Side::BOTH.iter().for_each(|&side| ctx.trouble_reading(side, None));
                return Some(pollers);
            }
            Err(fault) if fault.is_stopping() => return None,
            Err(_) if ctx.stop.is_cancelled() => return None,
            Err(fault) => {
                ctx.trouble_reading(Side::A, Some(fault.to_string()));
                tracing::warn!(event = "link.matching_failed", customer = %ctx.customer, link = %ctx.name,
                    error = %fault, "matching both sides failed; trying again");
            }
        }
        tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return None,
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(BLOCKED_DELAY_MAX);
    }
}

async fn try_match(ctx: &Arc<LinkContext>, state: &LinkState) -> Result<[Poller; 2], Fault> {
    let mut pollers = [Poller::open(ctx, Side::A)?, Poller::open(ctx, Side::B)?];
    let planned = state.planned_under == Some(ctx.rules.fingerprint);
    if !state.matched {
        let began = tokio::time::Instant::now();
        // Other rules may have planned some pairs already, when that was cut short.
        let changed = state.planned_under.is_some() && !planned;
        if changed {
            contact::begin(ctx).await?;
        } else if !planned {
            contact::begin_first(ctx).await?;
        }
        let tally = contact::matching(ctx, &mut pollers, changed).await?;
        tracing::info!(event = "link.matched", customer = %ctx.customer, link = %ctx.name,
            records = tally.facts, delivered = tally.delivered, queued = tally.queued, skipped = tally.skipped,
            rules_version = ctx.rules.version, duration_ms = meter::millis(began.elapsed()),
            "matched both sides");
    } else if !planned {
        contact::begin(ctx).await?;
        // Fields that were never looked at have to be read first; else what is known is enough.
        if contact::covers(ctx).await? {
            contact::walk(ctx, true).await?;
            contact::done(ctx).await?;
        } else {
            contact::matching(ctx, &mut pollers, true).await?;
        }
    }
    Ok(pollers)
}

/// Opens a link as the configuration and the rules stand now; `None` where it is paused.
async fn open(
    runtime: &Arc<Runtime>,
    key: &LinkKey,
    running: &Running,
    stop: &CancellationToken,
) -> Result<Option<(Arc<LinkContext>, LinkState)>, Fault> {
    let (customer_id, link) = key;
    let config = runtime.config();
    let gone = || {
        Fault::fatal(
            FaultCode::Configuration,
            format!("the configuration has no link {link} for customer {customer_id} any more"),
            "put it back, or leave it stopped",
        )
    };
    let customer = config.customer(customer_id).map_err(|_| gone())?;
    let wanted = customer.links.get(link).ok_or_else(gone)?;
    let state = runtime.store.link(customer_id, link).await.map_err(storage)?;
    if state.paused {
        return Ok(None);
    }
    let book = runtime
        .book(&customer)
        .await
        .map_err(|error| Fault::fatal(FaultCode::Configuration, error.to_string(), "mend the rules file"))?;
    let in_force = book.current();
    let systems = [runtime.system(&customer, &wanted.a)?, runtime.system(&customer, &wanted.b)?];
    let call = Call::new(Class::Live, format!("{customer_id}-{link}-open")).of(link);
    let known = lock(&running.facts).take();
    let mut facts = look(&customer, wanted, &systems, known.as_ref(), &call).await?;
    let compiled = match in_force.file.compile(in_force.version, &facts) {
        // What was known of a remote stream may be old: look again before the rules are blamed.
        Err(_) if known.is_some() => {
            facts = look(&customer, wanted, &systems, None, &call).await?;
            in_force.file.compile(in_force.version, &facts)
        }
        compiled => compiled,
    };
    // Also where the rules in force do not fit: the next ones are checked against this.
    *lock(&running.facts) = Some(facts.clone());
    let rules = compiled.map_err(|error| {
        Fault::fatal(
            FaultCode::Configuration,
            error.in_file(&book.path.display().to_string()),
            "mend the rules; the link starts as soon as they fit",
        )
    })?;
    joins(runtime, key, rules.flows(&facts))?;
    let rules = Arc::new(rules);
    let [system_a, system_b] = systems;
    let ends = [
        runtime.end(&customer, wanted, Side::A, system_a, &rules, running)?,
        runtime.end(&customer, wanted, Side::B, system_b, &rules, running)?,
    ];
    let any = contact::end_published(runtime.store.as_ref(), state.id, &ends).await?;
    let sums = presence::of(runtime, running, state.id, any).await.map_err(storage)?;
    let Sums { presence, epochs: [epoch_a, epoch_b] } = sums;
    let bells = [runtime.bell(&ends[0]), runtime.bell(&ends[1])];
    let ctx = LinkContext::new(LinkParts {
        customer: customer_id.clone(),
        name: link.clone(),
        id: state.id,
        store: Arc::clone(&runtime.store),
        rules,
        ends,
        clock: Arc::clone(&runtime.clock),
        poll_interval: wanted.poll_interval,
        audit_interval: wanted.audit_interval,
        lease: config.service.lease,
        queue_max: wanted.queue_max,
        sizes: config.sizes(),
        fuse: wanted.fuse,
        // Of its own, so that the link can be opened again when one of its tasks breaks down.
        stop: stop.child_token(),
        cursors: state.cursors.clone(),
        epochs: [state.epochs[0].max(epoch_a), state.epochs[1].max(epoch_b)],
        bells,
        view: Arc::clone(&running.view),
    });
    for (side, presence) in Side::BOTH.into_iter().zip(presence) {
        *lock(at(&ctx.presence, side)) = presence;
    }
    let mut holds = [false; 2];
    for (direction, frozen) in Direction::BOTH.into_iter().zip(&state.frozen) {
        let held = fuse::held(ctx.store.as_ref(), ctx.id, direction, ctx.now()).await.map_err(storage)?;
        // What only rests because the other end is halted holds nothing back of its own.
        *along_mut(&mut holds, direction) = held.is_some();
        let own = frozen.is_some() && held.is_some() && ctx.rules.way(direction).is_some();
        let halted = held.is_some_and(|held| fuse::is_halt(&held.findings));
        ctx.fuses.set_frozen(direction, own);
        ctx.fuses.set_halted(direction.from(), own && halted);
    }
    fuse::thaw(&ctx, &state, holds).await?;
    ctx.take_up().await?;
    Ok(Some((Arc::new(ctx), state)))
}

/// Takes the link in among those that are open, unless a ring of them would never come to rest.
fn joins(runtime: &Runtime, key: &LinkKey, flows: Vec<Flow>) -> Result<(), Fault> {
    let mut open = lock(&runtime.flows);
    let others: Vec<Flow> = open
        .iter()
        .filter(|(other, _)| other.0 == key.0 && *other != key)
        .flat_map(|(_, flows)| flows.iter().cloned())
        .collect();
    if let Some(ring) = rules::restless(&flows, &others) {
        open.remove(key);
        return Err(Fault::fatal(FaultCode::Configuration, ring, "mend the rules or the links"));
    }
    open.insert(key.clone(), flows);
    Ok(())
}

/// Looks at both streams, and says what the rules need to know of them. A remote stream that is
/// known already is not asked again: new rules must not wait for a full window.
pub async fn look(
    customer: &Customer,
    link: &LinkConfig,
    systems: &[Arc<dyn System>; 2],
    known: Option<&LinkFacts>,
    call: &Call,
) -> Result<LinkFacts, Fault> {
    let mut ends = Vec::with_capacity(2);
    for (side, system) in Side::BOTH.into_iter().zip(systems) {
        let (end, known) = match side {
            Side::A => (&link.a, known.map(|known| &known.a)),
            Side::B => (&link.b, known.map(|known| &known.b)),
        };
        let same = known.filter(|known| {
            known.system == end.system
                && known.stream == end.stream
                && known.key == end.key
                && remote(customer, end)
        });
        ends.push(match same {
            Some(known) => known.clone(),
            None => {
                let info = system.describe(&spec(&customer.id, &link.name, end, side, None), call).await?;
                end_facts(customer, end, &info)
            }
        });
    }
    let [a, b]: [EndFacts; 2] = ends
        .try_into()
        .map_err(|_| Fault::fatal(FaultCode::Configuration, "a link has two ends", "this is a defect"))?;
    Ok(LinkFacts {
        link: link.name.clone(),
        a,
        b,
        a_to_b: link.a_to_b,
        b_to_a: link.b_to_a,
        first_contact: link.first_contact,
    })
}

fn remote(customer: &Customer, end: &EndConfig) -> bool {
    let system = customer.systems.get(&end.system);
    system.and_then(|system| connectors::find(&system.connector)).is_some_and(|connector| connector.remote)
}

fn end_facts(customer: &Customer, end: &EndConfig, info: &StreamInfo) -> EndFacts {
    EndFacts {
        system: end.system.clone(),
        connector: customer
            .systems
            .get(&end.system)
            .map(|system| system.connector.clone())
            .unwrap_or_default(),
        stream: end.stream.clone(),
        key: end.key.clone(),
        fields: info.fields.clone(),
        open: info.open,
        walks: info.walks.clone(),
        barred: info.barred.clone(),
    }
}

/// Names one end of a link for its connector.
pub fn spec(
    customer: &str,
    link: &str,
    end: &EndConfig,
    side: Side,
    fields: Option<Vec<String>>,
) -> StreamSpec {
    StreamSpec {
        stream: end.stream.clone(),
        key: end.key.clone(),
        options: end.options.clone(),
        fields,
        consumer: format!("{customer}/{link}/{}", side.as_str()),
    }
}

impl Runtime {
    /// Returns the rules file of a customer, opened once and followed from then on.
    pub async fn book(self: &Arc<Self>, customer: &Customer) -> Result<Arc<RuleBook>, BookError> {
        let path = self.rules_path(customer);
        let mut books = self.books.lock().await;
        if let Some(book) = books.get(&path) {
            return Ok(Arc::clone(book));
        }
        let book = Arc::new(RuleBook::open(&path, self.store.as_ref(), (self.clock)()).await?);
        books.insert(path, Arc::clone(&book));
        self.follow_book(Arc::clone(&book));
        Ok(book)
    }

    /// Lists the rules files that are in use.
    pub async fn all_books(&self) -> Vec<Arc<RuleBook>> {
        self.books.lock().await.values().cloned().collect()
    }

    /// Returns where a customer's rules stand.
    pub fn rules_path(&self, customer: &Customer) -> PathBuf {
        let config = self.config();
        let path = match (&customer.rules, &self.rules_override) {
            (Some(own), _) => own.clone(),
            (None, Some(given)) => given.clone(),
            (None, None) => config.service.rules.clone(),
        };
        // Both were laid over the folder of the configuration when that was read.
        let path = PathBuf::from(path.to_string_lossy().replace("{customer}", &customer.id));
        path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)
    }

    /// Returns a customer's system, opened once for all its links.
    pub fn system(self: &Arc<Self>, customer: &Customer, end: &EndConfig) -> Result<Arc<dyn System>, Fault> {
        let unknown = |what: &str| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("{what} {} of customer {}", end.system, customer.id),
                "mend customer_settings.toml",
            )
        };
        let wanted = customer.systems.get(&end.system).ok_or_else(|| unknown("there is no system"))?;
        let connector = self
            .connector(&wanted.connector)
            .ok_or_else(|| unknown("there is no connector for the system"))?;
        let key = (customer.id.clone(), end.system.clone());
        let made_from = (wanted.connector.clone(), wanted.settings.clone());
        let mut systems = lock(&self.systems);
        let opening = match systems.get(&key) {
            Some(opened) if opened.made_from == made_from => return Ok(Arc::clone(&opened.system)),
            Some(opened) => Arc::new(opened.opening.next()),
            None => Arc::default(),
        };
        let sizes = self.config().sizes();
        let system = (connector.open)(Open {
            customer: customer.id.clone(),
            system: end.system.clone(),
            settings: wanted.settings.clone(),
            base_dir: self.config().base_dir.clone(),
            mock_url: (self.mock_url)(&customer.id, &end.system, &wanted.connector),
            gate: self.gate(customer, &end.system, wanted),
            clock: Arc::clone(&self.clock),
            vault: Arc::new(StoredVault::new(
                Arc::clone(&self.vault),
                Arc::clone(&self.clock),
                self.tracker.clone(),
                (&customer.id, &end.system),
                Arc::clone(&opening),
            )),
            bounds: Bounds { page_bytes: sizes.page_bytes, cache_bytes: sizes.stream_cache_bytes },
        })?;
        systems.insert(key, OpenedSystem { made_from, system: Arc::clone(&system), opening });
        Ok(system)
    }

    fn end(
        &self,
        customer: &Customer,
        link: &LinkConfig,
        side: Side,
        system: Arc<dyn System>,
        rules: &LinkRules,
        running: &Running,
    ) -> Result<End, Fault> {
        let end = match side {
            Side::A => &link.a,
            Side::B => &link.b,
        };
        let fields = rules.shape(side).names().map(str::to_owned).collect();
        let spec = spec(&customer.id, &link.name, end, side, Some(fields));
        let tuning = Arc::clone(at(&running.tunings, side));
        tuning.store(Arc::new(self.tuning(customer, link, &end.system)));
        let configured = customer.systems.get(&end.system);
        let connector = configured.and_then(|system| self.connector(&system.connector));
        let features = system.features(&spec);
        let gate = self.gates.get(&customer.id, &end.system);
        if let Some(gate) = &gate {
            gate.bound(features.in_flight_max);
        }
        Ok(End {
            features,
            destination: system.destination(&spec)?,
            remote: connector.is_some_and(|connector| connector.remote),
            gate,
            together_max: self.config().sizes().together_records,
            system_name: end.system.clone(),
            retry: configured.map_or_else(RetryPolicy::default, |system| system.retry.clone()),
            system,
            spec,
            tuning,
        })
    }

    /// Returns batch size and flush interval towards a system, with what an override says.
    pub fn tuning(&self, customer: &Customer, link: &LinkConfig, system: &str) -> Tuning {
        let (batch_size, flush_interval) = customer.batching(link, system);
        let over = self.overrides.of(&customer.id, system, customer.systems.get(system), (self.clock)());
        Tuning {
            batch_size: over.batch_size.unwrap_or(batch_size),
            flush_interval: over.flush_interval.unwrap_or(flush_interval),
        }
    }

    fn bell(&self, end: &End) -> Arc<Notify> {
        let paths = end.system.watch(&end.spec);
        if paths.is_empty() { Arc::default() } else { self.watcher.bell(&paths) }
    }
}
