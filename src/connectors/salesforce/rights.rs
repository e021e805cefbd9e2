//! Whether saves can succeed at all, by what describe says: what no record can mend is said once, and not of
//! every record.

use std::collections::BTreeMap;

use super::wire::Described;
use crate::connectors::{Delivery, Write};
use crate::engine::fault::{Fault, FaultCode};

/// Refuses to upsert by a field that the object does not take for that.
pub fn check_upsert(described: &Described, object: &str, field: &str) -> Result<(), Fault> {
    no_upsert(described, object, field).map_or(Ok(()), |bar| Err(bar.into_fault()))
}

/// Refuses to send values for a field that our user may not write. `names` are those of the values' places.
pub fn check_fields(
    described: &Described,
    object: &str,
    names: &[String],
    deliveries: &[&Delivery],
    is_of_key: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    for (place, name) in names.iter().enumerate() {
        let Some(bar) = no_write(described, object, name).filter(|_| !is_of_key(name)) else { continue };
        let sets = |delivery: &&&Delivery| match &delivery.write {
            Write::Create(values) | Write::Update(values) => {
                values.get(place).is_some_and(|value| !value.is_missing())
            }
            Write::Delete => false,
        };
        if deliveries.iter().any(|delivery| sets(&delivery)) {
            return Err(bar.into_fault());
        }
    }
    Ok(())
}

/// Lists what can't be written, for the check before the first run: by the names of the object's fields, and that of
/// the link's key where no record can be made by `external`, the field that is used for that.
pub fn barred(described: &Described, object: &str, key: &str, external: &str) -> BTreeMap<String, String> {
    let fields = described.fields.iter().filter(|field| !field.name.eq_ignore_ascii_case(external));
    let mut barred: BTreeMap<String, String> = fields
        .filter_map(|field| {
            Some((field.name.clone(), no_write(described, object, &field.name)?.into_words()))
        })
        .collect();
    if let Some(bar) = no_upsert(described, object, external) {
        barred.insert(key.to_owned(), bar.into_words());
    }
    barred
}

/// Why something can't be written, and what helps.
struct Bar {
    why: String,
    remedy: &'static str,
}

impl Bar {
    fn into_fault(self) -> Fault {
        Fault::fatal(FaultCode::Configuration, self.why, self.remedy)
    }

    fn into_words(self) -> String {
        format!("{}; {}", self.why, self.remedy)
    }
}

fn no_upsert(described: &Described, object: &str, field: &str) -> Option<Bar> {
    let refused = !described.open && described.field(field).is_some_and(|field| !field.external_id);
    refused.then(|| Bar {
        why: format!("Salesforce can't upsert {object} by {field}: it is no external id"),
        remedy: "tick External ID and Unique at this field in the Object Manager, or name another field as \
                 external_id_field",
    })
}

fn no_write(described: &Described, object: &str, field: &str) -> Option<Bar> {
    let refused = !described.open && described.field(field).is_some_and(|field| !field.writable);
    refused.then(|| Bar {
        why: format!("our user can't write the field {field} of the Salesforce object {object}"),
        remedy: "take it out of the mapping of this direction, or give the user edit access to the field",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::{Key, Value};

    fn described() -> Described {
        Described::decode(
            br#"{"fields":[{"name":"Ext__c","type":"string","externalId":true,"createable":true,"updateable":true},
            {"name":"Name","type":"string","externalId":false,"createable":true,"updateable":true},
            {"name":"Total","type":"double","createable":false,"updateable":false}]}"#,
        )
        .expect("a description")
    }

    #[test]
    fn what_no_record_can_mend_is_said_at_once() {
        let described = described();
        assert!(check_upsert(&described, "X", "ext__C").is_ok());
        let fault = check_upsert(&described, "X", "Name").expect_err("no external id");
        assert!(fault.remedy.is_some_and(|remedy| remedy.contains("External ID")));
        let names = ["Name", "Total"].map(str::to_owned);
        // (values, fine, why)
        let cases = [
            (["n".into(), Value::Absent], true, "only read there"),
            (["n".into(), Value::Int(1)], false, "a formula"),
            (["n".into(), Value::Null], false, "also to clear it"),
        ];
        for (values, fine, why) in cases {
            let delivery = Delivery {
                key: Key::from_text("1").expect("a key"),
                id: None,
                write: Write::Update(values.to_vec().into()),
                expected: None,
                revision: None,
            };
            let checked = check_fields(&described, "X", &names, &[&delivery], |_| false);
            assert_eq!(checked.is_ok(), fine, "{why}");
            assert!(
                check_fields(&described, "X", &names, &[&delivery], |_| true).is_ok(),
                "the key's own way"
            );
        }
    }
}
