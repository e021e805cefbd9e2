//! An org as its callers see it: authorised calls, descriptions, and what we wrote there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use secrecy::ExposeSecret;

use super::at_work::AtWork;
use super::footprints::Footprints;
use super::login::{Login, Token};
use super::settings::Settings;
use super::wire::{self, Columns, Described};
use crate::connectors::rest::{self, RawReply, RawRequest, RestClient, RestOptions, Tokens};
use crate::connectors::{Call, Open, StreamSpec};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::Record;

/// How often `/limits` is asked at most, in milliseconds.
const LIMITS_EVERY_MS: i64 = 300_000;

/// How often an answer is asked for at most, and how soon the second time.
const ASKED_MAX: u32 = 4;
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const JSON: &str = "application/json";

/// One org.
pub struct Org {
    rest: Arc<RestClient>,
    tokens: Tokens<Login>,
    pub settings: Arc<Settings>,
    /// Of the API.
    version: Mutex<String>,
    described: Mutex<HashMap<String, Arc<Described>>>,
    pub(super) footprints: Footprints,
    /// When `/limits` was asked last, in milliseconds since 1970.
    limits_asked_at: AtomicI64,
    pub(super) at_work: AtWork,
}

/// What a request is about, apart from where and who.
#[derive(Clone)]
pub struct Ask<'a> {
    /// In the words of messages: `query Contact`.
    pub operation: &'a str,
    pub method: Method,
    /// Below `/services/data/vNN.0/`, with its query.
    pub path: &'a str,
    pub body: Option<&'a str>,
    pub batch_size: Option<usize>,
    /// It could change something.
    pub write: bool,
    /// The body, or else the reply, is CSV.
    pub is_csv: bool,
}

impl<'a> Ask<'a> {
    /// Asks for something, to begin with; whatever has another method changes nothing but jobs.
    pub fn get(operation: &'a str, path: &'a str) -> Self {
        Self {
            operation,
            method: Method::GET,
            path,
            body: None,
            batch_size: None,
            write: false,
            is_csv: false,
        }
    }
}

impl Org {
    /// Makes the client; calls nobody.
    pub fn new(open: &Open) -> Result<Self, Fault> {
        let settings = Arc::new(Settings::open(open)?);
        let options = RestOptions { report: wire::report, ..RestOptions::default() };
        let rest = rest::client(&settings.base_url, settings.timeout_ms, options, open)?;
        let login = Login::new(Arc::clone(&rest), Arc::clone(&settings), rest::vault(open));
        let tokens = Tokens::new(login);
        let limits_asked_at = AtomicI64::new(0);
        let version = settings.api_version.clone().unwrap_or_else(|| wire::API_VERSION.to_owned());
        Ok(Self {
            rest,
            tokens,
            version: Mutex::new(version),
            settings,
            described: Mutex::default(),
            footprints: Footprints::default(),
            limits_asked_at,
            at_work: AtWork::default(),
        })
    }

    /// Sends a request with a token, a second time with a new one where the first was refused; gives
    /// the reply where it is a success.
    pub async fn ask(&self, ask: Ask<'_>, call: &Call) -> Result<RawReply, Fault> {
        let (operation, write) = (ask.operation, ask.write);
        match self.send(ask, call).await? {
            Ok(reply) => Ok(reply),
            Err(refused) => Err(wire::classify(operation, &refused, write, self.rest.now())),
        }
    }

    /// The same for what may be gone: `None` where the service says that it is not there.
    pub async fn ask_for(&self, ask: Ask<'_>, call: &Call) -> Result<Option<RawReply>, Fault> {
        let (operation, write) = (ask.operation, ask.write);
        match self.send(ask, call).await? {
            Ok(reply) => Ok(Some(reply)),
            Err(refused) if wire::is_not_there(&refused) => Ok(None),
            Err(refused) => Err(wire::classify(operation, &refused, write, self.rest.now())),
        }
    }

