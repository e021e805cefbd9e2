//! What all HTTP connectors share: the client behind the gate, waiting as told, tokens.
//!
//! Invariant: no request leaves without having entered the gate, and every entry is left exactly
//! once, also where the caller gives up half-way.

mod client;
mod keyset;
mod look_first;
mod members;
mod oauth;
mod opening;
mod path;
mod patience;
mod position;
mod reply;
mod retry_after;
mod rotation;
mod shown;
mod token;
mod word;
mod write;

pub use client::{RawRequest, RestClient, RestOptions};
pub use keyset::{After, Keyset, Phase};
pub use look_first::{ambiguous, chunks_by};
pub use members::{Members, malformed};
pub use oauth::{TokenReply, decode_token, is_invalid_grant};
pub use opening::{MOCK, address, basic, client, read_settings, secret, vault, wrong_settings};
pub use path::PathQuery;
pub use patience::Patience;
pub use position::{Position, ServerClock};
pub use reply::{RawReply, server_time};
pub use retry_after::{RETRY_AFTER_MAX, parse_http_date, retry_after};
pub use rotation::{RefreshTokens, Traded, Untraded};
pub use shown::Shown;
pub use token::{Grant, Held, Tokens};
pub use word::{BudgetHeaders, limits_quota, plain_report, quota, told_wait};
pub use write::{Stopper, delivered, gone, standing, standing_as};
