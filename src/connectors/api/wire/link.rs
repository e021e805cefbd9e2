//! Next links, followed only where they lead back to the service itself.
//!
//! Invariant: no link takes a credential to another origin (scheme, host and port).

use url::Url;

use super::super::super::rest::RawReply;

/// Bytes of a link that are believed.
const LINK_BYTES_MAX: usize = 16 * 1024;

/// The place that credentials belong to.
#[derive(Clone, Debug)]
pub struct Origin {
    base: Url,
    /// The query parameter that holds a credential, which stays out of what is kept.
    secret: Option<String>,
}

impl Origin {
    /// Takes the origin of a base URL.
    pub fn of(base_url: &str, secret: Option<String>) -> Option<Self> {
        Some(Self { base: Url::parse(base_url).ok()?, secret })
    }

    /// Returns path and query of a link that leads back here, without the credential; `asked` is the URL of
    /// the request, from which a relative link starts. The error says where else it leads.
    pub fn inside(&self, link: &str, asked: &str) -> Result<String, String> {
        if link.len() > LINK_BYTES_MAX {
            return Err("a link of more than 16 KiB".to_owned());
        }
        let from = Url::parse(asked).map_err(|error| error.to_string())?;
        let url = from.join(link).map_err(|error| format!("no URL: {error}"))?;
        if url.origin() != self.base.origin() {
            return Err(format!("another origin, {}", url.origin().ascii_serialization()));
        }
        let mut target = url.path().to_owned();
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .into_owned()
            .filter(|(name, _)| Some(name.as_str()) != self.secret.as_deref())
            .collect();
        if !pairs.is_empty() {
            let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            target.push('?');
            target.push_str(&query);
        }
        Ok(target)
    }

    /// Returns the URL of a target that [`Self::inside`] gave.
    pub fn url(&self, target: &str) -> String {
        format!("{}{target}", self.base.origin().ascii_serialization())
    }
}

/// Finds the target of `rel="next"` in the `Link` headers (RFC 8288).
pub fn next_link(reply: &RawReply) -> Option<String> {
    let headers = reply.headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    headers.flat_map(links).find(|(_, relations)| relations.iter().any(|rel| rel == "next")).map(|(to, _)| to)
}

/// Takes one header apart into targets and their relations.
fn links(header: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        // The parameters end at a comma that is not inside quotes.
        let mut quoted = false;
        let end = after
            .char_indices()
            .find(|(_, letter)| {
                quoted ^= *letter == '"';
                *letter == ',' && !quoted
            })
            .map_or(after.len(), |(at, _)| at);
        let parameters = after.get(..end).unwrap_or_default();
        let relations = parameters.split(';').filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("rel")
                .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        let relations =
            relations.flat_map(|value| value.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>());
        found.push((target.to_owned(), relations.collect()));
        rest = after.get(end..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_at_home_and_leaves_the_key_behind() {
        let origin = Origin::of("https://api.test/v1", Some("api_key".to_owned())).expect("an origin");
        let asked = "https://api.test/v1/orders?api_key=canary";
        // (link, target, why)
        let cases = [
            ("https://api.test/v1/orders?page=2", Some("/v1/orders?page=2"), "absolute"),
            ("https://API.test:443/v1/orders?page=2", Some("/v1/orders?page=2"), "the same in other words"),
            ("/v1/orders?page=2", Some("/v1/orders?page=2"), "below the host"),
            ("?page=2", Some("/v1/orders?page=2"), "relative"),
            ("orders", Some("/v1/orders"), "without a query"),
            ("?page=2&api_key=canary", Some("/v1/orders?page=2"), "an echoed key is not kept"),
            ("?q=a%26b%3Dc%20d", Some("/v1/orders?q=a%26b%3Dc+d"), "escapes keep their meaning"),
            ("https://evil.test/v1/orders", None, "another host"),
            ("//evil.test/v1/orders", None, "the same without a scheme"),
            ("http://api.test/v1/orders", None, "without encryption"),
            ("https://api.test:8443/v1/orders", None, "another port"),
            ("https://api.test@evil.test/", None, "a host that looks like ours"),
            ("javascript:alert(1)", None, "no place at all"),
        ];
        for (link, target, why) in cases {
            assert_eq!(origin.inside(link, asked).ok().as_deref(), target, "{why}: {link}");
        }
        assert_eq!(origin.url("/v1/orders?page=2"), "https://api.test/v1/orders?page=2");
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        // (headers, target, why)
        let cases: [(&[&str], Option<&str>, &str); 6] = [
            (&[r#"<https://a.test/x?page=2>; rel="next""#], Some("https://a.test/x?page=2"), "alone"),
            (
                &[
                    r#"<https://a.test/x?page=1>; rel="prev", <https://a.test/x?page=3,4>; title="a, b"; rel=next"#,
                ],
                Some("https://a.test/x?page=3,4"),
                "the second, with commas",
            ),
            (
                &[r#"<https://a.test/1>; rel="first""#, r#"</2>; rel="last next""#],
                Some("/2"),
                "in two headers",
            ),
            (&[r#"<https://a.test/1>; rel="first""#], None, "there is none"),
            (&[r#"https://a.test/1; rel="next""#], None, "without brackets"),
            (&[""], None, "nothing"),
        ];
        for (headers, target, why) in cases {
            let mut reply = RawReply::default();
            for header in headers {
                reply.headers.append("link", header.parse().expect("a header"));
            }
            assert_eq!(next_link(&reply).as_deref(), target, "{why}");
        }
    }
}
