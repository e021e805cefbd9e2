//! Who we are at the service.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use super::super::super::rest::secret;

/// How requests are told to be ours.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    #[serde(rename = "type")]
    pub kind: AuthKind,
    /// For `basic`.
    pub username: Option<String>,
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// For `bearer`.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// For `api_key`.
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// The header that carries the API key.
    pub header: Option<String>,
    /// The query parameter that carries the API key.
    pub query: Option<String>,
    /// What stands before the API key in its header, such as `Token `.
    pub prefix: String,
    /// Where `oauth` gets its tokens: a URL, or a path below `base_url`.
    pub token_url: Option<String>,
    pub client_id: Option<String>,
    #[serde(deserialize_with = "secret")]
    #[schemars(with = "Option<String>")]
    pub client_secret: Option<SecretString>,
    pub scope: Option<String>,
    /// Where client id and secret stand in a request for a token.
    pub credentials: CredentialsIn,
    /// Further parameters of a request for a token, such as `audience`.
    pub parameters: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    #[default]
    None,
    /// User name and password.
    Basic,
    /// `Authorization: Bearer …`.
    Bearer,
    /// A key in a header or in the query.
    ApiKey,
    /// OAuth 2.0 client credentials.
    Oauth,
}

/// Where client id and secret stand in a request for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialsIn {
    #[default]
    Body,
    /// As user name and password.
    Header,
}
