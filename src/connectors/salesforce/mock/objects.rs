//! The object types of the mock: the declared ones, and those that grow by use.

use serde_json::{Value as Json, json};

use super::errors::ApiError;
use super::relations::{by_field, children_of};
use crate::connectors::mock::Table;
use crate::engine::record::Value;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Id,
    Reference,
    String,
    Textarea,
    Boolean,
    Int,
    Double,
    Currency,
    Date,
    Datetime,
    Email,
    Phone,
    Url,
    Picklist,
}

/// A field of an object type.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    #[serde(skip)]
    pub flags: Flags,
}

/// What may be done with a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The system sets it; nobody else may.
    pub read_only: bool,
    pub required: bool,
    /// Identifies records, and no two have the same, case ignored.
    pub external_id: bool,
}

/// An object type.
#[derive(Clone, Debug)]
pub struct ObjectType {
    pub name: String,
    pub prefix: String,
    pub fields: Vec<Field>,
    /// Unknown fields become fields on first use.
    pub open: bool,
}

const PLAIN: Flags = Flags { read_only: false, required: false, external_id: false };
const READ_ONLY: Flags = Flags { read_only: true, ..PLAIN };
const REQUIRED: Flags = Flags { required: true, ..PLAIN };
const EXTERNAL: Flags = Flags { external_id: true, ..PLAIN };

type Declared = (&'static str, Kind, Flags);

const SYSTEM: &[Declared] = &[
    ("Id", Kind::Id, READ_ONLY),
    ("IsDeleted", Kind::Boolean, READ_ONLY),
    ("CreatedDate", Kind::Datetime, READ_ONLY),
    ("CreatedById", Kind::Reference, READ_ONLY),
    ("LastModifiedDate", Kind::Datetime, READ_ONLY),
    ("LastModifiedById", Kind::Reference, READ_ONLY),
    ("SystemModstamp", Kind::Datetime, READ_ONLY),
];

const ACCOUNT: &[Declared] = &[
    ("Name", Kind::String, REQUIRED),
    ("Type", Kind::Picklist, PLAIN),
    ("ParentId", Kind::Reference, PLAIN),
    ("Phone", Kind::Phone, PLAIN),
    ("Website", Kind::Url, PLAIN),
    ("Industry", Kind::Picklist, PLAIN),
    ("AnnualRevenue", Kind::Currency, PLAIN),
    ("NumberOfEmployees", Kind::Int, PLAIN),
    ("Description", Kind::Textarea, PLAIN),
    ("BillingStreet", Kind::Textarea, PLAIN),
    ("BillingCity", Kind::String, PLAIN),
    ("BillingCountry", Kind::String, PLAIN),
    ("External_Id__c", Kind::String, EXTERNAL),
];

const CONTACT: &[Declared] = &[
    ("AccountId", Kind::Reference, PLAIN),
    ("LastName", Kind::String, REQUIRED),
    ("FirstName", Kind::String, PLAIN),
    ("Name", Kind::String, READ_ONLY),
    ("Email", Kind::Email, PLAIN),
    ("Phone", Kind::Phone, PLAIN),
    ("MobilePhone", Kind::Phone, PLAIN),
    ("Title", Kind::String, PLAIN),
    ("Department", Kind::String, PLAIN),
    ("Birthdate", Kind::Date, PLAIN),
    ("LeadSource", Kind::Picklist, PLAIN),
    ("Description", Kind::Textarea, PLAIN),
    ("MailingStreet", Kind::Textarea, PLAIN),
    ("MailingCity", Kind::String, PLAIN),
    ("MailingCountry", Kind::String, PLAIN),
    ("DoNotCall", Kind::Boolean, PLAIN),
    ("HasOptedOutOfEmail", Kind::Boolean, PLAIN),
    ("External_Id__c", Kind::String, EXTERNAL),
];

const ORGANIZATION: &[Declared] = &[
    ("Name", Kind::String, REQUIRED),
    ("InstanceName", Kind::String, READ_ONLY),
    ("IsSandbox", Kind::Boolean, READ_ONLY),
    ("OrganizationType", Kind::Picklist, READ_ONLY),
    ("NamespacePrefix", Kind::String, READ_ONLY),
    ("TrialExpirationDate", Kind::Datetime, READ_ONLY),
];

const USER: &[Declared] = &[
    ("Username", Kind::String, REQUIRED),
    ("LastName", Kind::String, REQUIRED),
    ("FirstName", Kind::String, PLAIN),
    ("Name", Kind::String, READ_ONLY),
    ("Email", Kind::Email, PLAIN),
    ("IsActive", Kind::Boolean, PLAIN),
];

/// Key prefixes of well-known types; others get one of the custom range.
const PREFIXES: &[(&str, &str)] = &[
    ("Account", "001"),
    ("Contact", "003"),
    ("User", "005"),
    ("Opportunity", "006"),
    ("Lead", "00Q"),
    ("Task", "00T"),
    ("Event", "00U"),
    ("Case", "500"),
    ("Organization", "00D"),
];

/// The part of a type that grew, as it is kept.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Grown {
    prefix: String,
    fields: Vec<Field>,
}

