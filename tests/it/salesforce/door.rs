//! What stands before the mock and lets a test spoil the very request that it means.

use std::sync::{Arc, Mutex};

use record_sync::connectors::mock::{Mock, Reply, Request};
use record_sync::engine::record::{Record, Timestamp};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Nothing: it is a later one that is meant.
    Pass,
    /// It is done, and the reply is lost.
    LoseReply,
    /// It is done, and something else is answered: status and error code.
    DoAndSay(u16, &'static str),
    /// It is not done, and refused.
    Refuse(u16, &'static str),
    /// It is done, and one text of the reply is put in place of another.
    Rewrite(&'static str, &'static str),
}

/// How often which request is spoiled: method, a part of path and body.
pub struct Spoil {
    pub method: &'static str,
    pub part: &'static str,
    pub times: usize,
    pub deed: Deed,
}

/// The mock behind, as all others see it.
pub struct Door {
    mock: Arc<dyn Mock>,
    spoils: Mutex<Vec<Spoil>>,
}

impl Door {
    pub fn new(mock: Arc<dyn Mock>) -> Self {
        Self { mock, spoils: Mutex::default() }
    }

    /// Spoils the next requests of this kind.
    pub fn spoil(&self, method: &'static str, part: &'static str, times: usize, deed: Deed) {
        self.spoils.lock().unwrap().push(Spoil { method, part, times, deed });
    }

    fn deed(&self, request: &Request) -> Option<Deed> {
        let asked = format!("{} {}", request.path, String::from_utf8_lossy(&request.body));
        let mut spoils = self.spoils.lock().unwrap();
        let fits = |spoil: &&mut Spoil| {
            spoil.times > 0 && spoil.method == request.method && asked.contains(spoil.part)
        };
        let spoil = spoils.iter_mut().find(fits)?;
        spoil.times -= 1;
        Some(spoil.deed)
    }
}

fn refusal(status: u16, code: &str) -> Reply {
    Reply::json(status, format!(r#"[{{"errorCode": "{code}", "message": "spoilt"}}]"#))
}

impl Mock for Door {
    fn handle(&self, request: &Request, now: Timestamp) -> Reply {
        match self.deed(request) {
            None | Some(Deed::Pass) => self.mock.handle(request, now),
            Some(Deed::Refuse(status, code)) => refusal(status, code),
            Some(Deed::LoseReply) => Reply { cut: true, ..self.mock.handle(request, now) },
            Some(Deed::Rewrite(from, to)) => {
                let reply = self.mock.handle(request, now);
                let body = String::from_utf8_lossy(&reply.body).replace(from, to).into_bytes();
                Reply { body, ..reply }
            }
            Some(Deed::DoAndSay(status, code)) => {
                self.mock.handle(request, now);
                refusal(status, code)
            }
        }
    }

    fn push(
        &self,
        stream: Option<&str>,
        key_field: &str,
        record: &Record,
        now: Timestamp,
    ) -> Result<String, String> {
        self.mock.push(stream, key_field, record, now)
    }
}
