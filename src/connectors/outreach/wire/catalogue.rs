//! The attributes of the resources that are synced most, from the vendor's published schema.
//!
//! The connector asks the service first and uses these names for remedies and for empty streams;
//! the mock holds its clients to them when it is strict.

use std::collections::BTreeMap;

use super::names::Resource;

/// What is known of one kind of resource.
#[derive(Debug)]
pub struct Kind {
    pub singular: &'static str,
    /// Attributes, customN left out.
    pub attributes: &'static [&'static str],
    pub filterable: &'static [&'static str],
    /// Attributes that nobody sets.
    pub read_only: &'static [&'static str],
    /// Attributes that hold a list.
    pub lists: &'static [&'static str],
    pub required: &'static [&'static str],
    /// Relationships to one.
    pub to_one: &'static [&'static str],
    /// `custom1` to `custom150` exist.
    pub custom: bool,
}

const CUSTOM_MAX: u32 = 150;

/// Why an attribute can't be written, and what helps.
const READ_ONLY: &str = "Outreach sets it itself; take it out of the mapping of this direction";

/// Every kind that is known.
pub const KINDS: &[Kind] = &[
    Kind {
        singular: "prospect",
        attributes: &[
            "addedAt",
            "addressCity",
            "addressCountry",
            "addressState",
            "addressStreet",
            "addressStreet2",
            "addressZip",
            "availableAt",
            "callOptedOut",
            "campaignName",
            "company",
            "createdAt",
            "dateOfBirth",
            "degree",
            "emailOptedOut",
            "emails",
            "engagedAt",
            "engagedScore",
            "eventName",
            "externalId",
            "externalOwner",
            "externalSource",
            "firstName",
            "gender",
            "githubUrl",
            "githubUsername",
            "homePhones",
            "jobStartDate",
            "lastName",
            "linkedInConnections",
            "linkedInId",
            "linkedInSlug",
            "linkedInUrl",
            "middleName",
            "mobilePhones",
            "name",
            "nickname",
            "occupation",
            "openCount",
            "optedOut",
            "optedOutAt",
            "otherPhones",
            "personalNote1",
            "personalNote2",
            "preferredContact",
            "region",
            "replyCount",
            "school",
            "score",
            "sharingTeamId",
            "source",
            "specialties",
            "stackOverflowId",
            "tags",
            "timeZone",
            "title",
            "touchedAt",
            "trashedAt",
            "twitterUrl",
            "twitterUsername",
            "updatedAt",
            "voipPhones",
            "websiteUrl1",
            "websiteUrl2",
            "websiteUrl3",
            "workPhones",
        ],
        filterable: &[
            "createdAt",
            "emails",
            "engagedAt",
            "engagedScore",
            "externalSource",
            "firstName",
            "githubUsername",
            "id",
            "lastName",
            "linkedInId",
            "linkedInSlug",
            "sharingTeamId",
            "stackOverflowId",
            "timeZone",
            "title",
            "touchedAt",
            "twitterUsername",
            "updatedAt",
        ],
        read_only: &[
            "createdAt",
            "engagedAt",
            "engagedScore",
            "name",
            "openCount",
            "optedOutAt",
            "replyCount",
            "touchedAt",
            "updatedAt",
        ],
        lists: &["emails", "homePhones", "mobilePhones", "otherPhones", "tags", "voipPhones", "workPhones"],
        required: &[],
        to_one: &["account", "creator", "owner", "persona", "stage", "updater"],
        custom: true,
    },
    Kind {
        singular: "account",
        attributes: &[
            "annualRevenueRange",
            "buyerIntentScore",
            "companyType",
            "createdAt",
            "customId",
            "description",
            "domain",
            "externalSource",
            "followers",
            "foundedAt",
            "industry",
            "linkedInEmployees",
            "linkedInUrl",
            "locality",
            "naicsCodes",
            "name",
            "named",
            "naturalName",
            "numberOfEmployees",
            "sharingTeamId",
            "sicCodes",
            "tags",
            "tickerSymbol",
            "touchedAt",
            "updatedAt",
            "websiteUrl",
        ],
        filterable: &[
            "buyerIntentScore",
            "createdAt",
            "customId",
            "domain",
            "id",
            "name",
            "named",
            "sharingTeamId",
            "touchedAt",
            "updatedAt",
        ],
        read_only: &["createdAt", "touchedAt", "updatedAt"],
        lists: &["naicsCodes", "sicCodes", "tags"],
        required: &["name"],
        to_one: &["creator", "owner", "updater"],
        custom: true,
    },
    Kind {
        singular: "stage",
        attributes: &["color", "createdAt", "name", "order", "updatedAt"],
        filterable: &["createdAt", "id", "name", "order", "updatedAt"],
        read_only: &["createdAt", "updatedAt"],
        lists: &[],
        required: &["name"],
        to_one: &["creator", "updater"],
        custom: false,
    },
    Kind {
        singular: "user",
        attributes: &[
            "createdAt",
            "email",
            "firstName",
            "lastName",
            "locked",
            "name",
            "phoneNumber",
            "title",
            "updatedAt",
            "username",
        ],
        filterable: &["createdAt", "email", "firstName", "id", "lastName", "locked", "updatedAt", "username"],
        read_only: &["createdAt", "name", "updatedAt"],
        lists: &[],
        required: &["email"],
        to_one: &[],
        custom: false,
    },
];

