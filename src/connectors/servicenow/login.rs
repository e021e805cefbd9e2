//! Who we are to an instance: user and password with every request, or a token.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};

use super::settings::{Auth, Settings};
use super::wire;
use crate::connectors::rest::{
    Grant, RawRequest, RefreshTokens, RestClient, Tokens, Untraded, basic, is_invalid_grant,
};
use crate::connectors::{Call, Vault};
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::record::Timestamp;

/// What the built-in mock knows.
const MOCK_USER: &str = "sync@example.test";
const MOCK_PASSWORD: &str = "pa55word";

/// A token this close to its end is renewed before it is used.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// Half an hour is what the service gives.
const LIFE: Duration = Duration::from_secs(1_800);

/// How requests are authorised.
pub enum Login {
    /// The header's value, whole.
    Basic(SecretString),
    Token(Box<Tokens<OAuth>>),
}

impl Login {
    /// Prepares the login; calls nobody.
    pub fn new(rest: Arc<RestClient>, base_url: &str, settings: &Settings, vault: Arc<dyn Vault>) -> Self {
        let user = settings.username.clone().unwrap_or_else(|| MOCK_USER.to_owned());
        let password = settings.password.clone().unwrap_or_else(|| MOCK_PASSWORD.into());
        if settings.auth() == Auth::Basic {
            return Self::Basic(basic(&user, &password).into());
        }
        let client_id = settings.client_id.clone().unwrap_or_else(|| "client-id".to_owned());
        let client_secret = settings.client_secret.clone().unwrap_or_else(|| "client-secret".into());
        let app = Arc::new(App { rest, url: format!("{base_url}/oauth_token.do"), client_id, client_secret });
        let way = match (settings.auth(), &settings.refresh_token) {
            (Auth::RefreshToken, Some(token)) => {
                Way::Refresh(Arc::new(RefreshTokens::new(token.clone(), vault)))
            }
            (Auth::ClientCredentials, _) => Way::Client,
            _ => Way::Password { user, password },
        };
        Self::Token(Box::new(Tokens::new(OAuth { app, way })))
    }
}

/// A login by token.
pub struct OAuth {
    app: Arc<App>,
    way: Way,
}

/// What is shown for a token.
enum Way {
    Client,
    Password { user: String, password: SecretString },
    Refresh(Arc<RefreshTokens>),
}

/// Who we are to the token endpoint.
struct App {
    rest: Arc<RestClient>,
    url: String,
    client_id: String,
    client_secret: SecretString,
}

/// An access token and what comes after it.
pub struct AccessToken {
    pub access: SecretString,
    /// The refresh token that came with it, in place of the password.
    next: Option<SecretString>,
    expires_at: Timestamp,
}

impl App {
    async fn trade(&self, grant: &[(&str, &str)], call: &Call) -> Result<AccessToken, Untraded> {
        let mut form = vec![
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
        ];
        form.extend_from_slice(grant);
        let request = RawRequest::new("log in to ServiceNow", Method::POST, &self.url)
            .header("accept", "application/json")
            .form(&form);
        let reply = self.rest.send(request, call).await?;
        let now = self.rest.now();
        let spent = is_invalid_grant(&reply);
        let token = wire::decode_token(&reply, now).map_err(|fault| Untraded { fault, is_spent: spent })?;
        let life = token.expires_in.map_or(LIFE, Duration::from_secs);
        Ok(AccessToken {
            access: token.access_token.into(),
            next: token.refresh_token.map(SecretString::from),
            expires_at: now.plus(life.saturating_sub(EXPIRY_MARGIN)),
        })
    }

    async fn refresh(&self, token: &SecretString, call: &Call) -> Result<AccessToken, Untraded> {
        let token = token.expose_secret();
        let mut fresh =
            self.trade(&[("grant_type", "refresh_token"), ("refresh_token", token)], call).await?;
        // One that lives on need not be told again.
        fresh.next.get_or_insert_with(|| token.into());
        Ok(fresh)
    }
}

#[async_trait]
impl Grant for OAuth {
    type Token = AccessToken;

    async fn fetch(&self, previous: Option<&AccessToken>, call: &Call) -> Result<AccessToken, Fault> {
        match &self.way {
            Way::Client => Ok(self.app.trade(&[("grant_type", "client_credentials")], call).await?),
            Way::Password { user, password } => {
                let next = previous.and_then(|token| token.next.as_ref());
                if let Some(next) = next {
                    match self.app.refresh(next, call).await {
                        // It may have ended.
                        Err(refused) if refused.fault.kind == FaultKind::Fatal => {}
                        other => return Ok(other?),
                    }
                }
                let password = password.expose_secret();
                let grant = [("grant_type", "password"), ("username", user), ("password", password)];
                Ok(self.app.trade(&grant, call).await?)
            }
            Way::Refresh(tokens) => {
                let (app, call) = (Arc::clone(&self.app), call.clone());
                let ask = move |token: SecretString| {
                    let (app, call) = (Arc::clone(&app), call.clone());
                    let asked = async move {
                        let fresh = app.refresh(&token, &call).await?;
                        let next = fresh.next.clone();
                        Ok((fresh, next))
                    };
                    Box::pin(asked) as BoxFuture<'static, _>
                };
                tokens.trade(ask).await
            }
        }
    }

    fn expired(&self, token: &AccessToken) -> bool {
        self.app.rest.now() >= token.expires_at
    }
}
