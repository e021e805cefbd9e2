//! What of a description can't work, with its place and what to write instead.

use reqwest::header::HeaderName;

use super::super::super::SettingsError;
use super::super::wire::{Hole, Template};
use super::{Auth, AuthKind, Batch, Changes, Deletions, Find, Get, List, MatchBy, Page, PageStyle, Settings};
use super::{Stream, Verb, Write};

type Checked = Result<(), SettingsError>;

/// A place in the table.
#[derive(Clone)]
struct At(Vec<String>);

impl At {
    fn key(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.to_owned());
        Self(path)
    }

    fn wrong(&self, message: impl Into<String>) -> Checked {
        Err(SettingsError { path: self.0.clone(), message: message.into() })
    }

    /// Refuses what is so.
    fn refuse(&self, is_so: bool, message: impl FnOnce() -> String) -> Checked {
        if is_so { self.wrong(message()) } else { Ok(()) }
    }
}

/// Checks all that can be told without a look at the service.
pub fn check(settings: &Settings) -> Checked {
    let top = At(Vec::new());
    check_base(settings, &top)?;
    check_auth(settings, &top.key("auth"))?;
    for name in settings.headers.keys() {
        top.key("headers").key(name).refuse(HeaderName::try_from(name.as_str()).is_err(), || {
            format!("{name:?} is no name of a header; write letters, digits and dashes")
        })?;
    }
    let rate = &settings.rate;
    let at = top.key("rate");
    at.refuse(rate.requests.is_some() != rate.seconds.is_some(), || {
        "a limit is a number of requests in a number of seconds; write both, such as requests = 100 and seconds = 10".into()
    })?;
    at.refuse(rate.requests == Some(0) || rate.seconds == Some(0), || {
        "a limit of nothing lets nothing through; write at least 1".into()
    })?;
    top.key("streams").refuse(settings.streams.is_empty(), || {
        "the system has no stream; describe at least one under [….streams.NAME], as docs/connectors/rest.md tells".into()
    })?;
    settings.streams.iter().try_for_each(|(name, stream)| check_stream(stream, &top.key("streams").key(name)))
}

