//! Who we are to an org: the logins, and the token that they all end in.
//!
//! The key of the login by assertion is read anew for each: one that is replaced on the disk needs no restart.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::org::protocol;
use super::settings::{Auth, Settings};
use super::wire;
use crate::connectors::rest::{Grant, RawRequest, RefreshTokens, RestClient, Untraded, is_invalid_grant};
use crate::connectors::{Call, Vault};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::Timestamp;

const OPERATION: &str = "log in to Salesforce";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const PEM_BEGINS: &str = "-----BEGIN ";
/// How long an assertion is good for; the service takes some minutes, and clocks differ.
const ASSERTION_SECONDS: i64 = 180;

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
    async fn trade(&self, grant: &[(&str, &str)], call: &Call) -> Result<TokenReply, Untraded> {
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
            let fault = wire::classify(OPERATION, &reply, false, self.rest.now());
            return Err(Untraded { fault, is_spent: is_invalid_grant(&reply) });
        }
        Ok(serde_json::from_slice(&reply.body).map_err(|error| protocol(OPERATION, &error))?)
    }
}

impl App {
    /// Gives the private key in PEM form, from its file where that is what is configured.
    async fn key(&self, configured: &SecretString) -> Result<SecretString, Fault> {
        let text = configured.expose_secret();
        if text.contains(PEM_BEGINS) {
            // Many a secret store hands line ends on as two characters.
            return Ok(text.replace("\\n", "\n").into());
        }
        let path = self.settings.base_dir.join(text);
        tokio::fs::read_to_string(&path).await.map(SecretString::from).map_err(|error| {
            // What stands there may be a key after all, in another form: it is not repeated.
            unfit(&format!(
                "it is no text in PEM form, and no file of that name can be read ({})",
                error.kind()
            ))
        })
    }
}

/// Signs that we are this user's app, for a few minutes.
fn assertion(
    key: &SecretString,
    client_id: &str,
    username: &str,
    audience: &str,
    now: Timestamp,
) -> Result<SecretString, Fault> {
    #[derive(Serialize)]
    struct Claims<'c> {
        iss: &'c str,
        sub: &'c str,
        aud: &'c str,
        exp: i64,
    }
    let pem = key.expose_secret();
    if pem.contains("-----BEGIN ENCRYPTED") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(unfit("it is locked by a passphrase"));
    }
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| unfit("it is no RSA key"))?;
    let exp = now.0.div_euclid(1000).saturating_add(ASSERTION_SECONDS);
    let claims = Claims { iss: client_id, sub: username, aud: audience, exp };
    let signed = encode(&Header::new(Algorithm::RS256), &claims, &key);
    signed.map(SecretString::from).map_err(|_| unfit("nothing can be signed with it"))
}

fn unfit(what: &str) -> Fault {
    Fault::fatal(
        FaultCode::Configuration,
        format!("{OPERATION}: private_key: {what}"),
        "write the path of the RSA private key in PEM form (-----BEGIN PRIVATE KEY-----), without a passphrase, that \
         belongs to the certificate of the connected app",
    )
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
            Auth::Jwt { username, private_key, audience } => {
                let key = self.app.key(private_key).await?;
                let client_id = &self.app.settings.client_id;
                let assertion = assertion(&key, client_id, username, audience, self.app.rest.now())?;
                let grant = [("grant_type", JWT_BEARER), ("assertion", assertion.expose_secret())];
                self.app.trade(&grant, call).await?
            }
            Auth::ClientCredentials | Auth::RefreshToken(_) => {
                self.app.trade(&[("grant_type", "client_credentials")], call).await?
            }
        };
        Ok(told.into_token())
    }
}