impl ObjectType {
    /// Finds a type by its name, case ignored. An open mock knows every name that could be one.
    pub fn find(table: &Table, strict: bool, name: &str) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let known = |known: &&str| known.eq_ignore_ascii_case(name);
        let kept = (!strict).then(|| grown_names(table)).into_iter().flatten();
        let named = ["Account", "Contact", "Organization", "User"].iter().copied().find(known);
        let usual = PREFIXES.iter().map(|(usual, _)| *usual).find(known);
        let name = match named {
            Some(named) => named.to_owned(),
            None if strict => return None,
            None => {
                let kept = kept.into_iter().find(|kept| kept.eq_ignore_ascii_case(name));
                kept.unwrap_or_else(|| usual.unwrap_or(name).to_owned())
            }
        };
        let declared = match name.as_str() {
            "Account" => ACCOUNT,
            // An open Contact has no Name of its own: there it is a field like any other.
            "Contact" if strict => CONTACT,
            "Organization" => ORGANIZATION,
            "User" => USER,
            _ => &[],
        };
        let mut fields: Vec<Field> = SYSTEM.iter().chain(declared).map(field).collect();
        let mut prefix = PREFIXES.iter().find(|(usual, _)| *usual == name).map(|(_, prefix)| *prefix);
        let grown = grown(table, &name).unwrap_or_default();
        if !strict {
            for field in &mut fields {
                field.flags.required = false;
                field.flags.external_id = false;
            }
            fields.extend(grown.fields);
            prefix = prefix.or(Some(&grown.prefix).filter(|prefix| !prefix.is_empty()).map(String::as_str));
        }
        let prefix = prefix.map_or_else(|| custom_prefix(table), str::to_owned);
        Some(Self { name, prefix, fields, open: !strict })
    }

    /// Lists all types that exist.
    pub fn all(table: &Table, strict: bool) -> Vec<Self> {
        let mut names: Vec<String> = ["Account", "Contact", "Organization", "User"].map(str::to_owned).into();
        if !strict {
            names.extend(grown_names(table).filter(|name| !names.contains(name)).collect::<Vec<_>>());
        }
        names.iter().filter_map(|name| Self::find(table, strict, name)).collect()
    }

    /// Finds a field by its name, case ignored.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Finds the field that a write names, letting an open type grow.
    pub fn field_to_write(
        &mut self,
        table: &mut Table,
        name: &str,
        value: &Value,
    ) -> Result<Field, ApiError> {
        if let Some(field) = self.field(name) {
            return Ok(field.clone());
        }
        if !self.open || !is_name(name) {
            let message = format!("No such column '{name}' on sobject of type {}", self.name);
            return Err(ApiError::new(400, "INVALID_FIELD", message));
        }
        let kind = match value {
            Value::Bool(_) => Kind::Boolean,
            Value::Int(_) | Value::Number(_) => Kind::Double,
            _ => Kind::String,
        };
        let field = Field { name: name.to_owned(), kind, flags: PLAIN };
        let mut kept = grown(table, &self.name).unwrap_or_default();
        kept.prefix.clone_from(&self.prefix);
        kept.fields.push(field.clone());
        if let Ok(text) = serde_json::to_string(&kept) {
            table.set_fact(&format!("object:{}", self.name), text);
        }
        self.fields.push(field.clone());
        Ok(field)
    }

    /// Writes the describe answer.
    pub fn describe(&self, root: &str) -> Json {
        let fields: Vec<Json> = self.fields.iter().map(|field| field.describe(self)).collect();
        let mut answer = self.summary(root);
        if let Some(members) = answer.as_object_mut() {
            members.insert("fields".to_owned(), json!(fields));
            let children = children_of(&self.name).map(|(child, field, name)| {
                json!({ "childSObject": child, "field": field, "relationshipName": name, "cascadeDelete": false })
            });
            members.insert("childRelationships".to_owned(), children.collect());
            members.insert("recordTypeInfos".to_owned(), json!([]));
            if self.open {
                // Not of the real API: tells our own client that SELECT may name any field.
                members.insert("recordSync".to_owned(), json!({ "open": true }));
            }
        }
        answer
    }

    /// Writes the type's entry of the global describe.
    pub fn summary(&self, root: &str) -> Json {
        let path = format!("{root}/sobjects/{}", self.name);
        json!({
            "name": self.name, "label": self.name, "labelPlural": format!("{}s", self.name),
            "keyPrefix": self.prefix, "custom": self.name.ends_with("__c"),
            "queryable": true, "createable": true, "updateable": true, "deletable": true,
            "retrieveable": true, "replicateable": true, "searchable": true, "undeletable": true,
            "urls": {
                "sobject": path, "describe": format!("{path}/describe"), "rowTemplate": format!("{path}/{{ID}}"),
            },
        })
    }
}