fn check_base(settings: &Settings, top: &At) -> Checked {
    top.key("timeout_ms").refuse(!(100..=600_000).contains(&settings.timeout_ms), || {
        "a request takes 100 to 600000 milliseconds; write for instance timeout_ms = 30000".into()
    })?;
    top.key("in_flight").refuse(!(1..=64).contains(&settings.in_flight), || {
        "1 to 64 calls may be under way at once; write for instance in_flight = 4".into()
    })?;
    if settings.is_mock() {
        return Ok(());
    }
    let fit = url::Url::parse(&settings.base_url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    match (settings.base_url.is_empty(), fit) {
        (true, _) => top.wrong(
            "base_url is missing; write what all paths begin with, such as \"https://api.example.test/v1\", or \"mock\" \
             for the built-in mock",
        ),
        (false, true) => Ok(()),
        (false, false) => top.key("base_url").wrong(
            "this is no http(s) URL without credentials and query; write \"https://api.example.test/v1\", or \"mock\" for \
             the built-in mock",
        ),
    }
}

fn check_auth(settings: &Settings, at: &At) -> Checked {
    let auth = &settings.auth;
    let given: [(&str, bool, &[AuthKind]); 11] = [
        ("username", auth.username.is_some(), &[AuthKind::Basic]),
        ("password", auth.password.is_some(), &[AuthKind::Basic]),
        ("token", auth.token.is_some(), &[AuthKind::Bearer]),
        ("api_key", auth.api_key.is_some(), &[AuthKind::ApiKey]),
        ("header", auth.header.is_some(), &[AuthKind::ApiKey]),
        ("query", auth.query.is_some(), &[AuthKind::ApiKey]),
        ("prefix", !auth.prefix.is_empty(), &[AuthKind::ApiKey]),
        ("token_url", auth.token_url.is_some(), &[AuthKind::Oauth]),
        ("client_id", auth.client_id.is_some(), &[AuthKind::Oauth]),
        ("client_secret", auth.client_secret.is_some(), &[AuthKind::Oauth]),
        ("scope", auth.scope.is_some(), &[AuthKind::Oauth]),
    ];
    for (key, is_given, kinds) in given {
        at.key(key).refuse(is_given && !kinds.contains(&auth.kind), || {
            let kind = match kinds.first() {
                Some(AuthKind::Basic) => "basic",
                Some(AuthKind::Bearer) => "bearer",
                Some(AuthKind::ApiKey) => "api_key",
                _ => "oauth",
            };
            format!("{key} belongs to another login; write type = \"{kind}\", or leave it out")
        })?;
    }
    check_needed(settings, auth, at)
}

fn check_needed(settings: &Settings, auth: &Auth, at: &At) -> Checked {
    let real = !settings.is_mock();
    let needs = |key: &str, is_given: bool| {
        at.refuse(real && !is_given, || format!("{key} is missing; write {key} = \"${{…}}\""))
    };
    match auth.kind {
        AuthKind::None => Ok(()),
        AuthKind::Basic => {
            needs("username", auth.username.is_some())?;
            needs("password", auth.password.is_some())
        }
        AuthKind::Bearer => needs("token", auth.token.is_some()),
        AuthKind::ApiKey => {
            needs("api_key", auth.api_key.is_some())?;
            at.refuse(auth.header.is_some() == auth.query.is_some(), || {
                "the key goes out in one place; write header = \"X-Api-Key\" or query = \"api_key\"".into()
            })?;
            at.key("prefix").refuse(auth.query.is_some() && !auth.prefix.is_empty(), || {
                "a key in the query has no prefix; leave it out".into()
            })?;
            let name = auth.header.as_deref().unwrap_or("x");
            at.key("header").refuse(HeaderName::try_from(name).is_err(), || {
                format!("{name:?} is no name of a header; write letters, digits and dashes")
            })
        }
        AuthKind::Oauth => {
            needs("client_id", auth.client_id.is_some())?;
            needs("client_secret", auth.client_secret.is_some())?;
            let url = auth.token_url.as_deref().unwrap_or_default();
            let whole = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            at.refuse(!whole && !url.starts_with('/'), || {
                "token_url is missing or no URL; write \"https://login.example.test/oauth/token\" or a path below \
                 base_url such as \"/oauth/token\""
                    .into()
            })
        }
    }
}

fn check_stream(stream: &Stream, at: &At) -> Checked {
    at.key("id")
        .refuse(stream.id.is_whole(), || "a record is no id; write where it has one: id = \"/id\"".into())?;
    check_list(&stream.list, &at.key("list"), &[])?;
    if let Some(changes) = &stream.changes {
        check_changes(changes, stream, &at.key("changes"))?;
    }
    let told = stream.deletions();
    at.key("deletions").refuse((told == Deletions::Scanned) == stream.changes.is_some(), || match told {
        Deletions::Scanned => {
            "a scanned stream is read as a whole each time; leave `changes` out, or write \"listed\"".into()
        }
        _ => "without `changes` the whole list is read each time; write \"scanned\", or describe `changes`"
            .into(),
    })?;
    at.key("deletions").refuse(told == Deletions::Reported && stream.deleted.is_none(), || {
        "deleted records have to be told from others; write where: deleted = \"/deleted\"".into()
    })?;
    if let Some(get) = &stream.get {
        check_get(get, &at.key("get"))?;
    }
    if let Some(find) = &stream.find {
        check_find(find, stream, &at.key("find"))?;
    }
    for (name, write) in stream.writes() {
        check_write(name, write, stream, &at.key(name))?;
    }
    Ok(())
}

/// Checks a path and the places in it.
fn check_path(path: &Template, at: &At, fits: impl Fn(&Hole) -> bool) -> Checked {
    at.refuse(path.is_empty(), || {
        "path is missing; write the path below base_url, such as \"/orders\"".into()
    })?;
    let begins = path.texts().next().is_some_and(|text| text.starts_with('/'));
    let at = at.key("path");
    at.refuse(!begins, || "a path begins with a slash; write for instance \"/orders\"".into())?;
    at.refuse(path.texts().any(|text| text.contains(['?', '#'])), || {
        "a path holds no ? and no #; write parameters under `query`".into()
    })?;
    check_holes(path.holes(), &at, fits)
}

fn check_holes<'h>(
    mut holes: impl Iterator<Item = &'h Hole>,
    at: &At,
    fits: impl Fn(&Hole) -> bool,
) -> Checked {
    match holes.find(|hole| !fits(hole)) {
        Some(hole) => {
            at.wrong(format!("nothing fills {hole} here; leave it out, or move it where it is known"))
        }
        None => Ok(()),
    }
}

