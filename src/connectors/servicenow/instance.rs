//! One instance as its callers see it: authorised requests, pages, batches, what tables are made of.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use secrecy::ExposeSecret;

use super::login::Login;
use super::settings::Settings;
use super::wire::{self, Answers, Asked, Decoder, Dictionary, Encoded};
use crate::connectors::rest::{self, PathQuery, Patience, RawReply, RawRequest, RestClient, RestOptions};
use crate::connectors::{Call, Open};
use crate::engine::fault::{Fault, FaultCode, FaultKind};
use crate::engine::record::Record;

const JSON: &str = "application/json";
/// How deep tables inherit from each other at most, as far as we look.
const DEPTH: usize = 5;
/// Rows of the dictionary that are read at most; a page of them.
const DICTIONARY_PAGES_MAX: usize = 10;
const DICTIONARY_PAGE: usize = 1_000;

/// Reads, writes and logs in; cheap to share.
pub struct Instance {
    rest: Arc<RestClient>,
    login: Login,
    base_url: String,
    pub settings: Settings,
    dictionaries: Mutex<HashMap<String, Arc<Dictionary>>>,
    classes: Mutex<HashMap<String, Arc<Vec<String>>>>,
}

impl Instance {
    /// Makes the client without calling out.
    pub fn open(settings: Settings, open: &Open) -> Result<Self, Fault> {
        let base_url = rest::address(&settings.base_url, open)?;
        let rest = rest::client(&base_url, settings.timeout_ms, RestOptions::default(), open)?;
        let login = Login::new(Arc::clone(&rest), &base_url, &settings, rest::vault(open));
        Ok(Self {
            rest,
            login,
            base_url,
            settings,
            dictionaries: Mutex::default(),
            classes: Mutex::default(),
        })
    }

    /// Reads.
    pub async fn get(&self, operation: &str, query: PathQuery, call: &Call) -> Result<RawReply, Fault> {
        self.send(operation, Method::GET, &query.into_text(), None, call).await
    }

    /// Changes one record.
    pub async fn change(&self, operation: &str, asked: &Asked, call: &Call) -> Result<RawReply, Fault> {
        let method = match asked.method {
            "POST" => Method::POST,
            "DELETE" => Method::DELETE,
            _ => Method::PATCH,
        };
        self.send(operation, method, &asked.path, asked.body.clone(), call).await
    }

    /// Sends many changes in one request.
    pub async fn batch(
        &self,
        operation: &str,
        batch: &BTreeMap<usize, Asked>,
        call: &Call,
    ) -> Result<Answers, Fault> {
        let body = wire::write_batch(batch).into_bytes();
        let sent = self.send(operation, Method::POST, "/api/now/v1/batch", Some(body), call).await;
        // What is refused as a whole is no record's fault.
        let reply = sent.map_err(|fault| match fault.kind {
            FaultKind::Rejected => Fault::fatal(
                fault.code,
                fault.message,
                "give the user the right to use the Batch API, or lower batch_size of this system",
            ),
            _ => fault,
        })?;
        wire::read_batch(operation, &reply.body, batch).map_err(Fault::and_may_have_happened)
    }

    /// Checks the answer to one request of a batch.
    pub fn check(&self, operation: &str, reply: &RawReply) -> Result<(), Fault> {
        wire::check(operation, true, reply, self.rest.now())
    }

    async fn send(
        &self,
        operation: &str,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        call: &Call,
    ) -> Result<RawReply, Fault> {
        let write = method != Method::GET;
        let request = |authorization: &str| {
            let request = RawRequest::new(operation, method.clone(), format!("{}{path}", self.base_url))
                .credential("authorization", authorization)
                .header("accept", JSON);
            match &body {
                Some(body) => request.body(JSON, body.clone()),
                None => request,
            }
        };
        let tokens = match &self.login {
            Login::Token(tokens) => tokens,
            Login::Basic(header) => {
                let reply = self.rest.send(request(header.expose_secret()), call).await?;
                wire::check(operation, write, &reply, self.rest.now())?;
                return Ok(reply);
            }
        };
        let mut held = tokens.get(call).await?;
        loop {
            let bearer = format!("Bearer {}", held.token().access.expose_secret());
            let reply = self.rest.send(request(&bearer), call).await?;
            if reply.status != 401 {
                wire::check(operation, write, &reply, self.rest.now())?;
                return Ok(reply);
            }
            // Nothing was done, so nothing is done twice. Ends: a fresh token that is refused is a fault.
            held = tokens.refused(held, operation, call).await?;
        }
    }

    /// Sends a read, a few times where the service is at fault.
    pub async fn get_again(
        &self,
        operation: &str,
        request: &PathQuery,
        call: &Call,
    ) -> Result<RawReply, Fault> {
        let mut patience = Patience::new(call);
        loop {
            match self.get(operation, request.clone(), call).await {
                Err(fault) => patience.wait(fault).await?,
                reply => return reply,
            }
        }
    }

