//! Who we are to an org: the logins, and the token that they all end in.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::org::protocol;
use super::settings::{Auth, Settings};
use super::wire;
use crate::connectors::rest::{Grant, RawRequest, RefreshTokens, RestClient};
use crate::connectors::{Call, Vault};
use crate::engine::fault::Fault;

const OPERATION: &str = "log in to Salesforce";

/// How tokens are got.
pub struct Login {
    app: Arc<App>,
    /// Where that is how we log in.
    refresh: Option<Arc<RefreshTokens>>,
}

/// The connected app and where it logs in.
struct App {
    rest: Arc<RestClient>,
    settings: Arc<Settings>,
}

/// A token with what came along.
pub struct Token {
    pub secret: SecretString,
    pub instance_url: String,
    pub user_id: String,
}

/// Not to be printed: it holds tokens.
#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
    instance_url: String,
    /// A URL that ends in `/{organization}/{user}`.
    #[serde(default)]
    id: String,
    /// The next one, where the app rotates them.
    #[serde(default)]
    refresh_token: Option<String>,
}

impl Login {
    /// Prepares the login; calls nobody.
    pub fn new(rest: Arc<RestClient>, settings: Arc<Settings>, vault: Arc<dyn Vault>) -> Self {
        let refresh = match &settings.auth {
            Auth::RefreshToken(token) => Some(Arc::new(RefreshTokens::new(token.clone(), vault))),
            _ => None,
        };
        Self { app: Arc::new(App { rest, settings }), refresh }
    }
}

impl App {
    async fn trade(&self, grant: &[(&str, &str)], call: &Call) -> Result<TokenReply, Fault> {
        let settings = &*self.settings;
        let mut form = vec![("client_id", settings.client_id.as_str())];
        let secret = settings.client_secret.expose_secret();
        if !secret.is_empty() {
            form.push(("client_secret", secret));
        }
        form.extend_from_slice(grant);
        let url = format!("{}/services/oauth2/token", settings.login_url);
        let request = RawRequest::new(OPERATION, Method::POST, url).form(&form);
        let reply = self.rest.send(request, call).await?;
        if !reply.is_success() {
            return Err(wire::classify(OPERATION, &reply, false, self.rest.now()));
        }
        serde_json::from_slice(&reply.body).map_err(|error| protocol(OPERATION, &error))
    }
}

impl TokenReply {
    fn into_token(self) -> Token {
        Token {
            secret: self.access_token.into(),
            instance_url: self.instance_url.trim_end_matches('/').to_owned(),
            user_id: self.id.rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }
}

#[async_trait]
impl Grant for Login {
    type Token = Token;

    async fn fetch(&self, _previous: Option<&Token>, call: &Call) -> Result<Token, Fault> {
        if let Some(tokens) = &self.refresh {
            let (app, call) = (Arc::clone(&self.app), call.clone());
            let ask = move |token: SecretString| {
                let (app, call) = (Arc::clone(&app), call.clone());
                let asked = async move {
                    let grant = [("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())];
                    let mut told = app.trade(&grant, &call).await?;
                    let next = told.refresh_token.take().map(SecretString::from);
                    Ok((told.into_token(), next))
                };
                Box::pin(asked) as BoxFuture<'static, _>
            };
            return tokens.trade(ask).await;
        }
        let told = match &self.app.settings.auth {
            Auth::Password { username, password } => {
                let password = password.expose_secret();
                let grant = [("grant_type", "password"), ("username", username), ("password", password)];
                self.app.trade(&grant, call).await?
            }
            Auth::ClientCredentials | Auth::RefreshToken(_) => {
                self.app.trade(&[("grant_type", "client_credentials")], call).await?
            }
        };
        Ok(told.into_token())
    }
}