    /// The same for what may be no question to this org: `Err` within where `unheard` knows the refusal for one.
    pub async fn ask_whether<T>(
        &self,
        ask: Ask<'_>,
        unheard: fn(&RawReply, &Fault) -> Option<T>,
        call: &Call,
    ) -> Result<Result<RawReply, (T, Fault)>, Fault> {
        let (operation, write) = (ask.operation, ask.write);
        let refused = match self.send(ask, call).await? {
            Ok(reply) => return Ok(Ok(reply)),
            Err(refused) => refused,
        };
        let fault = wire::classify(operation, &refused, write, self.rest.now());
        match unheard(&refused, &fault) {
            Some(why) => Ok(Err((why, fault))),
            None => Err(fault),
        }
    }

    /// Gives the reply, or else the refusal as it came.
    async fn send(&self, ask: Ask<'_>, call: &Call) -> Result<Result<RawReply, RawReply>, Fault> {
        let mut held = self.tokens.get(call).await?;
        loop {
            let token = held.token();
            let url = format!("{}/services/data/v{}/{}", token.instance_url, lock(&self.version), ask.path);
            let mut request = RawRequest::new(ask.operation, ask.method.clone(), url)
                .bearer(token.secret.expose_secret())
                .header("accept", if ask.is_csv && ask.body.is_none() { "text/csv" } else { JSON });
            if let Some(size) = ask.batch_size {
                request =
                    request.header("sforce-query-options", &format!("batchSize={}", size.clamp(200, 2000)));
            }
            if let Some(body) = ask.body {
                request = request.body(if ask.is_csv { "text/csv" } else { JSON }, body);
            }
            let reply = self.rest.send(request, call).await?;
            if reply.status == 401 {
                // Nothing was done, so nothing is done twice.
                held = self.tokens.refused(held, ask.operation, call).await?;
            } else if reply.is_success() {
                if reply.header("sforce-limit-info").is_none() {
                    self.ask_limits(held.token(), call).await;
                }
                return Ok(Ok(reply));
            } else {
                return Ok(Err(reply));
            }
        }
    }

    /// Asks for something until there is an answer, a few times; `None` where it is not there.
    pub async fn ask_again(&self, ask: Ask<'_>, call: &Call) -> Result<Option<RawReply>, Fault> {
        let mut pause = AGAIN_FIRST;
        for _ in 1..ASKED_MAX {
            match self.ask_for(ask.clone(), call).await {
                Err(fault) if matches!(fault.kind, FaultKind::Transient) && !fault.is_stopping() => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                other => return other,
            }
        }
        self.ask_for(ask, call).await
    }

