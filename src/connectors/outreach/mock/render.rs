//! Objects of the table as resource objects.

use std::collections::BTreeMap;

use super::super::super::mock::Object;
use super::super::wire::{Field, Resource, kind_of, relation_type};
use crate::engine::record::{Value, write_json};

/// Which members of a resource are shown: all, or those that `fields[type]` names.
pub type Sparse = Option<Vec<String>>;

/// Reads `fields[type]`.
pub fn sparse_of(pairs: &[(String, String)], resource: &Resource) -> Sparse {
    let name = format!("fields[{}]", resource.singular);
    let (_, names) = pairs.iter().find(|(known, _)| *known == name)?;
    Some(names.split(',').map(|name| name.trim().to_owned()).collect())
}

/// Appends one resource object.
pub fn push_resource(
    resource: &Resource,
    object: &Object,
    sparse: &Sparse,
    base_url: &str,
    out: &mut String,
) {
    let shown = |name: &str| sparse.as_ref().is_none_or(|names| names.iter().any(|known| known == name));
    let (mut attributes, mut relations): (BTreeMap<&str, Value>, BTreeMap<&str, Value>) = Default::default();
    let kind = kind_of(resource);
    // What is not set is null, not absent.
    for name in kind.into_iter().flat_map(|kind| kind.attributes).filter(|name| shown(name)) {
        attributes.insert(name, Value::Null);
    }
    for name in kind.into_iter().flat_map(|kind| kind.to_one).filter(|name| shown(name)) {
        relations.insert(name, Value::Null);
    }
    let full_name = full_name(object).filter(|_| resource.singular == "prospect" && shown("name"));
    if let Some(name) = full_name {
        attributes.insert("name", name);
    }
    for (name, value) in object {
        match Field::parse(name) {
            Field::Attribute(name) if shown(name) => drop(attributes.insert(name, value)),
            Field::ToOne(name) if shown(name) => drop(relations.insert(name, value)),
            _ => {}
        }
    }
    let id = object.plain("id").unwrap_or_default();
    out.push_str(&format!("{{\"type\":\"{}\",\"id\":{id},\"attributes\":{{", resource.singular));
    for (at, (name, value)) in attributes.into_iter().enumerate() {
        push_name(at, name, out);
        write_json(&value, out);
    }
    out.push_str("},\"relationships\":{");
    for (at, (name, value)) in relations.into_iter().enumerate() {
        push_name(at, name, out);
        match value.to_plain() {
            Some(id) => {
                out.push_str(&format!("{{\"data\":{{\"type\":\"{}\",\"id\":{id}}}}}", relation_type(name)));
            }
            None => out.push_str("{\"data\":null}"),
        }
    }
    out.push_str("},\"links\":{\"self\":");
    write_json(&Value::text(format!("{base_url}{}", resource.member(&id))), out);
    out.push_str("}}");
}

fn push_name(at: usize, name: &str, out: &mut String) {
    if at > 0 {
        out.push(',');
    }
    write_json(&Value::text(name), out);
    out.push(':');
}

/// Makes the name that the service shows of a person, where none was stored.
fn full_name(object: &Object) -> Option<Value> {
    let parts: Vec<&str> = ["firstName", "lastName"].iter().filter_map(|name| object.text(name)).collect();
    (!parts.is_empty() && !object.contains_key("name")).then(|| Value::text(parts.join(" ")))
}