/// Finds what is known of a resource.
pub fn kind_of(resource: &Resource) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.singular == resource.singular)
}

impl Kind {
    /// Tells whether an attribute exists.
    pub fn has(&self, name: &str) -> bool {
        self.attributes.contains(&name) || (self.custom && is_custom(name))
    }
}

fn is_custom(name: &str) -> bool {
    name.strip_prefix("custom")
        .filter(|digits| !digits.starts_with('0'))
        .and_then(|digits| digits.parse::<u32>().ok())
        .is_some_and(|number| (1..=CUSTOM_MAX).contains(&number))
}

/// Names the fields that a resource is known to have; none where nothing is known of it.
pub fn attributes_of(resource: &Resource) -> Vec<String> {
    let Some(kind) = kind_of(resource) else { return Vec::new() };
    let own = kind.attributes.iter().map(|name| (*name).to_owned());
    let relations = kind.to_one.iter().map(|name| format!("{name}.id"));
    let custom = (1..=if kind.custom { CUSTOM_MAX } else { 0 }).map(|number| format!("custom{number}"));
    own.chain(relations).chain(custom).collect()
}

/// Lists the attributes that nobody sets, with what helps.
pub fn barred(resource: &Resource) -> BTreeMap<String, String> {
    let names = kind_of(resource).into_iter().flat_map(|kind| kind.read_only);
    names.map(|name| ((*name).to_owned(), READ_ONLY.to_owned())).collect()
}

/// Names the fields that make a fit key, best first.
pub fn keys_of(resource: &Resource) -> Vec<String> {
    let keys: &[&str] = match resource.singular.as_str() {
        "account" => &["customId", "domain", "name", "id"],
        "user" => &["email", "id"],
        "stage" => &["name", "id"],
        _ => &["id"],
    };
    keys.iter().map(|key| format!("\"{key}\"")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_attribute_exists() {
        for kind in KINDS {
            let named = kind.filterable.iter().chain(kind.read_only).chain(kind.lists).chain(kind.required);
            for name in named.filter(|name| **name != "id") {
                assert!(kind.has(name), "{} {name}", kind.singular);
            }
        }
        for (name, exists) in [
            ("custom1", true),
            ("custom150", true),
            ("custom151", false),
            ("custom0", false),
            ("custom01", false),
        ] {
            assert_eq!(KINDS[0].has(name), exists, "{name}");
        }
    }
}
