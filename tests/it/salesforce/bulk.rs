//! Bulk API 2.0 of the mock: what no third-party client drives on purpose.

use record_sync::connectors::mock::{MockSettings, Reply};

use super::{World, json, strict_org, text, world};

/// Asks below `/jobs`, as another user.
fn call(org: &World, method: &str, path: &str, body: &str) -> Reply {
    let token = org.login();
    let kind = if method == "PUT" { "text/csv; charset=UTF-8" } else { "application/json" };
    let headers = [("authorization", token.as_str()), ("content-type", kind)];
    org.ask(method, &format!("/services/data/v61.0/jobs/{path}"), &headers, body)
}

fn open(org: &World, extra: &str) -> String {
    let made = call(org, "POST", "ingest", &format!(r#"{{"object": "Contact", {extra}}}"#));
    assert_eq!(made.status, 200, "{}", text(&made));
    let job = json(&made);
    assert_eq!(job["state"], "Open");
    let id = job["id"].as_str().unwrap().to_owned();
    let place = format!("services/data/v61.0/jobs/ingest/{id}/batches");
    assert_eq!(job["contentUrl"], place.as_str());
    assert_eq!(job["apiVersion"].to_string(), "61.0", "a number with its fraction");
    id
}

/// Uploads and closes.
fn load(org: &World, extra: &str, csv: &str) -> String {
    let id = open(org, extra);
    let put = call(org, "PUT", &format!("ingest/{id}/batches"), csv);
    assert_eq!((put.status, put.body.len()), (201, 0), "{}", text(&put));
    let closed = call(org, "PATCH", &format!("ingest/{id}"), r#"{"state": "UploadComplete"}"#);
    assert_eq!(json(&closed)["state"], "UploadComplete");
    id
}

/// Looks until the job is over; gives it and how often it took.
fn wait(org: &World, kind: &str, id: &str) -> (serde_json::Value, usize) {
    for looks in 1..1000 {
        let job = json(&call(org, "GET", &format!("{kind}/{id}"), ""));
        if !matches!(job["state"].as_str(), Some("UploadComplete" | "InProgress")) {
            return (job, looks);
        }
    }
    panic!("the job never ends");
}

/// Rows of a CSV reply, the header first.
fn rows(reply: &Reply) -> Vec<Vec<String>> {
    assert_eq!(reply.status, 200, "{}", text(reply));
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(reply.body.as_slice());
    let all = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
    all.collect()
}

fn results(org: &World, id: &str, which: &str) -> Vec<Vec<String>> {
    rows(&call(org, "GET", &format!("ingest/{id}/{which}"), ""))
}

#[tokio::test]
async fn every_row_has_its_own_result() {
    let org = strict_org().await;
    let upsert = r#""operation": "upsert", "externalIdFieldName": "external_id__C""#;
    let id = load(
        &org,
        upsert,
        "External_Id__c,LastName,Email,DoNotCall\na,Ann,ann@example.test,true\nb,Ben,not an address,\n\
         ,Cid,,\nA,Ann again,,\nd,,d@example.test,\n",
    );
    let (job, looks) = wait(&org, "ingest", &id);
    assert_eq!(looks, 2, "in progress, then complete, though no time passes");
    assert_eq!(job["state"], "JobComplete", "failed rows are normal");
    assert_eq!((&job["numberRecordsProcessed"], &job["numberRecordsFailed"]), (&5.into(), &4.into()));
    assert_eq!(
        (&job["jobType"], &job["externalIdFieldName"]),
        (&"V2Ingest".into(), &"External_Id__c".into())
    );
    let good = results(&org, &id, "successfulResults");
    assert_eq!(good[0], ["sf__Id", "sf__Created", "External_Id__c", "LastName", "Email", "DoNotCall"]);
    assert_eq!(good.len(), 2);
    assert_eq!(good[1][1..], ["true", "a", "Ann", "ann@example.test", "true"]);
    let mut bad: Vec<(String, String)> =
        results(&org, &id, "failedResults")[1..].iter().map(|row| (row[3].clone(), row[1].clone())).collect();
    bad.sort();
    let told: Vec<&str> = bad.iter().map(|(_, error)| error.as_str()).collect();
    assert_eq!(
        told,
        [
            "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --",
            "DUPLICATE_VALUE:Duplicate external id specified: A:External_Id__c --",
            "INVALID_EMAIL_ADDRESS:Email: invalid email address: not an address:Email --",
            "MISSING_ARGUMENT:External_Id__c not specified:External_Id__c --",
        ]
    );
    assert_eq!(
        results(&org, &id, "unprocessedRecords"),
        [["External_Id__c", "LastName", "Email", "DoNotCall"]]
    );

    // An empty cell says nothing, #N/A clears; the next job finds what is there.
    let id = load(&org, upsert, "External_Id__c,LastName,Email,DoNotCall\na,,#N/A,\n");
    wait(&org, "ingest", &id);
    assert_eq!(results(&org, &id, "successfulResults")[1][1], "false", "not created");
    let ann = &org.standing()[0];
    assert_eq!(
        (&ann["LastName"], &ann["Email"], &ann["DoNotCall"]),
        (&"Ann".into(), &serde_json::Value::Null, &true.into())
    );
    // Parents are named by their external ids.
    org.api("POST", "sobjects/Account", r#"{"Name": "Acme", "External_Id__c": "acme"}"#);
    let id = load(&org, upsert, "External_Id__c,LastName,Account.External_Id__c\na,,ACME\nx,X,nobody\n");
    wait(&org, "ingest", &id);
    assert!(org.standing()[0]["AccountId"].as_str().unwrap().starts_with("001"));
    let told = &results(&org, &id, "failedResults")[1][1];
    assert!(told.contains("Foreign key external ID: nobody not found"), "{told}");
    // No two results are in the order of the upload.
    let many: String = (0..50).map(|number| format!("m{number},Many\n")).collect();
    let id = load(&org, upsert, &format!("External_Id__c,LastName\n{many}"));
    wait(&org, "ingest", &id);
    let order: Vec<String> =
        results(&org, &id, "successfulResults")[1..].iter().map(|row| row[2].clone()).collect();
    let upload: Vec<String> = (0..50).map(|number| format!("m{number}")).collect();
    assert_ne!(order, upload);
    assert_eq!(order.len(), 50);
}

#[tokio::test]
async fn the_other_operations_do_what_they_are_called() {
    let org = strict_org().await;
    let id = load(&org, r#""operation": "insert""#, "LastName,External_Id__c\nAnn,a\nBen,b\nCid,c\n");
    wait(&org, "ingest", &id);
    let ids: std::collections::BTreeMap<String, String> = results(&org, &id, "successfulResults")[1..]
        .iter()
        .map(|row| (row[3].clone(), row[0].clone()))
        .collect();
    // Updates go by either form of the id.
    let short = &ids["a"][..15];
    let id = load(
        &org,
        r#""operation": "update""#,
        &format!("Id,Title\n{short},Dr\n003ak0zzzzzzzzz,Dr\nx,Dr\n,Dr\n"),
    );
    wait(&org, "ingest", &id);
    let mut told: Vec<(String, String)> = results(&org, &id, "failedResults")[1..]
        .iter()
        .map(|row| (row[0].clone(), row[1].split(':').next().unwrap().to_owned()))
        .collect();
    told.sort();
    assert_eq!(told[0], (String::new(), "MISSING_ARGUMENT".into()));
    assert_eq!(told[1].1, "INVALID_CROSS_REFERENCE_KEY");
    assert_eq!(told[2], ("x".into(), "MALFORMED_ID".into()));
    assert_eq!(org.standing()[0]["Title"], "Dr");
    // An upsert by Id changes where there is one and makes where there is none.
    let id = load(
        &org,
        r#""operation": "upsert", "externalIdFieldName": "Id""#,
        &format!("Id,LastName\n{},Bert\n,Dan\n", ids["b"]),
    );
    wait(&org, "ingest", &id);
    let mut created: Vec<String> =
        results(&org, &id, "successfulResults")[1..].iter().map(|row| row[1].clone()).collect();
    created.sort();
    assert_eq!(created, ["false", "true"]);
    // A delete leaves the row in the bin; a hard one leaves nothing.
    let id = load(&org, r#""operation": "delete""#, &format!("Id\n{}\n{}\n", ids["a"], ids["a"]));
    let (job, _) = wait(&org, "ingest", &id);
    assert_eq!(job["numberRecordsFailed"], 1, "once is enough");
    assert!(results(&org, &id, "failedResults")[1][1].starts_with("ENTITY_IS_DELETED:entity is deleted:--"));
    let id = load(&org, r#""operation": "hardDelete""#, &format!("Id\n{}\n", ids["b"]));
    wait(&org, "ingest", &id);
    let all = json(&org.api("GET", "queryAll?q=SELECT+Id,IsDeleted+FROM+Contact+ORDER+BY+Id", ""));
    let left: Vec<(&str, bool)> = all["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["Id"].as_str().unwrap(), row["IsDeleted"].as_bool().unwrap()))
        .collect();
    assert_eq!(left[0], (ids["a"].as_str(), true));
    assert!(left.iter().all(|(id, _)| *id != ids["b"]), "{left:?}");
    let span = "start=2026-01-31T09:00:00Z&end=2026-01-31T12:00:00Z";
    let log = text(&org.api("GET", &format!("sobjects/Contact/deleted/?{span}"), ""));
    assert!(log.contains(&ids["a"]) && log.contains(&ids["b"]), "the log of deletions tells of both: {log}");
}

#[tokio::test]
async fn whole_jobs_fail_for_what_is_wrong_with_the_file() {
    let org = strict_org().await;
    let insert = r#""operation": "insert""#;
    // (job, upload, error message, why)
    let cases = [
        (insert, "LastName,Nope__c\nx,y\n", "InvalidBatch : Field name not found : Nope__c", "no such field"),
        (
            insert,
            "LastName\r\nx\r\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
            "the other line end",
        ),
        (
            r#""operation": "delete""#,
            "Id,LastName\nx,y\n",
            "InvalidBatch : The 'delete' batch must contain only ids",
            "more than ids",
        ),
    ];
    for (extra, csv, message, why) in cases {
        let id = load(&org, extra, csv);
        let (job, _) = wait(&org, "ingest", &id);
        assert_eq!((&job["state"], &job["errorMessage"]), (&"Failed".into(), &message.into()), "{why}");
        assert_eq!(job["numberRecordsProcessed"], 0, "{why}");
        let left = results(&org, &id, "unprocessedrecords");
        assert_eq!(left.len(), 2, "{why}: the header and the row: {left:?}");
    }
    assert!(org.standing().is_empty());
}

#[tokio::test]
async fn jobs_are_refused_as_the_real_service_refuses_them() {
    let org = strict_org().await;
    // (body, code, message, why)
    let cases = [
        (
            r#"{"object":"X","operation":"insert"}"#,
            "INVALIDJOB",
            "InvalidJob : Unable to find object: X",
            "object",
        ),
        (
            r#"{"object":"Contact","operation":"merge"}"#,
            "API_ERROR",
            "Invalid value: 'merge' supplied for property: 'operation'",
            "operation",
        ),
        (
            r#"{"object":"Contact","operation":"upsert"}"#,
            "INVALIDJOB",
            "InvalidJob : External ID was blank for Contact. An External ID must be specified for upsert.",
            "no external id",
        ),
        (
            r#"{"object":"Contact","operation":"upsert","externalIdFieldName":"Title"}"#,
            "INVALIDJOB",
            "InvalidJob : Field name provided, Title does not match an External ID for Contact",
            "a field that is none",
        ),
        (
            r#"{"object":"Contact","operation":"insert","contentType":"JSON"}"#,
            "API_ERROR",
            "Invalid value: 'JSON' supplied for property: 'contentType'",
            "content type",
        ),
        (
            r#"{"object":"Contact","operation":"insert","columnDelimiter":"DOT"}"#,
            "API_ERROR",
            "Invalid value: 'DOT' supplied for property: 'columnDelimiter'",
            "delimiter",
        ),
    ];
    for (body, code, message, why) in cases {
        let refused = call(&org, "POST", "ingest", body);
        assert_eq!(refused.status, 400, "{why}");
        let told = json(&refused);
        assert_eq!((&told[0]["errorCode"], &told[0]["message"]), (&code.into(), &message.into()), "{why}");
    }
    // Steps in the wrong order.
    let id = open(&org, r#""operation": "insert""#);
    let path = |rest: &str| format!("ingest/{id}{rest}");
    assert_eq!(call(&org, "GET", &path("/successfulResults"), "").status, 400, "not over");
    assert_eq!(call(&org, "DELETE", &path(""), "").status, 400, "not over");
    assert_eq!(call(&org, "PATCH", &path(""), r#"{"state":"Open"}"#).status, 400, "no state to choose");
    assert_eq!(call(&org, "PUT", &path("/batches"), "LastName\nx\n").status, 201);
    let twice = json(&call(&org, "PUT", &path("/batches"), "LastName\nx\n"));
    assert_eq!(twice[0]["errorCode"], "BULK_API_ERROR", "once a job");
    call(&org, "PATCH", &path(""), r#"{"state":"UploadComplete"}"#);
    wait(&org, "ingest", &id);
    let late = json(&call(&org, "PATCH", &path(""), r#"{"state":"Aborted"}"#));
    assert_eq!(late[0]["errorCode"], "INVALIDJOBSTATE");
    assert_eq!(late[0]["message"], "Aborting already Completed Job not allowed");
    assert_eq!(call(&org, "DELETE", &path(""), "").status, 204);
    assert_eq!(call(&org, "GET", &path(""), "").status, 404);
}

#[tokio::test]
async fn big_jobs_work_batch_by_batch_and_stop_when_aborted() {
    let settings = MockSettings::default();
    let org = world(settings, ["record_id", "name", "email"]).await;
    let many: String = (0..25_000).map(|number| format!("\"r{number}\"|\"N\"\r\n")).collect();
    let form = r#""operation": "upsert", "externalIdFieldName": "record_id", "columnDelimiter": "PIPE", "lineEnding": "CRLF""#;
    let id = load(&org, form, &format!("record_id|name\r\n{many}"));
    call(&org, "GET", &format!("ingest/{id}"), "");
    let job = json(&call(&org, "GET", &format!("ingest/{id}"), ""));
    assert_eq!((&job["state"], &job["numberRecordsProcessed"]), (&"InProgress".into(), &10_000.into()));
    let aborted = call(&org, "PATCH", &format!("ingest/{id}"), r#"{"state": "Aborted"}"#);
    assert_eq!(json(&aborted)["state"], "Aborted");
    let left = call(&org, "GET", &format!("ingest/{id}/unprocessedrecords"), "");
    assert!(text(&left).starts_with("\"record_id\"|\"name\"\r\n\"r10000\"|\"N\"\r\n"));
    assert_eq!(text(&left).lines().count(), 15_001);
    assert_eq!(org.standing().len(), 10_000, "what was saved stays");
    // Time does what looks do.
    let id = load(&org, form, &format!("record_id|name\r\n{many}"));
    org.advance(10);
    let limits = json(&org.api("GET", "limits", ""));
    assert_eq!(limits["DailyBulkApiBatches"]["Remaining"], 15_000 - 4);
    assert_eq!(org.standing().len(), 25_000, "nobody looked at the job");
    let job = json(&call(&org, "GET", &format!("ingest/{id}"), ""));
    assert_eq!((&job["state"], &job["numberRecordsProcessed"]), (&"JobComplete".into(), &25_000.into()));
}

#[tokio::test]
async fn query_jobs_give_their_rows_page_by_page() {
    let org = strict_org().await;
    let many: String =
        (0..25).map(|number| format!("N{number:02},c{number},{}\n", number % 2 == 0)).collect();
    let id = load(&org, r#""operation": "insert""#, &format!("LastName,External_Id__c,DoNotCall\n{many}"));
    wait(&org, "ingest", &id);
    let body = r#"{"operation": "query", "query": "SELECT Id, External_Id__c, DoNotCall, Title, SystemModstamp FROM Contact"}"#;
    let made = json(&call(&org, "POST", "query", body));
    assert_eq!(made["state"], "UploadComplete", "at once");
    let id = made["id"].as_str().unwrap();
    assert_eq!(call(&org, "GET", &format!("query/{id}/results"), "").status, 400, "not over");
    let (job, looks) = wait(&org, "query", id);
    assert_eq!((looks, &job["state"], &job["jobType"]), (2, &"JobComplete".into(), &"V2Query".into()));
    assert_eq!(job["numberRecordsProcessed"], 25);
    // A later change does not change the pages.
    org.api("PATCH", "sobjects/Contact/External_Id__c/c3", r#"{"LastName": "Changed"}"#);
    let (mut seen, mut locator) = (Vec::new(), String::new());
    for size in [10, 10, 5] {
        let more = if locator.is_empty() { String::new() } else { format!("&locator={locator}") };
        let page = call(&org, "GET", &format!("query/{id}/results?maxRecords=10{more}"), "");
        let header = |name: &str| page.headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
        assert_eq!(header("sforce-numberofrecords"), size.to_string());
        locator = header("sforce-locator");
        let rows = rows(&page);
        assert_eq!(
            rows[0],
            ["Id", "External_Id__c", "DoNotCall", "Title", "SystemModstamp"],
            "on every page"
        );
        assert_eq!(rows.len(), size + 1);
        assert_eq!(rows[1][3], "", "null");
        assert!(rows[1][4].ends_with(".000Z"), "{}", rows[1][4]);
        seen.extend(rows[1..].iter().map(|row| row[1].clone()));
    }
    assert_eq!(locator, "null", "the word");
    let made: Vec<String> = (0..25).map(|number| format!("c{number}")).collect();
    assert_ne!(seen, made, "no order is promised");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25, "each once");
    let wrong = call(&org, "GET", &format!("query/{id}/results?locator=zzz"), "");
    assert_eq!(json(&wrong)[0]["errorCode"], "INVALID_QUERY_LOCATOR");

    // Refusals come at once.
    let cases = [
        ("SELECT Nope FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nope", "INVALID_TYPE"),
        ("SELECT", "MALFORMED_QUERY"),
        ("SELECT COUNT() FROM Contact", "FUNCTIONALITY_NOT_ENABLED"),
        ("SELECT Id FROM Contact LIMIT 1 OFFSET 1", "API_ERROR"),
    ];
    for (query, code) in cases {
        let refused =
            call(&org, "POST", "query", &format!(r#"{{"operation": "query", "query": "{query}"}}"#));
        assert_eq!((refused.status, &json(&refused)[0]["errorCode"]), (400, &code.into()), "{query}");
    }
    let listed = json(&call(&org, "GET", "query", ""));
    assert_eq!((&listed["done"], listed["records"].as_array().unwrap().len()), (&true.into(), 1));
    assert_eq!(call(&org, "DELETE", &format!("query/{id}"), "").status, 204);
    assert_eq!(call(&org, "GET", &format!("query/{id}/results"), "").status, 404);
}

#[tokio::test]
async fn query_all_shows_the_bin() {
    let org = strict_org().await;
    let made = json(&org.api("POST", "sobjects/Contact", r#"{"LastName": "Ann"}"#));
    org.api("DELETE", &format!("sobjects/Contact/{}", made["id"].as_str().unwrap()), "");
    for (operation, count) in [("query", 0), ("queryAll", 1)] {
        let body = format!(r#"{{"operation": "{operation}", "query": "SELECT Id FROM Contact"}}"#);
        let id = json(&call(&org, "POST", "query", &body))["id"].as_str().unwrap().to_owned();
        wait(&org, "query", &id);
        let rows = rows(&call(&org, "GET", &format!("query/{id}/results"), ""));
        assert_eq!(rows.len(), count + 1, "{operation}");
    }
}
