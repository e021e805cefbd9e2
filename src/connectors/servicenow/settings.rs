//! The settings of a ServiceNow system.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::connectors::SettingsError;
use crate::connectors::rest::{MOCK, read_settings, secret};

/// A page's size at most, as the service gives.
const PAGE_SIZE_MAX: usize = 10_000;

/// How requests are authorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// User and password with every request.
    Basic,
    /// OAuth: user and password for a token.
    Password,
    /// OAuth: the application's own user.
    ClientCredentials,
    /// OAuth: a refresh token that somebody's consent gave.
    RefreshToken,
}

/// What the table of a ServiceNow system may hold.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The instance's root, `https://NAME.service-now.com`; `mock` for the built-in mock.
    pub base_url: String,
    /// Found from the other settings where left out.
    pub auth: Option<Auth>,
    /// The integration user; its time zone has to be GMT.
    pub username: Option<String>,
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// Of the OAuth application.
    pub client_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub refresh_token: Option<SecretString>,
    /// Records asked for in one page, 1 to 10000.
    pub page_size: usize,
    /// How far back every poll reads again, for saves that show late; 60 seconds where left out, 2 for the
    /// built-in mock.
    pub overlap_seconds: Option<u64>,
    /// How long a request may take, in milliseconds; the service ends one after 60 seconds by itself.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            auth: None,
            username: None,
            password: None,
            client_id: None,
            client_secret: None,
            refresh_token: None,
            page_size: 1_000,
            overlap_seconds: None,
            timeout_ms: 70_000,
        }
    }
}

impl Settings {
    /// Reads and checks a system's table.
    pub fn parse(table: &serde_json::Value) -> Result<Self, SettingsError> {
        let mut settings: Self = read_settings(table)?;
        while settings.base_url.ends_with('/') {
            settings.base_url.pop();
        }
        settings.check()?;
        Ok(settings)
    }

    /// Tells whether the system is the built-in mock.
    pub fn is_mock(&self) -> bool {
        self.base_url == MOCK
    }

    /// Tells how requests are authorised: as asked for, else by what is there.
    pub fn auth(&self) -> Auth {
        self.auth.unwrap_or(match (&self.refresh_token, &self.username, &self.client_id) {
            (Some(_), ..) => Auth::RefreshToken,
            (None, Some(_), Some(_)) => Auth::Password,
            (None, Some(_), None) => Auth::Basic,
            (None, None, Some(_)) => Auth::ClientCredentials,
            (None, None, None) => Auth::Basic,
        })
    }

