//! Replies that no service should give, through every connector that speaks HTTP and real sockets: each
//! ends in one fault, within its time, in bounded memory, and no credential goes astray.

mod bombs;
mod canary;
mod host;
mod refused;
mod replies;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use record_sync::connectors::mock::Request;
use record_sync::connectors::{
    Batch, Class, Clock, Delivery, Gate, Open, Outcome, Report, StreamSpec, System, Write, find,
};
use record_sync::engine::fault::Fault;
use record_sync::engine::record::{Key, Schema, Timestamp, Value};

use self::host::Host;
use crate::conformance::call;

/// What a connector needs to be put through the table.
#[derive(Clone, Copy)]
struct Victim {
    connector: &'static str,
    stream: &'static str,
    token_path: &'static str,
}

const VICTIMS: [Victim; 4] = [
    Victim { connector: "salesforce", stream: "Contact", token_path: "/services/oauth2/token" },
    Victim { connector: "outreach", stream: "prospects", token_path: "/oauth/token" },
    Victim { connector: "servicenow", stream: "incident", token_path: "/oauth_token.do" },
    Victim { connector: "rest", stream: "people", token_path: "/oauth/token" },
];

/// What a connector needs beside its address and its client; a mock that is made from a description needs it too.
fn description(connector: &str) -> serde_json::Value {
    match connector {
        "outreach" => serde_json::json!({"refresh_token": "or-refresh-1"}),
        "rest" => serde_json::json!({
            "base_url": "mock",
            "auth": {"type": "oauth", "token_url": "/oauth/token", "client_id": "client-id",
                     "client_secret": "client-secret"},
            "streams": {"people": {
                "list": {"path": "/people", "records": "/data",
                         "page": {"style": "cursor", "param": "after", "next": "/next"}},
                "create": {"path": "/people", "wrap": "/data", "reply": "/data", "upsert": "record_id"},
                "update": {"path": "/people/{id}", "wrap": "/data", "reply": "/data"},
                "delete": {"path": "/people/{id}"},
            }},
        }),
        _ => serde_json::json!({}),
    }
}

/// Completes what `description` gives by an address and a client.
fn settings(connector: &str, url: &str) -> serde_json::Value {
    let mut settings = description(connector);
    settings["base_url"] = url.into();
    if connector != "rest" {
        settings["client_id"] = "client-id".into();
        settings["client_secret"] = "client-secret".into();
    }
    settings
}

#[test]
fn every_connector_that_speaks_http_is_a_victim() {
    let remote = record_sync::connectors::CONNECTORS.iter().filter(|connector| connector.remote);
    let remote: Vec<&str> = remote.map(|connector| connector.name).collect();
    assert_eq!(remote, VICTIMS.map(|victim| victim.connector));
}

struct FreeGate;

#[async_trait]
impl Gate for FreeGate {
    async fn enter(&self, _class: Class) -> Result<u64, Fault> {
        Ok(0)
    }

    fn leave(&self, _ticket: u64, _report: Report) {}
}

impl Victim {
    fn spec(&self) -> StreamSpec {
        StreamSpec {
            stream: self.stream.to_owned(),
            key: vec!["record_id".to_owned()],
            options: serde_json::Map::new(),
            fields: Some(vec!["record_id".to_owned(), "name".to_owned()]),
            consumer: "test".to_owned(),
        }
    }

    fn open(&self, host: &Host, timeout_ms: u64) -> Arc<dyn System> {
        let mut settings = settings(self.connector, &host.url);
        settings["timeout_ms"] = timeout_ms.into();
        let clock: Clock = Arc::new(|| Timestamp(1_769_853_600_000));
        let open = Open {
            customer: "default".into(),
            system: self.connector.into(),
            settings,
            base_dir: ".".into(),
            mock_url: None,
            gate: Arc::new(FreeGate),
            clock,
            vault: Arc::new(record_sync::connectors::MemoryVault::default()),
            bounds: Default::default(),
        };
        (find(self.connector).unwrap().open)(open).unwrap()
    }

    fn is_login(&self, request: &Request) -> bool {
        request.path == self.token_path
    }

    /// Tells a read of records from a look at the stream or at the limits.
    fn is_read(&self, request: &Request) -> bool {
        let aside = ["/describe", "/limits", "/sys_db_object", "/sys_dictionary"];
        let aside = aside.iter().any(|end| request.path.ends_with(end));
        request.method == "GET" && !aside
    }

    fn is_write(&self, request: &Request) -> bool {
        request.method != "GET" && !self.is_login(request)
    }

    /// Reads the first page.
    async fn read(&self, system: &Arc<dyn System>) -> Result<(), Fault> {
        system.source(&self.spec()).unwrap().read(None, 10, &call()).await.map(|_| ())
    }

    /// Creates one record.
    async fn write(&self, system: &Arc<dyn System>) -> Result<(), Fault> {
        let destination = system.destination(&self.spec()).unwrap();
        let delivery = Delivery {
            key: Key::from_text("k1").unwrap(),
            id: None,
            write: Write::Create(vec!["k1".into(), Value::text("name")].into()),
            expected: None,
            revision: None,
        };
        let batch = Batch { shape: Schema::new(["record_id", "name"]), deliveries: vec![delivery] };
        match destination.write(&batch, &call()).await?.pop().unwrap() {
            Outcome::Failed(fault) => Err(fault),
            _ => Ok(()),
        }
    }
}
