//! The part of the SOAP API that clients without OAuth need: `login`, `logout`, and who one is.
//!
//! Clients cut what they need out of the answer by element name: it stands there without a prefix.

mod xml;

use xml::{Element, escaped};

use super::auth::{PASSWORD, SECURITY_TOKEN, SESSION_MS, USERNAME, User, organization_id};
use super::{Org, VERSIONS, ids, lock};
use crate::connectors::mock::{Reply, Request};
use crate::engine::record::Timestamp;

/// Which description of the API the path names; the forms differ by their namespaces.
#[derive(Clone, Copy)]
struct Dialect {
    letter: &'static str,
    name: &'static str,
}

const DIALECTS: [Dialect; 2] =
    [Dialect { letter: "u", name: "partner" }, Dialect { letter: "c", name: "enterprise" }];

/// Why a call is refused: the code, and what is said beside it.
struct Fault {
    code: &'static str,
    message: String,
    /// The element in which the real service tells it.
    element: &'static str,
}

fn fault(code: &'static str, message: impl Into<String>) -> Fault {
    Fault { code, message: message.into(), element: "UnexpectedErrorFault" }
}

impl Org {
    /// Answers `POST /services/Soap/{u|c}/{NN.N}`, with the org's id behind it or not.
    pub(super) fn soap(&self, request: &Request, rest: &[&str], now: Timestamp) -> Reply {
        let (letter, version) = match rest {
            [letter, version] | [letter, version, _] => (*letter, *version),
            _ => return Reply::empty(404),
        };
        let Some(dialect) = DIALECTS.into_iter().find(|dialect| dialect.letter == letter) else {
            return Reply::empty(404);
        };
        if request.method != "POST" {
            return Reply::empty(405).with_header("allow", "POST");
        }
        match self.soap_call(request, dialect, version, now) {
            Ok(body) => envelope(200, &format!(r#"xmlns="urn:{}.soap.sforce.com""#, dialect.name), &body),
            Err(fault) => refused(dialect, &fault),
        }
    }

    fn soap_call(
        &self,
        request: &Request,
        dialect: Dialect,
        version: &str,
        now: Timestamp,
    ) -> Result<String, Fault> {
        let known = version.strip_suffix(".0").unwrap_or(version).parse().ok();
        if !known.is_some_and(|number: u32| VERSIONS.contains(&number)) {
            return Err(fault("UNSUPPORTED_API_VERSION", "Invalid Api version specified on URL"));
        }
        let text = String::from_utf8_lossy(&request.body);
        let envelope =
            xml::read(&text).ok_or_else(|| fault("UNKNOWN_EXCEPTION", "the envelope can't be read"))?;
        let call = envelope.child("Body").and_then(|body| body.children.first());
        let call = call.ok_or_else(|| fault("UNKNOWN_EXCEPTION", "the envelope has no call"))?;
        let session = || {
            let id = envelope.find("sessionId").map(|id| id.text.as_str()).unwrap_or_default();
            let user = lock(&self.sessions).user_of(id, now);
            let user = user.ok_or_else(|| {
                fault(
                    "INVALID_SESSION_ID",
                    "Invalid Session ID found in SessionHeader: Illegal Session. Session not found, missing session key",
                )
            })?;
            Ok((id.to_owned(), user))
        };
        match call.name.as_str() {
            "login" => {
                let user = logged_in(&envelope, call)?;
                let token = lock(&self.sessions).open(user, self.seed, now);
                Ok(login_result(request, dialect, version, user, &token))
            }
            "logout" => {
                let (id, _) = session()?;
                lock(&self.sessions).revoke(Some(&id));
                Ok("<logoutResponse/>".to_owned())
            }
            "getUserInfo" => {
                let (_, user) = session()?;
                Ok(format!("<getUserInfoResponse><result>{}</result></getUserInfoResponse>", user_info(user)))
            }
            other => Err(Fault {
                code: "Client",
                message: format!(
                    "No operation available for request {{urn:{}.soap.sforce.com}}{other}, please check the WSDL for the service.",
                    dialect.name
                ),
                element: "",
            }),
        }
    }
}

/// Tells who logs in. From where the org trusts, which a client claims by naming the org, the password is
/// enough; from elsewhere the security token stands behind it.
fn logged_in(envelope: &Element, call: &Element) -> Result<User, Fault> {
    let of = |name: &str| call.child(name).map(|found| found.text.as_str()).unwrap_or_default();
    let trusted = envelope.find("organizationId").and_then(|id| ids::long(&id.text));
    let trusted = trusted.is_some_and(|id| id == organization_id());
    let password = match of("password").strip_prefix(PASSWORD) {
        Some(rest) => rest == SECURITY_TOKEN || trusted && rest.is_empty(),
        None => false,
    };
    match password && of("username") == USERNAME {
        true => Ok(User::Sync),
        false => Err(Fault {
            code: "INVALID_LOGIN",
            message: "Invalid username, password, security token; or user locked out.".to_owned(),
            element: "LoginFault",
        }),
    }
}

fn login_result(request: &Request, dialect: Dialect, version: &str, user: User, token: &str) -> String {
    let organization = organization_id();
    let short = organization.get(..15).unwrap_or_default();
    let url = |letter: &str| {
        let url = format!("{}/services/Soap/{letter}/{version}/{short}", request.base_url);
        escaped(&url)
    };
    format!(
        "<loginResponse><result><metadataServerUrl>{}</metadataServerUrl><passwordExpired>false</passwordExpired>\
         <sandbox>false</sandbox><serverUrl>{}</serverUrl><sessionId>{}</sessionId><userId>{}</userId>\
         <userInfo>{}</userInfo></result></loginResponse>",
        url("m"),
        url(dialect.letter),
        escaped(token),
        user.id(),
        user_info(user),
    )
}

fn user_info(user: User) -> String {
    let seconds = (SESSION_MS / 1000).to_string();
    let (organization, id) = (organization_id(), user.id());
    let name = format!("{user:?}");
    let members = [
        ("accessibilityMode", "false"),
        ("currencySymbol", "$"),
        ("orgAttachmentFileSizeLimit", "5242880"),
        ("orgDefaultCurrencyIsoCode", "USD"),
        ("orgDisallowHtmlAttachments", "false"),
        ("orgHasPersonAccounts", "false"),
        ("organizationId", &organization),
        ("organizationMultiCurrency", "false"),
        ("organizationName", "Mock Org"),
        ("sessionSecondsValid", &seconds),
        ("userEmail", user.username()),
        ("userFullName", &name),
        ("userId", &id),
        ("userLanguage", "en_US"),
        ("userLocale", "en_US"),
        ("userName", user.username()),
        ("userTimeZone", "GMT"),
        ("userType", "Standard"),
        ("userUiSkin", "Theme3"),
    ];
    members.iter().map(|(name, text)| format!("<{name}>{}</{name}>", escaped(text))).collect()
}

fn refused(dialect: Dialect, fault: &Fault) -> Reply {
    let Fault { code, message, element } = fault;
    let message = escaped(message);
    let body = match element.is_empty() {
        // The server itself says so, before the call is looked at.
        true => format!(
            "<soapenv:Fault><faultcode>soapenv:{code}</faultcode><faultstring>{message}</faultstring></soapenv:Fault>"
        ),
        false => format!(
            "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring>\
             <detail><sf:{element} xsi:type=\"sf:{element}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
             <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{element}></detail></soapenv:Fault>"
        ),
    };
    envelope(500, &format!(r#"xmlns:sf="urn:fault.{}.soap.sforce.com""#, dialect.name), &body)
}

fn envelope(status: u16, namespace: &str, body: &str) -> Reply {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" {namespace} \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    );
    Reply { status, body: text.into_bytes(), ..Reply::default() }
        .with_header("content-type", "text/xml;charset=UTF-8")
}
