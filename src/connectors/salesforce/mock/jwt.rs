//! Signed assertions: whom one speaks for, and why it is refused.
//!
//! The org knows one certificate, as a connected app does. The key that belongs to it lies open in
//! `tests/clients/salesforce-mock-key.pem`: it opens this mock and nothing else.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::auth::{CLIENT_ID, User};
use crate::engine::record::Timestamp;

const PUBLIC_KEY: &[u8] = include_bytes!("jwt-public.pem");
/// The login hosts of the real service; its instances accept assertions that are meant for them.
const LOGIN_HOSTS: [&str; 2] = ["https://login.salesforce.com", "https://test.salesforce.com"];
/// Seconds that the clocks at both ends may differ.
const LEEWAY: i64 = 60;
/// Seconds that an assertion may live; clients ask for three to five minutes.
const LIFE_MAX: i64 = 600;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Several,
    exp: Number,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Several {
    One(String),
    Many(Vec<String>),
}

/// Some clients write the end as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

/// Tells whom an assertion speaks for, or the error and its description.
pub fn user(assertion: &str, base_url: &str, now: Timestamp) -> Result<User, (&'static str, &'static str)> {
    let invalid = ("invalid_grant", "invalid assertion");
    // The claims are checked below, by the mock's own clock.
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_rsa_pem(PUBLIC_KEY).map_err(|_| invalid)?;
    let claims = decode::<Claims>(assertion, &key, &validation).map_err(|_| invalid)?.claims;
    if claims.iss != CLIENT_ID {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    if !claims.aud.names(base_url) {
        return Err(("invalid_grant", "audience is invalid"));
    }
    let left = claims.exp.seconds().map(|exp| exp.saturating_sub(now.0.div_euclid(1000)));
    if !left.is_some_and(|left| (-LEEWAY..=LIFE_MAX).contains(&left)) {
        return Err(("invalid_grant", "expired authorization code"));
    }
    match claims.sub == User::Sync.username() {
        true => Ok(User::Sync),
        // Nobody else has let the app in.
        false => Err(("invalid_grant", "user hasn't approved this consumer")),
    }
}

impl Several {
    /// Tells whether this host is meant: by its own URL, as a client that believes in TLS has it, or as the real
    /// service's.
    fn names(&self, base_url: &str) -> bool {
        let own = base_url.replacen("http://", "https://", 1);
        let meant = |aud: &String| {
            let aud = aud.trim_end_matches('/');
            aud == base_url || aud == own || LOGIN_HOSTS.contains(&aud)
        };
        match self {
            Self::One(one) => meant(one),
            Self::Many(many) => many.iter().any(meant),
        }
    }
}

impl Number {
    fn seconds(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const PRIVATE_KEY: &[u8] = include_bytes!("../../../../tests/clients/salesforce-mock-key.pem");
    const BASE: &str = "http://127.0.0.1:8100";
    const NOW: i64 = 1_700_000_000;

    fn signed(changes: &Value) -> String {
        let mut claims = json!({
            "iss": "client-id", "sub": "sync@example.test", "aud": BASE, "exp": NOW + 180,
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let key = EncodingKey::from_rsa_pem(PRIVATE_KEY).expect("a key");
        encode(&Header::new(Algorithm::RS256), &claims, &key).expect("a token")
    }

    #[test]
    fn claims_are_checked_by_the_mocks_own_clock() {
        // (claims that differ, description of the refusal, why)
        let cases = [
            (json!({}), None, "as it should be"),
            (json!({ "exp": (NOW + 180).to_string() }), None, "the end as text"),
            (json!({ "aud": "https://127.0.0.1:8100" }), None, "a client that believes in TLS"),
            (json!({ "aud": "https://login.salesforce.com" }), None, "the login host"),
            (json!({ "aud": ["x", "https://test.salesforce.com/"] }), None, "one of several"),
            (json!({ "exp": NOW - 30 }), None, "clocks differ a little"),
            (json!({ "iss": "other" }), Some("client identifier invalid"), "an unknown app"),
            (json!({ "aud": "https://example.test" }), Some("audience is invalid"), "meant for others"),
            (json!({ "exp": NOW - 120 }), Some("expired authorization code"), "over"),
            (json!({ "exp": (NOW + 180) * 1000 }), Some("expired authorization code"), "milliseconds"),
            (json!({ "exp": "soon" }), Some("expired authorization code"), "no number"),
            (json!({ "exp": null }), Some("invalid assertion"), "no end"),
            (json!({ "sub": "x@example.test" }), Some("user hasn't approved this consumer"), "nobody's"),
        ];
        for (changes, refusal, why) in cases {
            let told = user(&signed(&changes), BASE, Timestamp(NOW * 1000)).err();
            assert_eq!(told.map(|(_, description)| description), refusal, "{why}");
        }
    }

    #[test]
    fn signatures_have_to_be_of_the_known_key() {
        let good = signed(&json!({}));
        let (claims, _) = good.rsplit_once('.').expect("three parts");
        let hmac = EncodingKey::from_secret(PUBLIC_KEY);
        let own = json!({ "iss": "client-id", "sub": "sync@example.test", "aud": BASE, "exp": NOW + 180 });
        let by_hmac = encode(&Header::new(Algorithm::HS256), &own, &hmac).expect("a token");
        let other = signed(&json!({ "iss": "x" }));
        let (_, signature) = other.rsplit_once('.').expect("three parts");
        let cases = [
            (format!("{claims}.{signature}"), "the signature of another"),
            (format!("{claims}."), "no signature"),
            (by_hmac, "signed with the public key as a secret"),
            ("x".to_owned(), "no token"),
            (String::new(), "nothing"),
        ];
        for (assertion, why) in cases {
            let told = user(&assertion, BASE, Timestamp(NOW * 1000));
            assert_eq!(told, Err(("invalid_grant", "invalid assertion")), "{why}");
        }
    }
}
