//! Which of the described requests one is.

use super::super::super::mock::{Request, query_pairs};
use super::super::settings::{Find, Get, List, Settings, Stream, Verb, Write};
use super::super::wire::{Hole, Sent, Template};
use std::collections::BTreeMap;

/// What is asked for.
pub enum Op<'s> {
    List(&'s List),
    Changes(Box<List>),
    Get(&'s Get),
    Find(&'s Find),
    Write(Sent, &'s Write),
}

/// A request that was recognised, with what filled the places of its path and its query.
pub struct Routed<'s> {
    pub op: Op<'s>,
    filled: Vec<(Hole, String)>,
}

impl Routed<'_> {
    /// Returns what fills a place.
    pub fn get(&self, wanted: impl Fn(&Hole) -> bool) -> Option<&str> {
        self.filled.iter().find(|(hole, _)| wanted(hole)).map(|(_, text)| text.as_str())
    }
}

/// Finds the stream and the request that this one is; the one that says most goes first.
pub fn find<'s>(settings: &'s Settings, request: &Request) -> Option<(&'s str, &'s Stream, Routed<'s>)> {
    let pairs = query_pairs(&request.query);
    let mut best: Option<(usize, &str, &Stream, Routed<'_>)> = None;
    for (name, stream) in &settings.streams {
        for (method, path, query, op) in requests(stream) {
            if request.method != method.method().as_str() {
                continue;
            }
            let Some(filled) = filled(&path, &query, request, &pairs) else { continue };
            let weight = query.len() * 2 + usize::from(filled.is_empty());
            if best.as_ref().is_none_or(|(known, ..)| weight > *known) {
                best = Some((weight, name, stream, Routed { op, filled }));
            }
        }
    }
    best.map(|(_, name, stream, routed)| (name, stream, routed))
}

type Described<'s> = (Verb, Template, BTreeMap<String, Template>, Op<'s>);

fn requests(stream: &Stream) -> Vec<Described<'_>> {
    let verb = |told: Option<Verb>| told.unwrap_or(Verb::Get);
    let list = &stream.list;
    let mut known: Vec<Described<'_>> =
        vec![(verb(list.method), list.path.clone(), list.query.clone(), Op::List(list))];
    if let Some(changes) = &stream.changes {
        let list = changes.list(&stream.list);
        known.push((verb(list.method), list.path.clone(), list.query.clone(), Op::Changes(Box::new(list))));
    }
    if let Some(get) = &stream.get {
        known.push((Verb::Get, get.path.clone(), get.query.clone(), Op::Get(get)));
    }
    if let Some(find) = stream.find.as_ref().filter(|find| !find.scan) {
        known.push((verb(find.method), find.path.clone(), find.query.clone(), Op::Find(find)));
    }
    for (name, write) in stream.writes() {
        let sent = match name {
            "create" => Sent::Create,
            "update" => Sent::Update,
            _ => Sent::Delete,
        };
        let method = write.method.unwrap_or(sent.verb(write.batch.is_some()));
        known.push((method, write.path.clone(), write.query.clone(), Op::Write(sent, write)));
    }
    known
}

/// Reads what fills the places; `None` where it is another request.
fn filled(
    path: &Template,
    query: &BTreeMap<String, Template>,
    request: &Request,
    pairs: &[(String, String)],
) -> Option<Vec<(Hole, String)>> {
    let (wanted, given) = (path.segments(), request.segments());
    if wanted.len() != given.len() {
        return None;
    }
    let mut filled = Vec::new();
    for (template, text) in wanted.iter().zip(&given) {
        match template.read(text) {
            Some((hole, value)) => filled.push((hole.clone(), value.to_owned())),
            None if template.holes().next().is_none() && template.texts().eq([text.as_str()]) => {}
            None => return None,
        }
    }
    for (name, template) in query {
        let (_, text) = pairs.iter().find(|(known, _)| known == name)?;
        match template.read(text) {
            Some((hole, value)) => filled.push((hole.clone(), value.to_owned())),
            None if template.texts().collect::<String>() == *text => {}
            None => return None,
        }
    }
    Some(filled)
}
