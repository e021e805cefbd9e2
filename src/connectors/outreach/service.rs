//! Requests to one organisation: the login, the one repeat after a token was refused, the check.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};

use super::super::rest::{
    self, Grant, RawReply, RawRequest, RefreshTokens, RestClient, RestOptions, Tokens, Traded, Untraded,
};
use super::super::{Call, Open, Vault};
use super::settings::Settings;
use super::wire::{self, Query};
use crate::engine::fault::Fault;
use crate::engine::record::Timestamp;

/// What bodies are and what is asked for.
pub const MEDIA_TYPE: &str = "application/vnd.api+json";

/// A token this close to its end is renewed before it is used.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// Reads, writes and logs in; cheap to share.
pub struct Service {
    rest: Arc<RestClient>,
    tokens: Tokens<Refresh>,
    base_url: String,
    pub settings: Settings,
}

impl Service {
    /// Makes the client without calling out.
    pub fn open(settings: Settings, open: &Open) -> Result<Self, Fault> {
        let base_url = rest::address(&settings.base_url, open)?;
        let rest = rest::client(&base_url, settings.timeout_ms, RestOptions::default(), open)?;
        let grant = Refresh::new(Arc::clone(&rest), &base_url, &settings, rest::vault(open));
        Ok(Self { rest, tokens: Tokens::new(grant), base_url, settings })
    }

    /// Reads.
    pub async fn get(&self, operation: &str, query: Query, call: &Call) -> Result<RawReply, Fault> {
        self.send(operation, Method::GET, &query.into_text(), None, call).await
    }

    /// Changes one record.
    pub async fn change(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        call: &Call,
    ) -> Result<RawReply, Fault> {
        self.send(operation, method, path, body, call).await
    }

    async fn send(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        call: &Call,
    ) -> Result<RawReply, Fault> {
        let write = method != Method::GET;
        let mut held = self.tokens.get(call).await?;
        loop {
            let url = format!("{}{path}", self.base_url);
            let mut request = RawRequest::new(operation, method.clone(), url)
                .bearer(held.token().access.expose_secret())
                .header("accept", MEDIA_TYPE);
            if let Some(body) = &body {
                request = request.body(MEDIA_TYPE, body.clone());
            }
            let reply = self.rest.send(request, call).await?;
            if reply.status != 401 {
                wire::check(operation, write, &reply, self.rest.now())?;
                return Ok(reply);
            }
            // Ends: a fresh token that is refused is a fault.
            held = self.tokens.refused(held, operation, call).await?;
        }
    }
}

/// The login by refresh token.
pub struct Refresh {
    app: Arc<App>,
    tokens: Arc<RefreshTokens>,
}

/// Who we are to the token endpoint.
struct App {
    rest: Arc<RestClient>,
    url: String,
    client_id: String,
    client_secret: SecretString,
    redirect_uri: Option<String>,
}

/// An access token and its end.
pub struct AccessToken {
    access: SecretString,
    expires_at: Timestamp,
}

impl Refresh {
    fn new(rest: Arc<RestClient>, base_url: &str, settings: &Settings, vault: Arc<dyn Vault>) -> Self {
        // What the built-in mock knows.
        let or = |given: &Option<SecretString>, mock: &str| match given {
            Some(secret) => secret.clone(),
            None => SecretString::from(mock),
        };
        let app = App {
            rest,
            url: format!("{base_url}/oauth/token"),
            client_id: settings.client_id.clone().unwrap_or_else(|| "client-id".to_owned()),
            client_secret: or(&settings.client_secret, "client-secret"),
            redirect_uri: settings.redirect_uri.clone(),
        };
        let configured = or(&settings.refresh_token, "or-refresh-1");
        Self { app: Arc::new(app), tokens: Arc::new(RefreshTokens::new(configured, vault)) }
    }
}

impl App {
    async fn trade(&self, refresh_token: &SecretString, call: &Call) -> Traded<AccessToken> {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
            ("refresh_token", refresh_token.expose_secret()),
        ];
        if let Some(uri) = &self.redirect_uri {
            form.push(("redirect_uri", uri));
        }
        let request = RawRequest::new("refresh the access token", Method::POST, &self.url).form(&form);
        let reply = self.rest.send(request, call).await?;
        let now = self.rest.now();
        let spent = rest::is_invalid_grant(&reply);
        let token = wire::decode_token(&reply, now).map_err(|fault| Untraded { fault, is_spent: spent })?;
        // Two hours are what the service gives.
        let life = Duration::from_secs(token.expires_in.unwrap_or(7200));
        let expires_at = now.plus(life.saturating_sub(EXPIRY_MARGIN));
        let next = token.refresh_token.map(SecretString::from);
        Ok((AccessToken { access: token.access_token.into(), expires_at }, next))
    }
}

#[async_trait]
impl Grant for Refresh {
    type Token = AccessToken;

    async fn fetch(&self, _previous: Option<&AccessToken>, call: &Call) -> Result<AccessToken, Fault> {
        let (app, call) = (Arc::clone(&self.app), call.clone());
        let ask = move |token: SecretString| {
            let (app, call) = (Arc::clone(&app), call.clone());
            Box::pin(async move { app.trade(&token, &call).await }) as BoxFuture<'static, _>
        };
        self.tokens.trade(ask).await
    }

    fn expired(&self, token: &AccessToken) -> bool {
        self.app.rest.now() >= token.expires_at
    }
}