/// Collects the places in the texts of a body.
fn holes_of(body: &serde_json::Value, at: &At) -> Result<Vec<Hole>, SettingsError> {
    match body {
        serde_json::Value::String(text) => match Template::parse(text) {
            Ok(template) => Ok(template.holes().cloned().collect()),
            Err(message) => Err(SettingsError { path: at.0.clone(), message }),
        },
        serde_json::Value::Array(items) => collected(items.iter(), at),
        serde_json::Value::Object(members) => collected(members.values(), at),
        _ => Ok(Vec::new()),
    }
}

fn collected<'v>(
    values: impl Iterator<Item = &'v serde_json::Value>,
    at: &At,
) -> Result<Vec<Hole>, SettingsError> {
    let lists = values.map(|value| holes_of(value, at)).collect::<Result<Vec<_>, _>>()?;
    Ok(lists.into_iter().flatten().collect())
}

/// Checks a request that shows records; gives the places that are filled in it.
fn check_list(list: &List, at: &At, known: &[Hole]) -> Result<(), SettingsError> {
    check_path(&list.path, at, |hole| known.contains(hole))?;
    for (name, template) in &list.query {
        check_holes(template.holes(), &at.key("query").key(name), |hole| known.contains(hole))?;
    }
    let body = collected(list.body.values(), &at.key("body"))?;
    check_holes(body.iter(), &at.key("body"), |hole| known.contains(hole))?;
    check_reading(list.method, !list.body.is_empty(), at)?;
    check_page(&list.page, list.method == Some(Verb::Post), &at.key("page"))
}

fn check_reading(method: Option<Verb>, has_body: bool, at: &At) -> Checked {
    let method = method.unwrap_or(Verb::Get);
    at.key("method").refuse(!matches!(method, Verb::Get | Verb::Post), || {
        "records are read by GET or POST; write one of them".into()
    })?;
    at.key("body").refuse(has_body && method == Verb::Get, || {
        "a GET has no body; write method = \"POST\", or parameters under `query`".into()
    })
}

fn check_page(page: &Page, is_post: bool, at: &At) -> Checked {
    at.key("size").refuse(!(1..=10_000).contains(&page.size), || {
        "a page has 1 to 10000 records; write for instance size = 100".into()
    })?;
    let style = page.style;
    let param = matches!(style, PageStyle::Cursor | PageStyle::Offset | PageStyle::Page);
    let next = matches!(style, PageStyle::Cursor | PageStyle::NextUrl);
    let counted = matches!(style, PageStyle::Offset | PageStyle::Page);
    at.refuse(param && page.param.is_none(), || {
        "param is missing; write the parameter that carries the cursor, the offset or the page's number"
            .into()
    })?;
    at.key("param").refuse(!param && page.param.is_some(), || {
        "this style has no such parameter; leave it out, or write style = \"cursor\", \"offset\" or \"page\"".into()
    })?;
    at.refuse(next && page.next.is_none(), || {
        "next is missing; write where a reply has it, such as next = \"/paging/next\"".into()
    })?;
    at.key("next").refuse(!next && page.next.is_some(), || {
        "this style has no such place; leave it out, or write style = \"cursor\" or \"next_url\"".into()
    })?;
    for (key, given) in [("more", page.more.is_some()), ("total", page.total.is_some())] {
        at.key(key).refuse(given && !counted, || {
            "only offsets and page numbers need to be told the end; leave it out".into()
        })?;
    }
    for (key, name) in [("param", &page.param), ("size_param", &page.size_param)] {
        let inside = name.as_ref().is_some_and(|name| name.starts_with('/'));
        at.key(key).refuse(inside && !is_post, || {
            "a place in the body needs method = \"POST\"; write the name of a query parameter".into()
        })?;
    }
    Ok(())
}

