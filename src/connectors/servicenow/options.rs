//! The options of a link's end.

use crate::connectors::{Deletes, StreamSpec};
use crate::engine::fault::{Fault, FaultCode};

/// Option keys of a link's end.
pub const STREAM_OPTIONS: &[&str] = &["deletes"];

/// Reads how deletions become known: `"audit"` (default) from `sys_audit_delete`, `"list"` by listing all keys.
pub fn deletes(spec: &StreamSpec) -> Result<Deletes, Fault> {
    match spec.options.get("deletes") {
        None | Some(serde_json::Value::Null) => Ok(Deletes::Reported),
        Some(serde_json::Value::String(text)) if text == "audit" => Ok(Deletes::Reported),
        Some(serde_json::Value::String(text)) if text == "list" => Ok(Deletes::Listed),
        Some(other) => Err(Fault::fatal(
            FaultCode::Configuration,
            format!("`deletes` of {} is {other}", spec.stream),
            "write \"audit\" or \"list\"",
        )),
    }
}
