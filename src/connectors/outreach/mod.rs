//! Placeholder.
use super::{Connector, SettingsError};
pub const CONNECTOR: Connector = Connector {
    name: "outreach",
    about: "",
    remote: false,
    settings_schema: || serde_json::json!({}),
    stream_options: &[],
    check_settings: |_| Ok::<(), SettingsError>(()),
    open: |_| unimplemented!(),
    mock: None,
};