    /// Asks for the budget where replies don't tell it (a proxy may cut the header out), now and then;
    /// what comes back is read on its way through the gate's report.
    async fn ask_limits(&self, token: &Token, call: &Call) {
        let now = self.rest.now().0;
        let asked = self.limits_asked_at.load(Ordering::Relaxed);
        let due = now.saturating_sub(asked) >= LIMITS_EVERY_MS;
        let mine = || {
            self.limits_asked_at.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if due && mine() {
            let url = format!("{}/services/data/v{}/limits", token.instance_url, lock(&self.version));
            let request = RawRequest::new("read the limits", Method::GET, url)
                .bearer(token.secret.expose_secret())
                .header("accept", JSON);
            // Not to know the budget is no trouble: a refusal will tell.
            let _ = self.rest.send(request, call).await;
        }
    }

    /// Returns our own user's id.
    pub async fn user_id(&self, call: &Call) -> Result<String, Fault> {
        Ok(self.tokens.get(call).await?.token().user_id.clone())
    }

    /// Looks at an object type; `anew` asks again although the answer is known.
    pub async fn described(&self, object: &str, anew: bool, call: &Call) -> Result<Arc<Described>, Fault> {
        if !wire::is_name(object) {
            return Err(no_object(object));
        }
        if let Some(known) = lock(&self.described).get(object).filter(|_| !anew) {
            return Ok(Arc::clone(known));
        }
        let operation = format!("describe {object}");
        let path = format!("sobjects/{object}/describe");
        let ask = Ask::get(&operation, &path);
        let reply = match self.ask(ask.clone(), call).await {
            // The same refusal stands for an unknown object and for an unknown version.
            Err(fault) if fault.code == FaultCode::Configuration => match self.find_version(call).await? {
                true => self.ask(ask, call).await,
                false => Err(fault),
            },
            asked => asked,
        };
        let reply = reply.map_err(|fault| {
            let unknown = fault.code == FaultCode::Configuration;
            if unknown { no_object(object) } else { fault }
        })?;
        let described = Described::decode(&reply.body).map_err(|error| protocol(&operation, &error))?;
        let described = Arc::new(described);
        lock(&self.described).insert(object.to_owned(), Arc::clone(&described));
        Ok(described)
    }

    /// Looks which versions of the API the org offers; tells whether another one than before is used from now on.
    async fn find_version(&self, call: &Call) -> Result<bool, Fault> {
        let operation = "look which API versions the org offers";
        let url = format!("{}/services/data/", self.tokens.get(call).await?.token().instance_url);
        let request = RawRequest::new(operation, Method::GET, url).header("accept", JSON);
        let reply = self.rest.send(request, call).await?;
        if !reply.is_success() {
            // Then the object is to blame.
            return Ok(false);
        }
        let used = lock(&self.version).clone();
        let nearest =
            wire::nearest_version(&reply.body, &used).map_err(|error| protocol(operation, &error))?;
        match nearest {
            Some(nearest) if nearest != used => match &self.settings.api_version {
                Some(version) => Err(no_version(version, &nearest)),
                None => {
                    *lock(&self.version) = nearest;
                    Ok(true)
                }
            },
            _ => Ok(false),
        }
    }

    /// Resolves what a stream reads; asks once more where a field seems to be missing. `anew` asks
    /// at once.
    pub async fn columns(&self, stream: &StreamSpec, anew: bool, call: &Call) -> Result<Columns, Fault> {
        let object = &stream.stream;
        let resolve = |described: &Described| Columns::new(described, &stream.key, stream.fields.as_deref());
        if let Ok(columns) = resolve(&*self.described(object, anew, call).await?) {
            return Ok(columns);
        }
        resolve(&*self.described(object, true, call).await?).map_err(|missing| no_field(object, &missing))
    }
}

/// Builds the fault of a reply that can't be read. It says where, not what: replies hold values.
pub fn protocol(operation: &str, error: &serde_json::Error) -> Fault {
    let (line, column) = (error.line(), error.column());
    Fault::transient(
        FaultCode::Protocol,
        format!("{operation}: the reply can't be read at line {line}, column {column}"),
    )
}

/// Returns the text that stands for a record among our footprints.
pub fn key_text(record: &Record, key: &[String]) -> Option<String> {
    let [field] = key else { return None };
    record.get(field).to_plain().map(String::from)
}

/// How long tombstones count back from the first read: hosts of one service agree within this.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);

fn no_version(version: &str, nearest: &str) -> Fault {
    Fault::fatal(
        FaultCode::Configuration,
        format!("the org does not offer version {version} of the API"),
        format!("leave api_version out, or write api_version = \"{nearest}\""),
    )
}

fn no_object(object: &str) -> Fault {
    Fault::fatal(
        FaultCode::Configuration,
        format!("Salesforce has no object {object}, or our user may not see it"),
        "correct the link's stream, or give the user access",
    )
}

pub fn no_field(object: &str, field: &str) -> Fault {
    Fault::fatal(
        FaultCode::Configuration,
        format!("the Salesforce object {object} has no field {field}, or our user may not see it"),
        "correct the link's key and the rules, or give the user access",
    )
}

/// Builds the fault of a row that can't be read.
pub fn unreadable(operation: &str, reason: &str) -> Fault {
    Fault::transient(FaultCode::Protocol, format!("{operation}: {reason}"))
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
