//! Tells the configuration of the connectors.

use std::sync::Arc;

use crate::config::{Catalogue, ConnectorFacts, SettingsProblem};
use crate::connectors::{CONNECTORS, Connector};

/// Describes the connectors of this build, as the configuration wants to know them.
pub fn catalogue() -> Catalogue {
    catalogue_of(CONNECTORS)
}

/// Describes other connectors.
pub fn catalogue_of(connectors: &[&'static Connector]) -> Catalogue {
    Catalogue { connectors: connectors.iter().copied().map(facts).collect() }
}

fn facts(connector: &'static Connector) -> ConnectorFacts {
    ConnectorFacts {
        name: connector.name,
        settings_schema: (connector.settings_schema)(),
        stream_options: connector.stream_options,
        check_settings: Arc::new(|settings| {
            (connector.check_settings)(settings)
                .map_err(|error| SettingsProblem { path: error.path, message: error.message })
        }),
    }
}