fn check_changes(changes: &Changes, stream: &Stream, at: &At) -> Checked {
    let list = changes.list(&stream.list);
    check_list(&list, at, &[Hole::Stamp])?;
    at.refuse(stream.stamp.is_none(), || {
        "changes are asked for by their stamp; write where a record has it: stamp = \"/updated_at\"".into()
    })?;
    let in_body = collected(list.body.values(), at)?;
    let mut holes = list.query.values().flat_map(Template::holes).chain(&in_body).chain(list.path.holes());
    at.refuse(!holes.any(|hole| *hole == Hole::Stamp), || {
        "nothing says since when; write {stamp} where the moment goes, such as query = { updated_since = \"{stamp}\" }"
            .into()
    })?;
    at.key("records_max").refuse(changes.records_max.is_some() && !changes.ordered, || {
        "only records in the order of their stamps can be asked for in parts; write ordered = true where they are".into()
    })?;
    at.key("overlap_ms").refuse(changes.overlap_ms.is_some_and(|ms| ms > 3_600_000), || {
        "more than an hour is read again and again; write at most 3600000".into()
    })
}

fn check_get(get: &Get, at: &At) -> Checked {
    let known = |hole: &Hole| matches!(hole, Hole::Id | Hole::Ids);
    check_path(&get.path, at, known)?;
    for (name, template) in &get.query {
        check_holes(template.holes(), &at.key("query").key(name), known)?;
    }
    let holes: Vec<&Hole> = get.path.holes().chain(get.query.values().flat_map(Template::holes)).collect();
    at.refuse(holes.len() != 1, || {
        "a record is read by its id; write {id} once, or {ids} for many in one request".into()
    })?;
    at.key("max").refuse(get.max > 0 && holes.contains(&&Hole::Id), || {
        "one {id} is one record; write {ids} for many, or leave max out".into()
    })
}

fn check_find(find: &Find, stream: &Stream, at: &At) -> Checked {
    if find.scan {
        return at.refuse(!find.path.is_empty(), || {
            "a scan needs no request of its own; leave path out, or scan".into()
        });
    }
    let known = |hole: &Hole| matches!(hole, Hole::Key | Hole::Keys | Hole::KeyField(_));
    check_path(&find.path, at, known)?;
    for (name, template) in &find.query {
        check_holes(template.holes(), &at.key("query").key(name), known)?;
    }
    let in_body = collected(find.body.values(), &at.key("body"))?;
    check_holes(in_body.iter(), &at.key("body"), known)?;
    let in_item = collected(find.item.values(), &at.key("item"))?;
    check_holes(in_item.iter(), &at.key("item"), |hole| known(hole) && *hole != Hole::Keys)?;
    check_reading(find.method, !find.body.is_empty() || find.items.is_some(), at)?;
    at.refuse(find.items.is_some() == find.item.is_empty(), || {
        "items of a body have a place and a form; write items = \"/inputs\" and item = { id = \"{key}\" }"
            .into()
    })?;
    let none = find.path.holes().chain(find.query.values().flat_map(Template::holes)).next().is_none()
        && in_body.is_empty()
        && in_item.is_empty();
    at.refuse(none, || {
        "nothing says what is looked for; write {key} where the key goes, such as query = { number = \"{key}\" }".into()
    })?;
    at.key("id").refuse(find.id.is_some() && stream.get.is_none(), || {
        "what only an id is found of has to be read; describe `get`, or leave id out".into()
    })
}

