//! The duplicate rules of the org, where a test turns them on: an alert, which a client may overrule.

use serde_json::json;

use super::errors::ApiError;
use super::objects::ObjectType;
use super::rows;
use crate::connectors::mock::{Object, Request, Table};

/// By which field records of a type are taken for the same.
const RULES: &[(&str, &str)] = &[("Account", "Name"), ("Contact", "Email")];
const MESSAGE: &str = "Use one of these records?";

/// Tells whether the request saves in spite of an alert.
pub fn overruled(request: &Request) -> bool {
    let header = request.header("sforce-duplicate-rule-header").unwrap_or_default();
    header.split([';', ',']).any(|part| {
        let (name, value) = part.split_once('=').unwrap_or_default();
        name.trim().eq_ignore_ascii_case("allowSave") && value.trim().eq_ignore_ascii_case("true")
    })
}

/// Refuses a save that would make a second record of the same.
pub fn refuse(
    table: &mut Table,
    object: &ObjectType,
    changes: &Object,
    id: Option<&str>,
) -> Result<(), ApiError> {
    let Some((_, field)) = RULES.iter().find(|(of, _)| *of == object.name) else { return Ok(()) };
    let Some(text) = changes.plain(field) else { return Ok(()) };
    let others: Vec<String> = table
        .find(&object.name, field, &text)
        .into_iter()
        .filter(|other| Some(&**other) != id)
        .filter(|other| table.get(&object.name, other).is_some_and(|row| !rows::is_deleted(row)))
        .map(|other| other.to_string())
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let name = &object.name;
    let record = |id: &String| {
        json!({
            "additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0,
            "record": { "attributes": { "type": name }, "Id": id },
        })
    };
    let found = json!({
        "allowSave": true, "duplicateRule": format!("Standard_{name}_Duplicate_Rule"),
        "duplicateRuleEntityType": name, "errorMessage": MESSAGE,
        "matchResults": [{
            "entityType": name, "errors": [], "matchEngine": "ExactMatchEngine",
            "matchRecords": others.iter().map(record).collect::<Vec<_>>(),
            "rule": format!("Standard_{name}_Match_Rule_v1_1"), "size": others.len(), "success": true,
        }],
    });
    Err(ApiError { duplicates: Some(found), ..ApiError::save("DUPLICATES_DETECTED", MESSAGE, &[]) })
}
