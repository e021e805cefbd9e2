//! Records into JSON:API documents.

use super::names::{Field, Resource, relation_type};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Number, Schema, Value, write_json};

/// Writes the document of a create (`id` = `None`) or an update: missing values are left out, the
/// id is never an attribute.
pub fn encode(
    resource: &Resource,
    id: Option<&str>,
    shape: &Schema,
    values: &[Value],
) -> Result<Vec<u8>, Fault> {
    let (mut attributes, mut relationships) = (String::new(), String::new());
    for (name, value) in shape.names().zip(values) {
        if value.is_missing() {
            continue;
        }
        match Field::parse(name) {
            Field::Id => {}
            Field::Attribute(name) => {
                push_name(name, &mut attributes);
                write_json(value, &mut attributes);
            }
            Field::ToOne(relation) => {
                push_name(relation, &mut relationships);
                push_relation(relation, value, &mut relationships)?;
            }
        }
    }
    let mut out = format!("{{\"data\":{{\"type\":\"{}\"", resource.singular);
    if let Some(id) = id {
        out.push_str(",\"id\":");
        match is_id(id) {
            true => out.push_str(id),
            false => write_json(&Value::text(id), &mut out),
        }
    }
    out.push_str(&format!(",\"attributes\":{{{attributes}}}"));
    if !relationships.is_empty() {
        out.push_str(&format!(",\"relationships\":{{{relationships}}}"));
    }
    out.push_str("}}");
    Ok(out.into_bytes())
}

fn push_name(name: &str, out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
    write_json(&Value::text(name), out);
    out.push(':');
}

fn push_relation(relation: &str, value: &Value, out: &mut String) -> Result<(), Fault> {
    let Some(id) = value.to_plain().filter(|id| !id.is_empty()) else {
        out.push_str("{\"data\":null}");
        return Ok(());
    };
    if !is_id(&id) {
        return Err(Fault {
            remedy: Some("map a whole number, or null, to it".to_owned()),
            ..Fault::rejected(FaultCode::Validation, format!("{relation}.id holds {}, no id", value.kind()))
        });
    }
    out.push_str(&format!("{{\"data\":{{\"type\":\"{}\",\"id\":{id}}}}}", relation_type(relation)));
    Ok(())
}

/// Tells whether a text is an id of this service: a whole number.
pub fn is_id(text: &str) -> bool {
    matches!(Number::parse(text), Some(Value::Int(id)) if id >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_what_is_written_and_nothing_else() {
        let resource = Resource::parse("prospects").expect("a resource");
        let shape = Schema::new(["id", "title", "note", "account.id", "owner.id", "score"]);
        let values = [
            Value::Int(9),
            Value::text("a\"b"),
            Value::Absent,
            Value::text("5"),
            Value::Null,
            Number::parse("1.50").expect("a number"),
        ];
        let body = encode(&resource, Some("7"), &shape, &values).expect("a document");
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"{"data":{"type":"prospect","id":7,"attributes":{"title":"a\"b","score":1.50},"relationships":{"account":{"data":{"type":"account","id":5}},"owner":{"data":null}}}}"#
        );
        let body = encode(&resource, None, &Schema::new(["title"]), &["x".into()]).expect("a document");
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"{"data":{"type":"prospect","attributes":{"title":"x"}}}"#
        );
        for bad in ["5,\"x\":1", "-1", "five", "1.5"] {
            let fault = encode(&resource, None, &Schema::new(["account.id"]), &[bad.into()]);
            assert!(fault.is_err(), "{bad} is no id and must not get into a document");
        }
    }
}