fn check_write(name: &str, write: &Write, stream: &Stream, at: &At) -> Checked {
    let batch = write.batch.is_some();
    let is_create = name == "create";
    let known = |hole: &Hole| match hole {
        Hole::Id => !is_create,
        Hole::Key | Hole::KeyField(_) | Hole::Number => true,
        _ => false,
    };
    check_path(&write.path, at, |hole| !batch && known(hole))?;
    for (key, template) in &write.query {
        check_holes(template.holes(), &at.key("query").key(key), |hole| !batch && known(hole))?;
    }
    let in_body = collected(write.body.values(), &at.key("body"))?;
    check_holes(in_body.iter(), &at.key("body"), |_| false)?;
    let in_item = collected(write.item.values(), &at.key("item"))?;
    check_holes(in_item.iter(), &at.key("item"), known)?;
    at.key("method").refuse(write.method == Some(Verb::Get), || {
        "a GET writes nothing; write POST, PUT, PATCH or DELETE".into()
    })?;
    let names = write.path.holes().chain(write.query.values().flat_map(Template::holes)).count();
    let carries = write.with_id == Some(true) || !in_item.is_empty();
    at.key("path").refuse(!is_create && !batch && names == 0 && !carries, || {
        format!("nothing says which record to {name}; write {{id}} in the path, such as \"/orders/{{id}}\"")
    })?;
    at.key("whole").refuse(write.is_whole() && name == "update" && stream.get.is_none() && stream.find.is_none(), || {
        "what is sent whole has to be read first; describe `get`, or write whole = false where the service keeps what \
         it is not sent"
            .into()
    })?;
    if let Some(batch) = &write.batch {
        check_batch(batch, write, &in_item, &at.key("batch"))?;
    }
    check_repeats(name, write, stream, at)
}

fn check_batch(batch: &Batch, write: &Write, in_item: &[Hole], at: &At) -> Checked {
    at.key("max").refuse(!(2..=10_000).contains(&batch.max), || {
        "a batch has 2 to 10000 records; write for instance max = 100, or leave `batch` out".into()
    })?;
    at.refuse(batch.by == MatchBy::Number && !in_item.contains(&Hole::Number), || {
        "no record carries its number; write it into each, such as item = { reference = \"{n}\" }".into()
    })?;
    let told_apart = batch.by == MatchBy::Index || batch.results.is_some() || batch.errors.is_some();
    at.refuse(!told_apart, || "nothing is there to be matched; write results = \"/results\"".into())?;
    at.refuse(batch.by == MatchBy::Number && batch.results.is_some() && batch.echo.is_none(), || {
        "a result says its number somewhere; write where: echo = \"/reference\"".into()
    })?;
    at.refuse(batch.errors.is_some() && batch.error_echo.is_none(), || {
        "an error says whose it is; write where: error_echo = \"/context/id\"".into()
    })?;
    at.key("errors").refuse(batch.errors.is_some() && batch.by == MatchBy::Index, || {
        "errors that stand apart can't be told by their order; write by = \"id\", \"key\" or \"number\""
            .into()
    })?;
    at.key("results")
        .refuse(batch.results.is_none() && (write.success.is_some() || write.error.is_some()), || {
            "results are checked that have no place; write results = \"/results\"".into()
        })
}

/// Holds a create to an answer to the question what a lost reply leads to.
fn check_repeats(name: &str, write: &Write, stream: &Stream, at: &At) -> Checked {
    let has_key = write.idempotency_header.is_some();
    if name != "create" {
        return at.refuse(write.upsert.is_some() || has_key || write.may_duplicate, || {
            "only a create can be made twice; leave upsert, idempotency_header and may_duplicate out".into()
        });
    }
    at.key("idempotency_header").refuse(has_key && write.batch.is_some(), || {
        "a batch is another one each time; leave `batch` out, or idempotency_header".into()
    })?;
    at.key("idempotency_value").refuse(write.idempotency_value.is_some() && !has_key, || {
        "no header carries it; write idempotency_header = \"Idempotency-Key\"".into()
    })?;
    if let Some(value) = &write.idempotency_value {
        let known = |hole: &Hole| matches!(hole, Hole::Key | Hole::KeyField(_) | Hole::Hash);
        check_holes(value.holes(), &at.key("idempotency_value"), known)?;
    }
    let searched = stream.find.as_ref().and_then(|find| find.field.as_deref());
    at.key("upsert").refuse(
        write.upsert.is_some() && searched.is_some() && write.upsert.as_deref() != searched,
        || "upsert and find go by different fields; name the same one".into(),
    )?;
    at.refuse(stream.find.is_none() && write.upsert.is_none() && !has_key && !write.may_duplicate, || {
        "a create whose reply is lost would be made twice; describe `find`, or name upsert = \"FIELD\" or \
         idempotency_header where the service has them, or accept it with may_duplicate = true"
            .into()
    })
}
