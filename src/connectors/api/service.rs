//! Requests to one system: the login, the one repeat after a token was refused, the check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use secrecy::ExposeSecret;

use super::super::rest::{self, BudgetHeaders, RawReply, RawRequest, RestClient, RestOptions};
use super::super::{Call, Open};
use super::auth::Login;
use super::settings::{Settings, Stream};
use super::wire::{self, Origin};
use crate::engine::fault::{Fault, FaultCode, FaultKind};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Path and query below `base_url`.
    Below(String),
    /// Path and query of a link that leads back to the service.
    Linked(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What it is for, in the words of messages.
    pub operation: String,
    pub method: Method,
    pub target: Target,
    pub body: Option<String>,
    pub headers: Vec<(String, String)>,
    /// It changes records.
    pub writes: bool,
}

/// Reads, writes and logs in; cheap to share.
pub struct Service {
    rest: Arc<RestClient>,
    login: Login,
    base_url: String,
    pub origin: Origin,
    pub settings: Settings,
    pub streams: BTreeMap<String, Arc<Stream>>,
}

impl Service {
    /// Makes the client without calling out.
    pub fn open(mut settings: Settings, open: &Open) -> Result<Self, Fault> {
        let base_url = rest::address(&settings.base_url, open)?;
        let rate = &settings.rate;
        let options = RestOptions {
            budget: Some(BudgetHeaders {
                limit: rate.limit.clone(),
                remaining: rate.remaining.clone(),
                reset: rate.reset.clone(),
                reset_ms: rate.reset_ms.clone(),
            }),
            ..RestOptions::default()
        };
        let rest = rest::client(&base_url, settings.timeout_ms, options, open)?;
        let login = Login::new(&settings, &base_url, &rest);
        let origin = Origin::of(&base_url, Login::secret_parameter(&settings)).ok_or_else(|| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("system {}: base_url is no URL", open.system),
                "write for instance \"https://api.example.test/v1\"",
            )
        })?;
        let streams = settings.take_streams();
        Ok(Self { rest, login, base_url, origin, settings, streams })
    }

    /// Returns how long a request may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.settings.timeout_ms)
    }

    /// Returns the URL of a target, without credentials.
    pub fn url(&self, target: &Target) -> String {
        match target {
            Target::Below(path) => format!("{}{path}", self.base_url),
            Target::Linked(path) => self.origin.url(path),
        }
    }

    /// Sends a request and checks its status.
    pub async fn ask(&self, ask: &Ask, call: &Call) -> Result<RawReply, Fault> {
        let reply = self.send(ask, call).await.map_err(|fault| Fault {
            // Whoever only reads may ask again, also by POST.
            may_have_happened: fault.may_have_happened && ask.writes,
            ..fault
        })?;
        wire::check(&ask.operation, ask.writes, &reply, self.rest.now(), &self.settings.errors)?;
        Ok(reply)
    }

    /// Sends a request for one record; `None` where it is not there.
    pub async fn ask_for_one(&self, ask: &Ask, call: &Call) -> Result<Option<RawReply>, Fault> {
        match self.ask(&Ask { writes: true, ..ask.clone() }, call).await {
            Err(fault) if wire::is_not_found(&fault) => Ok(None),
            // Refused as if a record were at fault, where only the request can be.
            Err(fault) if fault.kind == FaultKind::Rejected => Err(Fault {
                kind: FaultKind::Fatal,
                remedy: Some("check the description of this request".to_owned()),
                ..fault
            }),
            Err(fault) => Err(Fault { may_have_happened: false, ..fault }),
            Ok(reply) => Ok(Some(reply)),
        }
    }

    async fn send(&self, ask: &Ask, call: &Call) -> Result<RawReply, Fault> {
        let Login::Oauth(tokens) = &self.login else {
            return self.rest.send(self.login.put(self.request(ask)), call).await;
        };
        let mut held = tokens.get(call).await?;
        loop {
            let request = self.request(ask).bearer(held.token().access.expose_secret());
            let reply = self.rest.send(request, call).await?;
            if reply.status != 401 {
                return Ok(reply);
            }
            // Ends: a fresh token that is refused is a fault.
            held = tokens.refused(held, &ask.operation, call).await?;
        }
    }

    fn request(&self, ask: &Ask) -> RawRequest {
        let url = self.url(&ask.target);
        let mut request = RawRequest::new(&ask.operation, ask.method.clone(), url);
        if let Some(body) = &ask.body {
            request = request.body("application/json", body.clone());
        }
        let own = self.settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let asked = ask.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(asked).fold(request.header("accept", "application/json"), |request, (name, value)| {
            request.named(name, value)
        })
    }
}