    /// Starts the request for a page of a table.
    pub fn rows(&self, table: &str, query: &Encoded, fields: Option<&[String]>) -> PathQuery {
        let mut request = PathQuery::new(format!("/api/now/table/{table}"));
        if !query.as_str().is_empty() {
            request = request.with("sysparm_query", query.as_str());
        }
        if let Some(fields) = fields {
            request = request.with("sysparm_fields", &fields.join(","));
        }
        request.with("sysparm_exclude_reference_link", "true")
    }

    /// Returns what is known of a table's fields; `anew` asks again although the answer is known. A user who may
    /// not read the dictionary learns nothing from it, and that is no fault.
    pub async fn dictionary(&self, table: &str, anew: bool, call: &Call) -> Result<Arc<Dictionary>, Fault> {
        if let Some(known) = lock(&self.dictionaries).get(table).filter(|_| !anew) {
            return Ok(Arc::clone(known));
        }
        let mut dictionary = Dictionary::default();
        if let Some(chain) = self.ancestors(table, call).await? {
            let names: Vec<&str> = chain.iter().map(String::as_str).collect();
            let fields = ["element", "internal_type", "max_length"].map(str::to_owned);
            let query = Encoded::new().any("name", &names).unwrap_or_default();
            let query = query.holding("element").ordered_by(&["sys_id"]);
            for page in 0..DICTIONARY_PAGES_MAX {
                let request = self
                    .rows("sys_dictionary", &query, Some(&fields))
                    .with("sysparm_limit", &DICTIONARY_PAGE.to_string())
                    .with("sysparm_offset", &(page * DICTIONARY_PAGE).to_string());
                let Some(rows) = self.readable(table, request, &fields, call).await? else { break };
                dictionary.learn(&rows);
                if rows.len() < DICTIONARY_PAGE {
                    break;
                }
            }
        }
        let dictionary = Arc::new(dictionary);
        lock(&self.dictionaries).insert(table.to_owned(), Arc::clone(&dictionary));
        Ok(dictionary)
    }

    /// Returns a table and those that it inherits its fields from; `None` where we may not know.
    async fn ancestors(&self, table: &str, call: &Call) -> Result<Option<Vec<String>>, Fault> {
        let fields: Vec<String> =
            (0..=DEPTH).map(|depth| format!("{}name", "super_class.".repeat(depth))).collect();
        let query = Encoded::new().is("name", table);
        let request = self.rows("sys_db_object", &query, Some(&fields)).with("sysparm_limit", "1");
        let Some(rows) = self.readable(table, request, &fields, call).await? else { return Ok(None) };
        let mut chain = vec![table.to_owned()];
        for row in &rows {
            chain.extend(fields.iter().skip(1).filter_map(|name| row.get(name).as_text().map(str::to_owned)));
        }
        Ok(Some(chain))
    }

    /// Returns the names under which deletions of a table's records are told: its own and those of the tables
    /// that inherit from it.
    pub async fn classes(&self, table: &str, call: &Call) -> Result<Arc<Vec<String>>, Fault> {
        if let Some(known) = lock(&self.classes).get(table) {
            return Ok(Arc::clone(known));
        }
        let fields = ["name".to_owned()];
        let walks: Vec<String> =
            (1..=DEPTH).map(|depth| format!("{}name", "super_class.".repeat(depth))).collect();
        let query = Encoded::new().any_field(&walks, table);
        let request = self.rows("sys_db_object", &query, Some(&fields)).with("sysparm_limit", "1000");
        let rows = self.readable(table, request, &fields, call).await?.unwrap_or_default();
        let mut classes = vec![table.to_owned()];
        classes.extend(rows.iter().filter_map(|row| row.get("name").as_text().map(str::to_owned)));
        classes.sort_unstable();
        classes.dedup();
        let classes = Arc::new(classes);
        lock(&self.classes).insert(table.to_owned(), Arc::clone(&classes));
        Ok(classes)
    }

    /// Reads rows of the service's own tables; `None` where our user may not.
    async fn readable(
        &self,
        table: &str,
        request: PathQuery,
        fields: &[String],
        call: &Call,
    ) -> Result<Option<Vec<Record>>, Fault> {
        let operation = format!("look at what {table} is made of");
        let reply = match self.get_again(&operation, &request, call).await {
            Ok(reply) => reply,
            Err(fault) if is_about_rights(&fault) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let names = fields.iter().map(String::as_str);
        Decoder::new(&[], names).plain_rows(&operation, &reply.body).map(Some)
    }
}

/// A refusal that says no more than that this user may not see it.
fn is_about_rights(fault: &Fault) -> bool {
    wire::is_forbidden(fault) || fault.code == FaultCode::NotFound || fault.code == FaultCode::Configuration
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