impl Field {
    fn describe(&self, owner: &ObjectType) -> Json {
        let leads = by_field(&owner.name, &self.name);
        let writable = !self.flags.read_only;
        let length = match self.kind {
            Kind::Id | Kind::Reference => 18,
            Kind::Textarea => 32_000,
            Kind::Boolean | Kind::Int | Kind::Double | Kind::Currency | Kind::Date | Kind::Datetime => 0,
            Kind::Email => 80,
            Kind::Phone => 40,
            _ => 255,
        };
        let soap = match self.kind {
            Kind::Id | Kind::Reference => "tns:ID",
            Kind::Boolean => "xsd:boolean",
            Kind::Int => "xsd:int",
            Kind::Double | Kind::Currency => "xsd:double",
            Kind::Date => "xsd:date",
            Kind::Datetime => "xsd:dateTime",
            _ => "xsd:string",
        };
        json!({
            "name": self.name, "label": self.name, "type": self.kind, "soapType": soap,
            "length": length, "precision": 0, "scale": 0, "digits": 0,
            "nillable": writable && !self.flags.required,
            "createable": writable, "updateable": writable,
            "filterable": self.kind != Kind::Textarea, "sortable": self.kind != Kind::Textarea,
            "externalId": self.flags.external_id || owner.open && writable,
            "idLookup": self.flags.external_id || self.kind == Kind::Id,
            "unique": self.flags.external_id, "caseSensitive": false,
            "custom": self.name.ends_with("__c"), "calculated": false,
            "defaultedOnCreate": !writable, "picklistValues": [],
            "referenceTo": leads.map(|(_, to)| to).into_iter().collect::<Vec<_>>(),
            "relationshipName": leads.map(|(name, _)| name),
        })
    }

    /// Returns how many characters fit.
    pub fn length_max(&self) -> usize {
        match self.kind {
            Kind::Textarea => 32_000,
            Kind::Email => 80,
            Kind::Phone => 40,
            _ => 255,
        }
    }
}

fn field((name, kind, flags): &Declared) -> Field {
    Field { name: (*name).to_owned(), kind: *kind, flags: *flags }
}

/// Tells whether a text could name a field or a type.
pub fn is_name(text: &str) -> bool {
    let letters = text.as_bytes();
    letters.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && letters.len() <= 80
        && letters.iter().all(|letter| letter.is_ascii_alphanumeric() || *letter == b'_')
}

fn grown(table: &Table, name: &str) -> Option<Grown> {
    serde_json::from_str(table.fact(&format!("object:{name}"))?).ok()
}

fn grown_names(table: &Table) -> impl Iterator<Item = String> {
    table.facts("object:").map(|(name, _)| name.to_owned())
}

/// Gives the next free prefix of the custom range: a00 to a0z, then a10 …
fn custom_prefix(table: &Table) -> String {
    let taken = grown_names(table).count() as u64;
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let digit = |place: u64| digits.get((place % 62) as usize).copied().unwrap_or('0');
    format!("a{}{}", digit(taken / 62), digit(taken))
}
