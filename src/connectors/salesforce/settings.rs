//! The settings of a Salesforce system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::mock;
use super::wire::is_name;
use crate::connectors::rest::{MOCK, read_settings, secret, wrong_settings};
use crate::connectors::{Open, SettingsError};
use crate::engine::fault::Fault;

/// The largest page that the service gives, and more than it takes in one write.
pub const PAGE_MAX: usize = 2_000;

/// How tokens are got.
#[derive(Debug)]
pub enum Auth {
    ClientCredentials,
    /// The password with the security token glued on, as the service wants it.
    Password {
        username: String,
        password: SecretString,
    },
    RefreshToken(SecretString),
    /// An assertion that the private key signs.
    Jwt {
        username: String,
        /// The key in PEM form, or the path of its file.
        private_key: SecretString,
        /// Whom the assertion is meant for.
        audience: String,
    },
}

/// The settings, checked.
#[derive(Debug)]
pub struct Settings {
    pub base_url: String,
    pub login_url: String,
    pub client_id: String,
    pub client_secret: SecretString,
    pub auth: Auth,
    /// As configured, `61.0`; what the org offers decides where left out.
    pub api_version: Option<String>,
    /// Where the paths of files begin.
    pub base_dir: PathBuf,
    /// The field by which records are upserted, where it is not the link's key field.
    pub external_id_field: Option<String>,
    pub page_size: usize,
    /// Long reads and backlogs go by bulk jobs.
    pub bulk: bool,
    pub overlap: Duration,
    pub timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    base_url: String,
    login_url: Option<String>,
    client_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    client_secret: Option<SecretString>,
    username: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    password: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    security_token: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    private_key: Option<SecretString>,
    audience: Option<String>,
    auth: Option<Wish>,
    api_version: Option<String>,
    external_id_field: Option<String>,
    page_size: Option<usize>,
    bulk: Option<Bulk>,
    overlap_seconds: Option<u64>,
    timeout_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Wish {
    ClientCredentials,
    Password,
    RefreshToken,
    Jwt,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Bulk {
    Auto,
    Never,
}

/// Returns the JSON Schema of the settings.
pub fn schema() -> Json {
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["base_url"],
        "properties": {
            "base_url": text("\"mock\" for the built-in mock, or the org's own address, https://NAME.my.salesforce.com"),
            "login_url": text("Where tokens are got; base_url where left out"),
            "client_id": text("The consumer key of the connected app"),
            "client_secret": text("The consumer secret of the connected app"),
            "username": text("With password or private_key: log in as this user"),
            "password": text("The user's password"),
            "security_token": text("The user's security token, sent behind the password"),
            "refresh_token": text("Log in with this refresh token"),
            "private_key": text("Log in with assertions that this RSA key signs: the path of its PEM file, or its text"),
            "audience": text("Whom the assertions are meant for; the login host where left out"),
            "auth": {
                "enum": ["client_credentials", "password", "refresh_token", "jwt"],
                "description": "Found from the other settings where left out",
            },
            "api_version": {
                "type": "string", "pattern": "^[0-9]+\\.0$",
                "description": "61.0 where left out and offered, else the nearest that the org offers",
            },
            "external_id_field": text("The field by which records are upserted; the link's key field where left out"),
            "page_size": { "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_MAX },
            "bulk": {
                "enum": ["auto", "never"], "default": "auto",
                "description": "Long reads and backlogs go by the bulk API where that takes fewer calls",
            },
            "overlap_seconds": {
                "type": "integer", "minimum": 0, "maximum": 86400, "default": 60,
                "description": "How far back every poll reads again, for saves that show late",
            },
            "timeout_ms": { "type": "integer", "minimum": 1, "maximum": 600_000, "default": 60_000 },
        },
    })
}

/// Checks the settings without opening anything.
pub fn check(settings: &Json) -> Result<(), SettingsError> {
    resolve(settings, Some("http://localhost"), Path::new("")).map(|_| ())
}

impl Settings {
    /// Takes the settings of a system that is opened.
    pub fn open(open: &Open) -> Result<Self, Fault> {
        resolve(&open.settings, open.mock_url.as_deref(), &open.base_dir)
            .map_err(|error| wrong_settings(open, error))
    }
}

fn resolve(settings: &Json, mock_url: Option<&str>, base_dir: &Path) -> Result<Settings, SettingsError> {
    let raw: Raw = read_settings(settings)?;
    let mocked = raw.base_url == MOCK;
    let base_url = match (mocked, mock_url) {
        (false, _) => raw.base_url.trim_end_matches('/').to_owned(),
        (true, Some(url)) => url.trim_end_matches('/').to_owned(),
        (true, None) => {
            return Err(wrong("base_url", "the built-in mock is not served here; write the org's address"));
        }
    };
    check_url("base_url", &base_url)?;
    let login_url = raw.login_url.as_deref().unwrap_or(&base_url).trim_end_matches('/').to_owned();
    check_url("login_url", &login_url)?;
    let auth = auth(&raw, &login_url)?;
    let known = |text: &str| mocked.then(|| text.to_owned());
    let client_id = raw.client_id.or_else(|| known(mock::CLIENT_ID));
    let client_id = client_id.ok_or_else(|| wrong("client_id", "write the connected app's consumer key"))?;
    let client_secret = raw.client_secret.or_else(|| known(mock::CLIENT_SECRET).map(Into::into));
    let client_secret = match (client_secret, &auth) {
        (Some(secret), _) => secret,
        // A public app has none; a signature says enough.
        (None, Auth::RefreshToken(_) | Auth::Jwt { .. }) => SecretString::default(),
        (None, _) => {
            return Err(wrong(
                "client_secret",
                "write the connected app's secret, as \"${NAME}\" from the environment",
            ));
        }
    };
    if let Some(version) = &raw.api_version
        && version.strip_suffix(".0").is_none_or(|number| number.parse::<u16>().is_err())
    {
        return Err(wrong("api_version", "write a version such as \"61.0\""));
    }
    if let Some(field) = raw.external_id_field.as_deref().filter(|field| !is_name(field)) {
        return Err(wrong("external_id_field", &format!("{field:?} is no field name")));
    }
    // Nothing shows late in the mock, and the second that is still open is read again anyway.
    let overlap_seconds = raw.overlap_seconds.unwrap_or(if mocked { 2 } else { 60 });
    Ok(Settings {
        base_url,
        login_url,
        client_id,
        client_secret,
        auth,
        api_version: raw.api_version,
        base_dir: base_dir.to_owned(),
        external_id_field: raw.external_id_field,
        page_size: bounded("page_size", raw.page_size.unwrap_or(PAGE_MAX) as u64, 1, PAGE_MAX as u64)?
            as usize,
        bulk: raw.bulk != Some(Bulk::Never),
        overlap: Duration::from_secs(bounded("overlap_seconds", overlap_seconds, 0, 86_400)?),
        timeout_ms: bounded("timeout_ms", raw.timeout_ms.unwrap_or(60_000), 1, 600_000)?,
    })
}

/// Finds how to log in: by what is asked for, else by what is there.
fn auth(raw: &Raw, login_url: &str) -> Result<Auth, SettingsError> {
    use secrecy::ExposeSecret;
    let wish = raw.auth.unwrap_or(match (&raw.refresh_token, &raw.private_key, &raw.username) {
        (Some(_), ..) => Wish::RefreshToken,
        (None, Some(_), _) => Wish::Jwt,
        (None, None, Some(_)) => Wish::Password,
        (None, None, None) => Wish::ClientCredentials,
    });
    match wish {
        Wish::ClientCredentials => Ok(Auth::ClientCredentials),
        Wish::RefreshToken => match &raw.refresh_token {
            Some(token) => Ok(Auth::RefreshToken(token.clone())),
            None => Err(wrong("refresh_token", "auth = \"refresh_token\" needs it")),
        },
        Wish::Jwt => {
            let private_key = raw.private_key.clone().ok_or_else(|| {
                wrong("private_key", "auth = \"jwt\" needs it: the path of the PEM file, or \"${NAME}\"")
            })?;
            let username = raw
                .username
                .clone()
                .ok_or_else(|| wrong("username", "private_key needs a user to log in as"))?;
            let audience = raw.audience.clone().unwrap_or_else(|| audience_of(login_url).to_owned());
            Ok(Auth::Jwt { username, private_key, audience })
        }
        Wish::Password => {
            let username = raw.username.clone().ok_or_else(|| wrong("username", "password needs it"))?;
            let password = raw.password.as_ref().ok_or_else(|| wrong("password", "username needs it"))?;
            let token = raw.security_token.as_ref().map(|token| token.expose_secret()).unwrap_or_default();
            let glued = format!("{}{token}", password.expose_secret());
            Ok(Auth::Password { username, password: glued.into() })
        }
    }
}

/// Tells whom an assertion is meant for: the service takes its own login hosts by name, also where an org's own
/// address is asked.
fn audience_of(login_url: &str) -> &str {
    let host = url::Url::parse(login_url).ok().and_then(|url| url.host_str().map(str::to_lowercase));
    let host = host.unwrap_or_default();
    match host.ends_with(".salesforce.com") {
        true if host == "test.salesforce.com" || host.contains(".sandbox.") => "https://test.salesforce.com",
        true => "https://login.salesforce.com",
        false => login_url,
    }
}

fn check_url(key: &str, text: &str) -> Result<(), SettingsError> {
    let fits = url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none());
    if fits {
        Ok(())
    } else {
        Err(wrong(key, "write \"mock\" or an address, https://NAME.my.salesforce.com"))
    }
}

