//! Requests within requests, and records by way of others: what the mock makes of them.

use super::{World, json, open_org, strict_org, text};

fn ask(org: &World, method: &str, path: &str, body: &serde_json::Value) -> serde_json::Value {
    let reply = org.api(method, path, &body.to_string());
    assert!(reply.status < 300, "{path}: {}", text(&reply));
    json(&reply)
}

fn query(org: &World, soql: &str) -> serde_json::Value {
    let soql: String = url::form_urlencoded::byte_serialize(soql.as_bytes()).collect();
    json(&org.api("GET", &format!("query?q={soql}"), ""))
}

#[tokio::test]
async fn later_parts_take_over_from_earlier_ones() {
    let org = strict_org().await;
    let body = serde_json::json!({ "allOrNone": true, "compositeRequest": [
        { "method": "POST", "url": "/services/data/v61.0/sobjects/Account", "referenceId": "acme",
          "body": { "Name": "Acme \"Ltd\"", "AnnualRevenue": 0.1 } },
        { "method": "GET", "url": "/services/data/v61.0/sobjects/Account/@{acme.id}?fields=Name", "referenceId": "read" },
        { "method": "POST", "url": "/services/data/v61.0/sobjects/Contact", "referenceId": "ann",
          "body": { "LastName": "Ann", "AccountId": "@{acme.id}", "Title": "@{read.Name}" } },
        { "method": "GET", "referenceId": "found",
          "url": "/services/data/v61.0/query?q=SELECT+Id,Title+FROM+Contact+WHERE+AccountId='@{acme.id}'" },
        { "method": "PATCH", "url": "/services/data/v61.0/sobjects/Contact/@{found.records[0].Id}", "referenceId": "last",
          "body": { "Email": "ann@example.test" } },
    ]});
    org.forget_arrivals();
    let answer = ask(&org, "POST", "composite", &body);
    let parts = answer["compositeResponse"].as_array().unwrap();
    let told: Vec<(u64, &str)> = parts
        .iter()
        .map(|part| (part["httpStatusCode"].as_u64().unwrap(), part["referenceId"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [(201, "acme"), (200, "read"), (201, "ann"), (200, "found"), (204, "last")]);
    assert!(parts[0]["httpHeaders"]["Location"].as_str().unwrap().contains("/sobjects/Account/001"));
    assert_eq!(
        (&parts[4]["body"], &parts[4]["httpHeaders"]),
        (&serde_json::Value::Null, &serde_json::json!({}))
    );
    assert_eq!(org.standing()[0]["Title"], "Acme \"Ltd\"");
    assert_eq!(org.arrivals(), ["POST /composite 200 3"], "one call, three records saved");
}

#[tokio::test]
async fn all_or_none_leaves_none() {
    let org = strict_org().await;
    let part = |name: &str, body: serde_json::Value| serde_json::json!({ "method": "POST", "url": "/services/data/v61.0/sobjects/Contact", "referenceId": name, "body": body });
    let parts = [
        part("good", serde_json::json!({ "LastName": "Good" })),
        part("bad", serde_json::json!({ "FirstName": "Bad" })),
        part("late", serde_json::json!({ "LastName": "@{bad.id}" })),
    ];
    for (all_or_none, statuses, left) in [(true, [400, 400, 400], 0), (false, [201, 400, 400], 1)] {
        let body = serde_json::json!({ "allOrNone": all_or_none, "compositeRequest": parts });
        let answer = ask(&org, "POST", "composite", &body);
        let parts = answer["compositeResponse"].as_array().unwrap();
        let told: Vec<u64> = parts.iter().map(|part| part["httpStatusCode"].as_u64().unwrap()).collect();
        assert_eq!(told, statuses, "{answer}");
        assert_eq!(parts[1]["body"][0]["errorCode"], "REQUIRED_FIELD_MISSING", "the bad one keeps its own");
        assert_eq!(parts[2]["body"][0]["errorCode"], "PROCESSING_HALTED");
        assert_eq!(org.standing().len(), left);
    }
    // A collection within, that is all or none by itself, does not forget the way back of the whole.
    let body = serde_json::json!({ "allOrNone": true, "compositeRequest": [
        { "method": "POST", "url": "/services/data/v61.0/composite/sobjects", "referenceId": "list", "body":
          { "allOrNone": true, "records": [{ "attributes": { "type": "Contact" }, "LastName": "In a list" }] } },
        parts[1],
    ]});
    ask(&org, "POST", "composite", &body);
    assert_eq!(org.standing().len(), 1, "only the one from before");
}

#[tokio::test]
async fn batches_go_on_or_halt() {
    let org = strict_org().await;
    let requests = serde_json::json!([
        { "method": "POST", "url": "v61.0/sobjects/Account", "richInput": { "Name": "One" } },
        { "method": "POST", "url": "v61.0/sobjects/Account", "richInput": {} },
        { "method": "GET", "url": "v61.0/query?q=SELECT+COUNT()+FROM+Account" },
        { "method": "GET", "url": "v61.0/composite/batch" },
    ]);
    for (halt, statuses) in [(false, [201, 400, 200, 400]), (true, [201, 400, 412, 412])] {
        let answer = ask(
            &org,
            "POST",
            "composite/batch",
            &serde_json::json!({ "haltOnError": halt, "batchRequests": requests }),
        );
        assert_eq!(answer["hasErrors"], true);
        let results = answer["results"].as_array().unwrap();
        let told: Vec<u64> = results.iter().map(|part| part["statusCode"].as_u64().unwrap()).collect();
        assert_eq!(told, statuses, "{answer}");
        assert_eq!(results[1]["result"][0]["errorCode"], "REQUIRED_FIELD_MISSING");
    }
    let many = vec![requests[2].clone(); 26];
    let refused =
        org.api("POST", "composite/batch", &serde_json::json!({ "batchRequests": many }).to_string());
    assert_eq!(refused.status, 400, "25 at most");
}

#[tokio::test]
async fn trees_grow_whole_or_not_at_all() {
    let org = strict_org().await;
    let contact = |reference: &str, fields: serde_json::Value| {
        let mut contact =
            serde_json::json!({ "attributes": { "type": "Contact", "referenceId": reference } });
        contact.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        contact
    };
    let tree = |second: serde_json::Value| {
        serde_json::json!({ "records": [{
            "attributes": { "type": "Account", "referenceId": "acme" }, "Name": "Acme",
            "Contacts": { "records": [contact("ann", serde_json::json!({ "LastName": "Ann" })), second] },
        }]})
    };
    let bad = tree(contact("ben", serde_json::json!({ "LastName": "Ben", "Email": "no address" })));
    let refused = org.api("POST", "composite/tree/Account", &bad.to_string());
    assert_eq!(refused.status, 400);
    assert_eq!(
        json(&refused),
        serde_json::json!({ "hasErrors": true, "results": [{ "referenceId": "ben", "errors": [{
            "statusCode": "INVALID_EMAIL_ADDRESS", "message": "Email: invalid email address: no address", "fields": ["Email"],
        }]}]})
    );
    assert!(org.standing().is_empty() && query(&org, "SELECT COUNT() FROM Account")["totalSize"] == 0);
    let good = tree(contact("ben", serde_json::json!({ "LastName": "Ben" })));
    let made = org.api("POST", "composite/tree/Account", &good.to_string());
    assert_eq!(made.status, 201, "{}", text(&made));
    let references: Vec<String> = json(&made)["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["referenceId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(references, ["acme", "ann", "ben"]);
    assert_eq!(query(&org, "SELECT COUNT() FROM Contact WHERE Account.Name = 'acme'")["totalSize"], 2);
}

#[tokio::test]
async fn records_are_reached_by_way_of_others() {
    let org = strict_org().await;
    for (name, key) in [("Acme", "a"), ("Bolt", "b")] {
        ask(&org, "POST", "sobjects/Account", &serde_json::json!({ "Name": name, "External_Id__c": key }));
    }
    // Saves name the parent by its external id.
    let leads = |key: &str| serde_json::json!({ "External_Id__c": key });
    for (last, to) in [("Ann", "B"), ("Ben", "a")] {
        ask(&org, "POST", "sobjects/Contact", &serde_json::json!({ "LastName": last, "Account": leads(to) }));
    }
    ask(&org, "POST", "sobjects/Contact", &serde_json::json!({ "LastName": "Cid" }));
    let lost = org.api(
        "POST",
        "sobjects/Contact",
        &serde_json::json!({ "LastName": "x", "Account": leads("z") }).to_string(),
    );
    assert_eq!(
        json(&lost)[0]["message"],
        "Foreign key external ID: z not found for field External_Id__c in entity Account"
    );
    // Queries walk along, in every clause.
    let found = query(
        &org,
        "SELECT LastName, Account.Name, Account.Owner__c, account.external_id__c, Contact.Title FROM Contact",
    );
    assert_eq!(found[0]["errorCode"], "INVALID_FIELD", "no such column at the other end: {found}");
    let found = query(
        &org,
        "SELECT LastName, Account.Name, account.external_id__c, CreatedBy.Username FROM Contact ORDER BY Account.Name NULLS LAST",
    );
    let rows = found["records"].as_array().unwrap();
    let told: Vec<(&str, Option<&str>)> =
        rows.iter().map(|row| (row["LastName"].as_str().unwrap(), row["Account"]["Name"].as_str())).collect();
    assert_eq!(told, [("Ben", Some("Acme")), ("Ann", Some("Bolt")), ("Cid", None)]);
    assert_eq!(rows[0]["Account"]["attributes"]["type"], "Account");
    assert_eq!(rows[2]["Account"], serde_json::Value::Null);
    assert_eq!(rows[0]["CreatedBy"]["Username"], "sync@example.test");
    let where_ =
        query(&org, "SELECT Id FROM Contact WHERE Account.External_Id__c IN ('A') OR Account.Name = null");
    assert_eq!(where_["totalSize"], 2, "{where_}");
    let unknown = query(&org, "SELECT Owner.Name FROM Contact");
    assert!(
        unknown[0]["message"].as_str().unwrap().starts_with("Didn't understand relationship 'Owner'"),
        "{unknown}"
    );
    // Describe tells the way.
    let described = json(&org.api("GET", "sobjects/Contact/describe", ""));
    let field =
        described["fields"].as_array().unwrap().iter().find(|field| field["name"] == "AccountId").unwrap();
    assert_eq!(
        (&field["relationshipName"], &field["referenceTo"]),
        (&"Account".into(), &serde_json::json!(["Account"]))
    );
    let described = json(&org.api("GET", "sobjects/Account/describe", ""));
    assert_eq!(described["childRelationships"][1]["relationshipName"], "Contacts");
}

#[tokio::test]
async fn an_open_org_keeps_what_only_looks_like_a_way() {
    let org = open_org().await;
    ask(
        &org,
        "POST",
        "sobjects/Contact",
        &serde_json::json!({ "record_id": "k", "address": { "city": "X" } }),
    );
    assert_eq!(org.standing()[0]["address"], serde_json::json!({ "city": "X" }));
}
