//! The mock's API as any client sees it.

use record_sync::connectors::mock::Reply;
use record_sync::engine::record::{Record, Timestamp};
use serde_json::json;

use super::{World, json as body, open_org, strict_org, text};
use crate::conformance::{Harness, Row};

/// Runs `METHOD path body → status, part of the reply` one after the other.
fn story(world: &World, steps: &[(&str, &str, &str, u16, &str)]) {
    for (method, path, sent, status, part) in steps {
        let reply = world.api(method, path, sent);
        let said = text(&reply);
        assert_eq!(reply.status, *status, "{method} {path}: {said}");
        assert!(said.contains(part), "{method} {path}: {said} lacks {part}");
    }
}

#[tokio::test]
async fn a_strict_org_answers_as_the_real_one() {
    let world = strict_org().await;
    story(
        &world,
        &[
            ("GET", "", "", 200, r#""sobjects":"/services/data/v61.0/sobjects""#),
            ("GET", "limits/", "", 200, r#""DailyApiRequests":{"Max":15000"#),
            ("GET", "sobjects", "", 200, r#""maxBatchSize":200"#),
            ("GET", "sobjects/contact/describe", "", 200, r#""externalId":true"#),
            ("GET", "sobjects/Nope", "", 404, "NOT_FOUND"),
            (
                "POST",
                "sobjects/Contact/",
                r#"{"FirstName":"x"}"#,
                400,
                "Required fields are missing: [LastName]",
            ),
            (
                "POST",
                "sobjects/Contact",
                r#"{"LastName":"x","Nope":1}"#,
                400,
                "No such column 'Nope' on sobject of type Contact",
            ),
            (
                "POST",
                "sobjects/Contact",
                r#"{"LastName":"x","Name":"y"}"#,
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
            ),
            ("POST", "sobjects/Contact", r#"{"LastName":"x","Email":"nope"}"#, 400, "INVALID_EMAIL_ADDRESS"),
            ("POST", "sobjects/Contact", r#"{"LastName":7}"#, 400, "INVALID_TYPE_ON_FIELD_IN_RECORD"),
            ("POST", "sobjects/Contact", "{", 400, "JSON_PARSER_ERROR"),
            (
                "POST",
                "sobjects/Contact",
                r#"{"LastName":" Ada ","External_Id__c":"E1"}"#,
                201,
                r#""id":"003ak0000000001AAA""#,
            ),
            (
                "GET",
                "sobjects/Contact/003ak0000000001?fields=LastName,Email",
                "",
                200,
                r#""LastName":"Ada","Email":null"#,
            ),
            (
                "POST",
                "sobjects/Contact",
                r#"{"LastName":"Twin","External_Id__c":"e1"}"#,
                400,
                "DUPLICATE_VALUE",
            ),
            ("PATCH", "sobjects/Contact/External_Id__c/e1", r#"{"Phone":"1"}"#, 200, r#""created":false"#),
            (
                "PATCH",
                "sobjects/Contact/External_Id__c/E%2F2",
                r#"{"LastName":"Bob"}"#,
                201,
                r#""created":true"#,
            ),
            (
                "PATCH",
                "sobjects/Contact/External_Id__c/E3?updateOnly=true",
                r#"{"LastName":"C"}"#,
                404,
                "NOT_FOUND",
            ),
            ("PATCH", "sobjects/Contact/Phone/1", r#"{"LastName":"C"}"#, 404, "Provided external ID field"),
            ("GET", "sobjects/Contact/External_Id__c/E%2F2", "", 200, r#""LastName":"Bob""#),
            (
                "PATCH",
                "sobjects/Contact/003ak0000000001AAA",
                r#"{"LastName":null}"#,
                400,
                "REQUIRED_FIELD_MISSING",
            ),
            ("PATCH", "sobjects/Contact/003ak0000000001AAA", r#"{"Phone":null}"#, 204, ""),
            ("DELETE", "sobjects/Contact/003ak0000000001AAA", "", 204, ""),
            ("DELETE", "sobjects/Contact/003ak0000000001AAA", "", 404, "ENTITY_IS_DELETED"),
            ("GET", "sobjects/Contact/003ak0000000001AAA", "", 404, "ENTITY_IS_DELETED"),
            ("PUT", "sobjects/Contact/003ak0000000001AAA", "", 405, "METHOD_NOT_ALLOWED"),
            (
                "GET",
                "query?q=SELECT+COUNT()+FROM+Contact",
                "",
                200,
                r#""totalSize":1,"done":true,"records":[]"#,
            ),
            (
                "GET",
                "queryAll/?q=SELECT+Id,IsDeleted+FROM+Contact+WHERE+IsDeleted=true",
                "",
                200,
                r#""totalSize":1"#,
            ),
            ("GET", "query?q=SELECT+Id+FROM+Nope", "", 400, "sObject type 'Nope' is not supported"),
            ("GET", "query?q=SELECT+Nope+FROM+Contact", "", 400, "No such column 'Nope' on entity 'Contact'"),
            ("GET", "query?q=DELETE+Id", "", 400, "MALFORMED_QUERY"),
            ("GET", "query/01gak0000000001AAA-200", "", 400, "INVALID_QUERY_LOCATOR"),
            (
                "GET",
                "query?q=SELECT+Name,OrganizationType+FROM+Organization",
                "",
                200,
                r#""Name":"Mock Org""#,
            ),
            (
                "GET",
                "query?q=SELECT+Id+FROM+User+WHERE+Username='sync@example.test'",
                "",
                200,
                r#""totalSize":1"#,
            ),
            ("GET", "nothing/here", "", 404, "NOT_FOUND"),
        ],
    );
}

#[tokio::test]
async fn collections_answer_record_by_record() {
    let world = strict_org().await;
    let two = r#"{"allOrNone":ATOMIC,"records":[{"attributes":{"type":"Contact"},"LastName":"a"},{"attributes":{"type":"Contact"}}]}"#;
    let missing = r#"{"errors":[{"fields":["LastName"],"message":"Required fields are missing: [LastName]","statusCode":"REQUIRED_FIELD_MISSING"}],"success":false}"#;
    let said = body(&world.api("POST", "composite/sobjects", &two.replace("ATOMIC", "false")));
    assert_eq!(said[0]["success"], json!(true));
    assert_eq!(said[1], serde_json::from_str::<serde_json::Value>(missing).unwrap(), "no id member");
    let said = body(&world.api("POST", "composite/sobjects", &two.replace("ATOMIC", "true")));
    assert_eq!(said[0]["errors"][0]["statusCode"], json!("ALL_OR_NONE_OPERATION_ROLLED_BACK"));
    assert_eq!(said[1]["errors"][0]["statusCode"], json!("REQUIRED_FIELD_MISSING"));
    assert_eq!(world.standing().len(), 1, "rolled back");

    story(
        &world,
        &[
            ("POST", "composite/sobjects", r#"{"records":[]}"#, 400, "At least 1 record is required"),
            ("POST", "composite/sobjects", "nonsense", 400, "JSON_PARSER_ERROR"),
            (
                "PATCH",
                "composite/sobjects",
                r#"{"records":[{"attributes":{"type":"Contact"},"Phone":"1"}]}"#,
                200,
                "Id not specified in an update call",
            ),
            (
                "PATCH",
                "composite/sobjects/Contact/External_Id__c",
                r#"{"records":[{"attributes":{"type":"Contact"},"LastName":"u","External_Id__c":"x"}]}"#,
                200,
                r#""created":true"#,
            ),
            (
                "PATCH",
                "composite/sobjects/Contact/External_Id__c",
                r#"{"records":[{"attributes":{"type":"Contact"},"Phone":"1","External_Id__c":"X"}]}"#,
                200,
                r#""created":false"#,
            ),
            (
                "PATCH",
                "composite/sobjects/Contact/External_Id__c",
                r#"{"records":[{"attributes":{"type":"Contact"},"Phone":"1"}]}"#,
                200,
                "MISSING_ARGUMENT",
            ),
            (
                "POST",
                "composite/sobjects/Contact",
                r#"{"ids":["003ak0000000001","003ak000000000zAAA"],"fields":["LastName"]}"#,
                200,
                r#""LastName":"a"},null]"#,
            ),
            (
                "DELETE",
                "composite/sobjects?ids=003ak0000000001AAA,003ak0000000001AAA,nonsense&allOrNone=false",
                "",
                200,
                "ENTITY_IS_DELETED",
            ),
        ],
    );
    let many = vec![r#"{"attributes":{"type":"Contact"},"LastName":"x"}"#; 201].join(",");
    let reply = world.api("POST", "composite/sobjects", &format!(r#"{{"records":[{many}]}}"#));
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn a_long_result_comes_in_pages_of_one_snapshot() {
    let world = open_org().await;
    world.insert(&(0..450).map(Row::numbered).collect::<Vec<_>>()).await;
    let token = world.login();
    let headers = [("authorization", token.as_str()), ("sforce-query-options", "batchSize=200")];
    let get = |path: &str| -> Reply { world.ask("GET", path, &headers, "") };
    let first =
        body(&get("/services/data/v61.0/query?q=SELECT+record_id+FROM+Contact+ORDER+BY+record_id+DESC"));
    world.delete(&["k00000".to_owned()]).await;
    let second = body(&get(first["nextRecordsUrl"].as_str().unwrap()));
    let third = body(&get(second["nextRecordsUrl"].as_str().unwrap()));
    let size = |page: &serde_json::Value| {
        (page["records"].as_array().unwrap().len(), page["totalSize"].clone(), page["done"].clone())
    };
    assert_eq!(size(&first), (200, json!(450), json!(false)));
    assert_eq!(size(&third), (50, json!(450), json!(true)));
    assert_eq!(first["records"][0]["record_id"], json!("k00449"));
    assert_eq!(first["records"][0]["attributes"]["type"], json!("Contact"));
    assert!(third.get("nextRecordsUrl").is_none());
}

#[tokio::test]
async fn an_open_org_grows_by_use() {
    let world = open_org().await;
    story(
        &world,
        &[
            (
                "PATCH",
                "sobjects/Gadget__c/Code/7",
                r#"{"colour":"red","size":1.50}"#,
                201,
                r#""created":true"#,
            ),
            (
                "GET",
                "query?q=SELECT+COLOUR,size,Code,later+FROM+gadget__c",
                "",
                200,
                r#""colour":"red","size":1.50,"Code":"7","later":null"#,
            ),
            ("GET", "sobjects/Gadget__c/describe", "", 200, r#""recordSync":{"open":true}"#),
            ("GET", "sobjects", "", 200, r#""name":"Gadget__c""#),
        ],
    );
    let push = |record: &str| {
        let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(record).unwrap();
        let pairs = parsed
            .iter()
            .map(|(name, value)| (name.as_str(), record_sync::engine::record::value_from_json(value)));
        let record = Record::from_pairs(pairs);
        world.mock.push(None, "record_id", &record, Timestamp(1_769_853_600_000))
    };
    let first = push(
        r#"{"record_id":303,"full_name":"Mock303 User","email_address":"mock@sf.com","status":"active"}"#,
    );
    let second = push(r#"{"record_id":303,"full_name":"Changed"}"#);
    assert_eq!(first, second, "the same record");
    assert!(push(r#"{"full_name":"nobody"}"#).unwrap_err().contains("record_id"));
    let standing = world.standing();
    assert_eq!((standing.len(), &standing[0]["full_name"]), (1, &json!("Changed")));
    assert_eq!(standing[0]["record_id"], json!(303), "a number stays one");
    assert_eq!(standing[0]["email_address"], json!("mock@sf.com"), "what was not named stays");
}

#[tokio::test]
async fn what_went_and_what_changed_is_listed_by_time() {
    let world = open_org().await;
    world.insert(&[Row::numbered(1), Row::numbered(2)]).await;
    world.delete(&["k00001".to_owned()]).await;
    world.advance(120);
    // The org's clock began at 2026-01-31T10:00:00Z.
    let span = "start=2026-01-31T09:59:00Z&end=2026-01-31T10:02:00%2B00:00";
    story(
        &world,
        &[
            (
                "GET",
                &format!("sobjects/Contact/deleted/?{span}"),
                "",
                200,
                r#""deletedRecords":[{"id":"003ak0000000001AAA""#,
            ),
            ("GET", &format!("sobjects/Contact/updated/?{span}"), "", 200, r#""ids":["003ak0000000002AAA"]"#),
            (
                "GET",
                "sobjects/Contact/updated?start=2026-01-31T10:00:00Z&end=2026-01-31T10:00:59Z",
                "",
                400,
                "INVALID_REPLICATION_DATE",
            ),
        ],
    );
}

#[tokio::test]
async fn the_log_outlives_the_bin_for_fifteen_days() {
    let world = open_org().await;
    world.insert(&[Row::numbered(1), Row::numbered(2), Row::numbered(3)]).await;
    let ids = world.ids();
    world.delete(&[Row::numbered(1).key, Row::numbered(2).key]).await;
    let restored =
        world.ask("POST", &format!("/__admin/bin/Contact/{}", ids[&Row::numbered(2).key]), &[], "");
    assert_eq!(restored.status, 204);
    assert_eq!(world.ask("DELETE", "/__admin/bin/Contact", &[], "").status, 204);
    let all = body(&world.api("GET", "queryAll?q=SELECT+COUNT()+FROM+Contact", ""));
    assert_eq!(all["totalSize"], 2, "the bin is empty, and what was taken out of it lives");
    let span = "start=2026-01-31T09:00:00Z&end=2026-02-28T09:00:00Z";
    for (days, told) in [(0, 1), (14, 1), (2, 0)] {
        world.advance(days * 86_400);
        let log = body(&world.api("GET", &format!("sobjects/Contact/deleted/?{span}"), ""));
        assert_eq!(log["deletedRecords"].as_array().unwrap().len(), told, "{days} days on: {log}");
    }
}

#[tokio::test]
async fn the_door_is_shut_to_strangers_and_old_versions() {
    let world = open_org().await;
    let stranger = world.ask("GET", "/services/data/v61.0/limits", &[("authorization", "Bearer x")], "");
    assert_eq!(
        (stranger.status, body(&stranger)[0]["errorCode"].clone()),
        (401, json!("INVALID_SESSION_ID"))
    );
    let token = world.login();
    let old = world.ask("GET", "/services/data/v30.0/limits", &[("authorization", &token)], "");
    assert_eq!(old.status, 404);
    let versions = world.ask("GET", "/services/data/", &[], "");
    assert_eq!(body(&versions)[0]["version"], json!("45.0"), "no login, no quota");
    assert!(!versions.headers.iter().any(|(name, _)| name == "sforce-limit-info"));
    let told = world.ask("GET", "/services/oauth2/userinfo", &[("authorization", &token)], "");
    assert_eq!(body(&told)["preferred_username"], json!("sync@example.test"));
    let lower = token.replace("Bearer ", "");
    world.ask("POST", "/services/oauth2/revoke", &[], &format!("token={}", lower.replace('!', "%21")));
    let revoked = world.ask("GET", "/services/data/v61.0/limits", &[("authorization", &token)], "");
    assert_eq!(revoked.status, 401);
}