    /// Returns how far back every pass reads again.
    pub fn overlap(&self) -> Duration {
        // Nothing shows late in the mock, and the second that is still open is read again anyway.
        Duration::from_secs(self.overlap_seconds.unwrap_or(if self.is_mock() { 2 } else { 60 }))
    }

    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: &str| {
            Err(SettingsError { path: vec![key.to_owned()], message: message.to_owned() })
        };
        if !(1..=PAGE_SIZE_MAX).contains(&self.page_size) {
            return wrong("page_size", "the service gives 1 to 10000 records a page: write page_size = 1000");
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            return wrong("timeout_ms", "write 100 to 600000 milliseconds, for instance timeout_ms = 70000");
        }
        if self.overlap_seconds.is_some_and(|seconds| seconds > 86_400) {
            return wrong("overlap_seconds", "more than a day is read again and again: write at most 86400");
        }
        if self.is_mock() {
            return Ok(());
        }
        if self.base_url.is_empty() {
            return Err(SettingsError {
                path: Vec::new(),
                message: "base_url is missing: write \"https://NAME.service-now.com\", or \"mock\" for the \
                          built-in mock"
                    .to_owned(),
            });
        }
        let fit = url::Url::parse(&self.base_url).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        if !fit {
            return wrong(
                "base_url",
                "this is no http(s) URL: write \"https://NAME.service-now.com\", or \"mock\" for the built-in mock",
            );
        }
        if self.base_url.contains("/api") {
            return wrong("base_url", "leave /api/now out: write \"https://NAME.service-now.com\"");
        }
        self.check_credentials()
    }

    fn check_credentials(&self) -> Result<(), SettingsError> {
        let auth = self.auth();
        let user = matches!(auth, Auth::Basic | Auth::Password);
        let client = auth != Auth::Basic;
        for (key, missing) in [
            ("username", user && self.username.is_none()),
            ("password", user && self.password.is_none()),
            ("client_id", client && self.client_id.is_none()),
            ("client_secret", client && self.client_secret.is_none()),
            ("refresh_token", auth == Auth::RefreshToken && self.refresh_token.is_none()),
        ] {
            if missing {
                return Err(SettingsError {
                    path: Vec::new(),
                    message: format!(
                        "{key} is missing: every login but the built-in mock's (base_url = \"mock\") needs username \
                         and password, or client_id and client_secret, or both; best as {key} = \"${{…}}\""
                    ),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const URL: &str = "https://acme.service-now.com";

    #[test]
    fn settings_are_refused_with_their_key() {
        let full = |key: &str, value: serde_json::Value| {
            let mut table = json!({"base_url": URL, "username": "u", "password": "p"});
            table[key] = value;
            table
        };
        // (table, wrong key, why)
        let cases = [
            (json!({"base_url": "mock"}), None, "the mock needs no credentials"),
            (json!({}), Some(""), "which instance?"),
            (json!({"base_url": URL}), Some(""), "the real service wants a login"),
            (json!({"base_url": URL, "username": "u"}), Some(""), "half of one"),
            (
                json!({"base_url": URL, "client_id": "i", "client_secret": "s"}),
                None,
                "the application's user",
            ),
            (json!({"base_url": URL, "client_id": "i", "refresh_token": "r"}), Some(""), "without a secret"),
            (full("auth", json!("password")), Some(""), "needs an application, too"),
            (full("auth", json!("jwt")), Some("auth"), "unknown"),
            (full("page_size", json!(10_000)), None, "the most the service gives"),
            (full("page_size", json!(10_001)), Some("page_size"), "more than the service gives"),
            (full("page_size", json!("x")), Some("page_size"), "the wrong type"),
            (full("base_url", json!("acme.service-now.com")), Some("base_url"), "no scheme"),
            (
                full("base_url", json!("https://acme.service-now.com/api/now")),
                Some("base_url"),
                "the path is ours",
            ),
            (full("pagesize", json!(1)), Some("pagesize"), "an unknown key"),
            (full("overlap_seconds", json!(86_401)), Some("overlap_seconds"), "more than a day"),
            (full("timeout_ms", json!(0)), Some("timeout_ms"), "nothing answers in no time"),
        ];
        for (table, wrong, why) in cases {
            let path = Settings::parse(&table).err().map(|error| error.path.join("."));
            assert_eq!(path.as_deref(), wrong, "{why}");
        }
    }

    #[test]
    fn the_login_is_found_from_what_is_there() {
        let cases = [
            (json!({"username": "u", "password": "p"}), Auth::Basic),
            (
                json!({"username": "u", "password": "p", "client_id": "i", "client_secret": "s"}),
                Auth::Password,
            ),
            (json!({"client_id": "i", "client_secret": "s"}), Auth::ClientCredentials),
            (json!({"client_id": "i", "client_secret": "s", "refresh_token": "r"}), Auth::RefreshToken),
        ];
        for (mut table, auth) in cases {
            table["base_url"] = URL.into();
            assert_eq!(Settings::parse(&table).expect("settings").auth(), auth);
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let table = json!({"base_url": URL, "username": "u", "password": "canary", "client_id": "i",
            "client_secret": "canary", "refresh_token": "canary"});
        assert!(!format!("{:?}", Settings::parse(&table).expect("settings")).contains("canary"));
    }
}