fn bounded(key: &str, value: u64, min: u64, max: u64) -> Result<u64, SettingsError> {
    match (min..=max).contains(&value) {
        true => Ok(value),
        false => Err(wrong(key, &format!("write a number from {min} to {max}"))),
    }
}

fn wrong(key: &str, message: &str) -> SettingsError {
    wrong_at(vec![key.to_owned()], message.to_owned())
}

fn wrong_at(path: Vec<String>, message: String) -> SettingsError {
    SettingsError { path, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_or_refused_at_their_place() {
        let real = "https://x.my.salesforce.com";
        // (settings, the wrong key, why)
        let cases = [
            (json!({ "base_url": "mock" }), None, "the mock needs nothing"),
            (json!({ "base_url": real, "client_id": "i", "client_secret": "s" }), None, "the common case"),
            (json!({ "base_url": real, "client_id": "i", "refresh_token": "r" }), None, "a public app"),
            (
                json!({ "base_url": real, "client_id": "i", "username": "u", "private_key": "key.pem" }),
                None,
                "a signature needs no secret",
            ),
            (
                json!({ "base_url": real, "client_id": "i", "private_key": "key.pem" }),
                Some("username"),
                "a signature for whom?",
            ),
            (json!({ "base_url": "mock", "auth": "jwt" }), Some("private_key"), "what to sign with?"),
            (json!({}), Some(""), "base_url is missing"),
            (json!({ "base_url": real }), Some("client_id"), "a real org needs credentials"),
            (json!({ "base_url": real, "client_id": "i" }), Some("client_secret"), "and the secret"),
            (json!({ "base_url": "salesforce" }), Some("base_url"), "no address"),
            (json!({ "base_url": "mock", "username": "u" }), Some("password"), "half a login"),
            (json!({ "base_url": "mock", "api_version": "sixty" }), Some("api_version"), "no version"),
            (json!({ "base_url": "mock", "page_size": 0 }), Some("page_size"), "too small"),
            (json!({ "base_url": "mock", "page_size": "x" }), Some("page_size"), "no number"),
            (json!({ "base_url": "mock", "external_id_field": "a b" }), Some("external_id_field"), "no name"),
        ];
        for (settings, wrong, why) in cases {
            let place = check(&settings).err().map(|error| error.path.join("."));
            assert_eq!(place.as_deref(), wrong, "{why}");
        }
        let unknown = check(&json!({ "base_url": "mock", "pagesize": 1 })).expect_err("a misspelt key");
        assert!(unknown.message.contains("pagesize"), "{unknown:?}");
    }

    #[test]
    fn no_secret_is_printed() {
        let settings = json!({
            "base_url": "https://x", "client_id": "i", "client_secret": "hidden1", "username": "u",
            "password": "hidden2", "security_token": "hidden3",
        });
        let signed = json!({
            "base_url": "https://x", "client_id": "i", "username": "u", "private_key": "hidden4",
        });
        for settings in [settings, signed] {
            let settings = resolve(&settings, None, Path::new("")).expect("settings");
            let printed = format!("{settings:?}");
            assert!(!printed.contains("hidden"), "{printed}");
        }
    }

    #[test]
    fn an_assertion_is_meant_for_the_login_host() {
        // (login_url, audience, why)
        let cases = [
            ("https://login.salesforce.com", "https://login.salesforce.com", "itself"),
            ("https://acme.my.salesforce.com", "https://login.salesforce.com", "the host behind an org"),
            ("https://test.salesforce.com", "https://test.salesforce.com", "sandboxes have their own"),
            ("https://acme--dev.sandbox.my.salesforce.com", "https://test.salesforce.com", "by their name"),
            ("http://127.0.0.1:8100", "http://127.0.0.1:8100", "a mock is its own"),
        ];
        for (login_url, audience, why) in cases {
            assert_eq!(audience_of(login_url), audience, "{why}");
        }
    }
}
