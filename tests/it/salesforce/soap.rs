//! The SOAP login of the mock: what clients leave open.

use record_sync::connectors::mock::Reply;

use super::{World, json, strict_org, text};

fn call(org: &World, path: &str, body: &str) -> Reply {
    let headers = [("content-type", "text/xml"), ("soapaction", "\"\"")];
    org.ask("POST", &format!("/services/Soap/{path}"), &headers, body)
}

fn login(user: &str, password: &str, header: &str) -> String {
    format!(
        "<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/' xmlns:u='urn:partner.soap.sforce.com'>\
         <e:Header>{header}</e:Header><e:Body><u:login><u:username>{user}</u:username>\
         <u:password>{password}</u:password></u:login></e:Body></e:Envelope>"
    )
}

fn element<'t>(text: &'t str, name: &str) -> &'t str {
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {text}"));
    rest.split_once('<').unwrap().0
}

#[tokio::test]
async fn a_login_opens_a_session_for_both_apis() {
    let org = strict_org().await;
    for (path, namespace) in
        [("u/59.0", "urn:partner.soap.sforce.com"), ("c/61.0", "urn:enterprise.soap.sforce.com")]
    {
        let reply = call(&org, path, &login("sync@example.test", "pa55wordsectoken", ""));
        let answer = text(&reply);
        assert_eq!(reply.status, 200, "{answer}");
        assert!(answer.contains(&format!("xmlns=\"{namespace}\"")), "{answer}");
        let session = element(&answer, "sessionId").to_owned();
        let organization = element(&answer, "organizationId");
        let server = element(&answer, "serverUrl");
        assert!(server.ends_with(&format!("/services/Soap/{path}/{}", &organization[..15])), "{server}");
        assert_eq!(element(&answer, "sessionSecondsValid"), "7200");
        let bearer = format!("Bearer {session}");
        let query = "/services/data/v61.0/query?q=SELECT+Id+FROM+User";
        let read = org.ask("GET", query, &[("authorization", &bearer)], "");
        assert_eq!(json(&read)["totalSize"], 3);

        let within = |call: &str| {
            format!(
                "<Envelope><Header><SessionHeader><sessionId>{session}</sessionId></SessionHeader></Header>\
                 <Body><{call}/></Body></Envelope>"
            )
        };
        let server = server.split_once("/Soap/").unwrap().1;
        let told = text(&call(&org, server, &within("getUserInfo")));
        assert_eq!(element(&told, "userName"), "sync@example.test");
        assert_eq!(call(&org, path, &within("logout")).status, 200);
        assert_eq!(org.ask("GET", query, &[("authorization", &bearer)], "").status, 401, "logged out");
        assert_eq!(
            element(&text(&call(&org, path, &within("logout"))), "faultcode"),
            "sf:INVALID_SESSION_ID"
        );
    }
}

#[tokio::test]
async fn refusals_are_faults() {
    let org = strict_org().await;
    let scope =
        |id: &str| format!("<LoginScopeHeader><organizationId>{id}</organizationId></LoginScopeHeader>");
    let known = json(&org.api("GET", "query?q=SELECT+Id+FROM+Organization", ""));
    let id = known["records"][0]["Id"].as_str().unwrap();
    let (user, both) = ("sync@example.test", "pa55wordsectoken");
    // (path, body, fault code, start of the words, why)
    let cases = [
        (
            "u/59.0",
            login(user, "pa55word", ""),
            "sf:INVALID_LOGIN",
            "INVALID_LOGIN: Invalid username, password, security token; or user locked out.",
            "no token",
        ),
        ("u/59.0", login("x", both, ""), "sf:INVALID_LOGIN", "INVALID_LOGIN: ", "another user"),
        (
            "u/59.0",
            login(user, "pa55word", &scope("00Dak0000000000")),
            "sf:INVALID_LOGIN",
            "INVALID_LOGIN: ",
            "another org",
        ),
        (
            "u/12.0",
            login(user, both, ""),
            "sf:UNSUPPORTED_API_VERSION",
            "UNSUPPORTED_API_VERSION: ",
            "an old version",
        ),
        ("u/59.0", "<a/>".to_owned(), "sf:UNKNOWN_EXCEPTION", "UNKNOWN_EXCEPTION: ", "no envelope"),
        (
            "u/59.0",
            "<E><Body><merge/></Body></E>".to_owned(),
            "soapenv:Client",
            "No operation available for request {urn:partner.soap.sforce.com}merge",
            "another call",
        ),
    ];
    for (path, body, code, words, why) in cases {
        let reply = call(&org, path, &body);
        let answer = text(&reply);
        assert_eq!((reply.status, element(&answer, "faultcode")), (500, code), "{why}");
        assert!(element(&answer, "faultstring").starts_with(words), "{why}: {answer}");
    }
    assert_eq!(
        call(&org, "u/59.0", &login(user, "pa55word", &scope(id))).status,
        200,
        "from a trusted place"
    );
    assert_eq!(call(&org, "m/59.0", &login(user, both, "")).status, 404, "no metadata API here");
}
