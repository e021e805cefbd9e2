//! The settings of an Outreach system.

use secrecy::SecretString;
use serde::Deserialize;

use super::super::SettingsError;
use super::super::rest::{MOCK, read_settings, secret};

/// A page's size at most, as the service allows.
const PAGE_SIZE_MAX: usize = 1000;

/// Requests under way at once at most.
const IN_FLIGHT_MAX: usize = 64;

/// What the table of an Outreach system may hold.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The host's root, without `/api/v2`; `mock` for the built-in mock.
    pub base_url: String,
    /// The id of the app that record-sync is registered as.
    pub client_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<SecretString>,
    /// What the user's consent gave; traded for access tokens.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub refresh_token: Option<SecretString>,
    /// As registered with the app; the service may ask for it when a token is refreshed.
    pub redirect_uri: Option<String>,
    /// Records asked for in one page, 1 to 1000.
    pub page_size: usize,
    /// How far behind its stamp a change may still come to light, in milliseconds: that much is
    /// read again until it is older than this by the service's own clock.
    pub overlap_ms: u64,
    /// Requests under way at once, 1 to 64. The service names no bound but its hourly budget, which allows about three a
    /// second.
    pub in_flight: usize,
    /// How long a request may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "https://api.outreach.io".to_owned(),
            client_id: None,
            client_secret: None,
            refresh_token: None,
            redirect_uri: None,
            page_size: PAGE_SIZE_MAX,
            overlap_ms: 5_000,
            in_flight: 4,
            timeout_ms: 30_000,
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

    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: &str| {
            Err(SettingsError { path: vec![key.to_owned()], message: message.to_owned() })
        };
        if !(1..=PAGE_SIZE_MAX).contains(&self.page_size) {
            return wrong("page_size", "the service gives 1 to 1000 records a page: write page_size = 1000");
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            return wrong("timeout_ms", "write 100 to 600000 milliseconds, for instance timeout_ms = 30000");
        }
        if self.overlap_ms > 3_600_000 {
            return wrong("overlap_ms", "more than an hour is read again and again: write at most 3600000");
        }
        if !(1..=IN_FLIGHT_MAX).contains(&self.in_flight) {
            return wrong(
                "in_flight",
                "1 to 64 requests may be under way at once: write for instance in_flight = 4",
            );
        }
        if self.is_mock() {
            return Ok(());
        }
        let fit = url::Url::parse(&self.base_url).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        if !fit {
            return wrong(
                "base_url",
                "this is no http(s) URL: write \"https://api.outreach.io\", or \"mock\" for the built-in mock",
            );
        }
        if self.base_url.ends_with("/api/v2") {
            return wrong("base_url", "leave /api/v2 out: write \"https://api.outreach.io\"");
        }
        for (key, missing) in [
            ("client_id", self.client_id.is_none()),
            ("client_secret", self.client_secret.is_none()),
            ("refresh_token", self.refresh_token.is_none()),
        ] {
            if missing {
                return Err(SettingsError {
                    path: Vec::new(),
                    message: format!(
                        "{key} is missing: every login but the built-in mock's (base_url = \"mock\") needs \
                         client_id, client_secret and refresh_token, best as {key} = \"${{…}}\""
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

    #[test]
    fn settings_are_refused_with_their_key() {
        let full = |key: &str, value: serde_json::Value| {
            let mut table = json!({"base_url": "https://api.outreach.io", "client_id": "i", "client_secret": "s",
                "refresh_token": "r"});
            table[key] = value;
            table
        };
        // (table, wrong key, why)
        let cases = [
            (json!({"base_url": "mock"}), None, "the mock needs no credentials"),
            (json!({}), Some(""), "the real service does"),
            (full("page_size", json!(1000)), None, "the most the service gives"),
            (full("page_size", json!(1001)), Some("page_size"), "more than the service gives"),
            (full("page_size", json!("x")), Some("page_size"), "the wrong type"),
            (full("base_url", json!("api.outreach.io")), Some("base_url"), "no scheme"),
            (
                full("base_url", json!("https://api.outreach.io/api/v2/")),
                Some("base_url"),
                "the path is ours",
            ),
            (full("pagesize", json!(1)), Some("pagesize"), "an unknown key"),
            (full("in_flight", json!(0)), Some("in_flight"), "nothing under way"),
            (full("in_flight", json!(65)), Some("in_flight"), "a crowd"),
            (full("timeout_ms", json!(0)), Some("timeout_ms"), "nothing answers in no time"),
        ];
        for (table, wrong, why) in cases {
            let path = Settings::parse(&table).err().map(|error| error.path.join("."));
            assert_eq!(path.as_deref(), wrong, "{why}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let table = json!({"base_url": "https://x.test", "client_id": "i", "client_secret": "canary",
            "refresh_token": "canary"});
        let settings = Settings::parse(&table).expect("settings");
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
