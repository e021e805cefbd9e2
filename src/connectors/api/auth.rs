//! Logging in: what goes out with every request, and where it comes from.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::super::Call;
use super::super::rest::{Grant, RawReply, RawRequest, RestClient, Tokens, basic};
use super::settings::{Auth, AuthKind, CredentialsIn, Settings};
use super::wire::{self, Pointer, Query};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Timestamp;

/// A token this close to its end is renewed before it is used.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// What the built-in mock knows where the description names no credentials.
pub const MOCK_USERNAME: &str = "sync@example.test";
pub const MOCK_PASSWORD: &str = "pa55word";
pub const MOCK_TOKEN: &str = "token";
pub const MOCK_CLIENT_ID: &str = "client-id";
pub const MOCK_CLIENT_SECRET: &str = "client-secret";

/// Gives a credential, or the mock's.
pub fn secret_or(given: &Option<SecretString>, mock: &str) -> SecretString {
    given.clone().unwrap_or_else(|| SecretString::from(mock))
}

/// What goes out with every request.
pub enum Login {
    None,
    Header { name: String, value: SecretString },
    Query { name: String, value: SecretString },
    Oauth(Box<Tokens<ClientCredentials>>),
}

impl Login {
    /// Prepares the login without calling out.
    pub fn new(settings: &Settings, base_url: &str, rest: &Arc<RestClient>) -> Self {
        let auth = &settings.auth;
        let header = |name: &str, value: String| Self::Header { name: name.to_owned(), value: value.into() };
        match auth.kind {
            AuthKind::None => Self::None,
            AuthKind::Basic => {
                let username = auth.username.as_deref().unwrap_or(MOCK_USERNAME);
                header("authorization", basic(username, &secret_or(&auth.password, MOCK_PASSWORD)))
            }
            AuthKind::Bearer => {
                let token = secret_or(&auth.token, MOCK_TOKEN);
                header("authorization", format!("Bearer {}", token.expose_secret()))
            }
            AuthKind::ApiKey => {
                let key = secret_or(&auth.api_key, MOCK_TOKEN);
                match (&auth.header, &auth.query) {
                    (_, Some(name)) => Self::Query { name: name.clone(), value: key },
                    (name, None) => {
                        let name = name.as_deref().unwrap_or("x-api-key");
                        header(name, format!("{}{}", auth.prefix, key.expose_secret()))
                    }
                }
            }
            AuthKind::Oauth => {
                let grant = ClientCredentials::new(settings, base_url, Arc::clone(rest));
                Self::Oauth(Box::new(Tokens::new(grant)))
            }
        }
    }

    /// Names the query parameter that holds a credential.
    pub fn secret_parameter(settings: &Settings) -> Option<String> {
        settings.auth.query.clone().filter(|_| settings.auth.kind == AuthKind::ApiKey)
    }

    /// Adds a login that needs no token to a request.
    pub fn put(&self, mut request: RawRequest) -> RawRequest {
        match self {
            Self::Header { name, value } => request.credential(name, value.expose_secret()),
            Self::Query { name, value } => {
                request.url = Query::new(request.url).with(name, value.expose_secret()).into_text();
                request
            }
            Self::None | Self::Oauth(_) => request,
        }
    }
}

/// The login by client credentials (RFC 6749 §4.4).
pub struct ClientCredentials {
    rest: Arc<RestClient>,
    url: String,
    client_id: String,
    client_secret: SecretString,
    auth: Auth,
    errors: Vec<Pointer>,
}

/// An access token and its end.
pub struct AccessToken {
    pub access: SecretString,
    expires_at: Option<Timestamp>,
}

/// The reply to a token request.
#[derive(Deserialize)]
struct Token {
    access_token: String,
    /// Seconds.
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl ClientCredentials {
    fn new(settings: &Settings, base_url: &str, rest: Arc<RestClient>) -> Self {
        let auth = settings.auth.clone();
        Self {
            rest,
            url: token_url(settings, base_url),
            client_id: auth.client_id.clone().unwrap_or_else(|| MOCK_CLIENT_ID.to_owned()),
            client_secret: secret_or(&auth.client_secret, MOCK_CLIENT_SECRET),
            auth,
            errors: settings.errors.clone(),
        }
    }
}

/// Says where tokens come from. The built-in mock gives its own, whatever the host.
fn token_url(settings: &Settings, base_url: &str) -> String {
    let told = settings.auth.token_url.as_deref().unwrap_or_default();
    match url::Url::parse(told) {
        Ok(url) if settings.is_mock() => format!("{base_url}{}", url.path()),
        Ok(_) => told.to_owned(),
        Err(_) => format!("{base_url}{told}"),
    }
}

/// Returns the path at which the mock gives tokens.
pub fn token_path(settings: &Settings) -> String {
    let told = settings.auth.token_url.as_deref().unwrap_or_default();
    url::Url::parse(told).map_or_else(|_| told.to_owned(), |url| url.path().to_owned())
}

#[async_trait]
impl Grant for ClientCredentials {
    type Token = AccessToken;

