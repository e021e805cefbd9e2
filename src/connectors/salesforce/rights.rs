//! Whether saves can succeed at all, by what describe says: what no record can mend is said once, and not of
//! every record.

use super::wire::Described;
use crate::connectors::{Delivery, Write};
use crate::engine::fault::{Fault, FaultCode};

/// Refuses to upsert by a field that the object does not take for that.
pub fn check_upsert(described: &Described, object: &str, field: &str) -> Result<(), Fault> {
    if described.open || described.field(field).is_none_or(|field| field.external_id) {
        return Ok(());
    }
    Err(Fault::fatal(
        FaultCode::Configuration,
        format!("Salesforce can't upsert {object} by {field}: it is no external id"),
        "tick External ID and Unique at this field in the Object Manager, or name another field as external_id_field",
    ))
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
        if is_of_key(name) || described.open || described.field(name).is_none_or(|field| field.writable) {
            continue;
        }
        let sets = |delivery: &&&Delivery| match &delivery.write {
            Write::Create(values) | Write::Update(values) => {
                values.get(place).is_some_and(|value| !value.is_missing())
            }
            Write::Delete => false,
        };
        if deliveries.iter().any(|delivery| sets(&delivery)) {
            return Err(Fault::fatal(
                FaultCode::Configuration,
                format!("our user can't write the field {name} of the Salesforce object {object}"),
                "take it out of the mapping of this direction, or give the user edit access to the field",
            ));
        }
    }
    Ok(())
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
                write: Write::Update(values.to_vec()),
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
