//! What the configuration needs to know of the connectors, handed in by whoever knows them.

use std::sync::Arc;

use serde_json::Value;

/// The connectors of this build.
#[derive(Clone, Default)]
pub struct Catalogue {
    pub connectors: Vec<ConnectorFacts>,
}

/// What the configuration needs to know of one connector.
#[derive(Clone)]
pub struct ConnectorFacts {
    /// The word in `connector = "…"`.
    pub name: &'static str,
    /// The JSON Schema of its settings; its `properties` are the known keys.
    pub settings_schema: Value,
    /// Option keys that a link's end may carry beside `system`, `stream` and `key`.
    pub stream_options: &'static [&'static str],
    pub check_settings: CheckSettings,
}

/// Checks the settings of a system; opens nothing.
pub type CheckSettings = Arc<dyn Fn(&Value) -> Result<(), SettingsProblem> + Send + Sync>;

/// Which setting is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Keys from the system's table down to the culprit; empty for the table itself.
    pub path: Vec<String>,
    pub message: String,
}

impl Catalogue {
    /// Finds a connector by name.
    pub fn find(&self, name: &str) -> Option<&ConnectorFacts> {
        self.connectors.iter().find(|connector| connector.name == name)
    }

    /// Lists the names, for remedies.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.connectors.iter().map(|connector| connector.name)
    }
}

impl ConnectorFacts {
    /// Returns the known setting keys; `None` where the connector takes any.
    pub(super) fn known_settings(&self) -> Option<Vec<&str>> {
        let open = self.settings_schema.get("additionalProperties").is_some_and(|more| more != false);
        let properties = self.settings_schema.get("properties")?.as_object()?;
        (!open).then(|| properties.keys().map(String::as_str).collect())
    }
}