    async fn fetch(&self, _previous: Option<&AccessToken>, call: &Call) -> Result<AccessToken, Fault> {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.auth.scope.as_deref().map(|scope| ("scope", scope)));
        form.extend(self.auth.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut request = RawRequest::new("get an access token", Method::POST, &self.url);
        match self.auth.credentials {
            CredentialsIn::Header => {
                request = request.credential("authorization", &basic(&self.client_id, &self.client_secret));
            }
            CredentialsIn::Body => {
                form.push(("client_id", &self.client_id));
                form.push(("client_secret", self.client_secret.expose_secret()));
            }
        }
        let request = request.header("accept", "application/json").form(&form);
        let reply = self.rest.send(request, call).await.map_err(without_effect)?;
        decode(&reply, self.rest.now(), &self.errors)
    }

    fn expired(&self, token: &AccessToken) -> bool {
        token.expires_at.is_some_and(|end| self.rest.now() >= end)
    }
}

/// A token more or less does no harm.
fn without_effect(fault: Fault) -> Fault {
    Fault { may_have_happened: false, ..fault }
}

fn decode(reply: &RawReply, now: Timestamp, errors: &[Pointer]) -> Result<AccessToken, Fault> {
    const OPERATION: &str = "get an access token";
    if let Err(fault) = wire::check(OPERATION, false, reply, now, errors) {
        let refused = matches!(reply.status, 400 | 401 | 403);
        return Err(match refused {
            true => Fault::fatal(
                FaultCode::Auth,
                fault.message,
                "check client_id, client_secret, scope and token_url",
            ),
            false => fault,
        });
    }
    // The reason would quote the body, which holds tokens.
    let token: Token = serde_json::from_slice(&reply.body).map_err(|_| {
        Fault::transient(FaultCode::Protocol, format!("{OPERATION}: the reply holds no access_token"))
    })?;
    let life = token.expires_in.and_then(|life| match life {
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    });
    let expires_at = life.map(Duration::from_secs).map(|life| now.plus(life - EXPIRY_MARGIN.min(life / 2)));
    Ok(AccessToken { access: token.access_token.into(), expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::FaultKind;

    const NOW: Timestamp = Timestamp(1_769_853_600_000);

    #[test]
    fn a_token_is_renewed_before_its_end() {
        // (reply, seconds until it is renewed, why)
        let cases = [
            (r#"{"access_token":"a","expires_in":3600}"#, Some(3540), "a minute before"),
            (r#"{"access_token":"a","expires_in":"3600"}"#, Some(3540), "some send text"),
            (r#"{"access_token":"a","expires_in":20}"#, Some(10), "a short one at half its life"),
            (r#"{"access_token":"a"}"#, None, "when it is refused"),
        ];
        for (body, seconds, why) in cases {
            let reply = RawReply { status: 200, body: body.into(), ..RawReply::default() };
            let token = decode(&reply, NOW, &[]).expect("a token");
            assert_eq!(token.expires_at.map(|end| end.since(NOW).as_secs()), seconds, "{why}");
        }
    }

    #[test]
    fn a_refused_login_says_what_to_mend_and_no_secret() {
        // (status, body, kind, why)
        let cases = [
            (401, r#"{"error":"invalid_client"}"#, FaultKind::Fatal, "wrong credentials"),
            (400, r#"{"error":"invalid_scope"}"#, FaultKind::Fatal, "a wrong scope"),
            (503, "", FaultKind::Transient, "no verdict on the credentials"),
            (200, r#"{"access":"canary"}"#, FaultKind::Transient, "no token in it"),
        ];
        for (status, body, kind, why) in cases {
            let reply = RawReply { status, body: body.into(), ..RawReply::default() };
            let fault = decode(&reply, NOW, &[]).err().expect("a fault");
            assert_eq!(fault.kind, kind, "{why}");
            assert!(!fault.to_string().contains("canary"), "{why}");
        }
    }
}
