//! Walking through a list, page by page, in every style.
//!
//! Invariant: a list ends only where the service says so, or where a page shows nothing new; a page that is
//! merely shorter than asked for is no end. A list that counts its records is read with an overlap of one
//! record, so that a deletion before that place shifts nothing out of sight unseen.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::Call;
use super::super::rest::RawReply;
use super::service::{Ask, Service, Target};
use super::settings::{List, Page, PageStyle, Stream, Verb};
use super::wire::{self, Decoder, Facts, Listed, Pointer, Query, Tree};
use crate::engine::fault::{Fault, FaultCode};
use crate::engine::record::{Value, value_from_raw};

/// Ids of the end of a page that the next one is laid at.
const ANCHORS: usize = 8;

/// Where a walk goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    place: Place,
    /// Records that were shown.
    pub shown: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Place {
    Cursor { token: String },
    Offset { at: u64, anchors: Vec<String> },
    Page { number: u64, size: usize },
    Linked { target: String },
}

/// One page of a walk.
pub struct Turn {
    pub listed: Listed,
    pub reply: RawReply,
    pub next: Option<Step>,
}

/// A list, and what is asked of it.
pub struct Walk<'w> {
    pub service: &'w Service,
    pub stream: &'w Stream,
    pub list: &'w List,
    pub operation: &'w str,
    /// The moment from which changes are asked for.
    pub stamp: Option<&'w str>,
}

impl Walk<'_> {
    /// Reads the page at a step.
    pub async fn page(
        &self,
        step: Option<&Step>,
        limit: usize,
        decoder: &mut Decoder,
        call: &Call,
    ) -> Result<Turn, Fault> {
        let size = self.size(step, limit);
        let target = self.target(step, size)?;
        let body = self.body(step, size)?;
        let ask = Ask {
            operation: self.operation.to_owned(),
            method: self.list.method.map_or(Method::GET, Verb::method),
            target,
            body,
            headers: Vec::new(),
            writes: false,
        };
        let reply = self.service.ask(&ask, call).await?;
        let listed = decoder.list(self.operation, &reply.body, &self.list.records)?;
        self.turn(step, size, listed, reply, &ask.target)
    }

    /// Returns how many records are asked for; the pages of one walk are all of one size where they are
    /// numbered.
    fn size(&self, step: Option<&Step>, limit: usize) -> usize {
        let least = if self.list.page.style == PageStyle::Offset { 2 } else { 1 };
        match step.map(|step| &step.place) {
            Some(Place::Page { size, .. }) => *size,
            _ => limit.clamp(1, self.list.page.size).max(least),
        }
    }

    fn target(&self, step: Option<&Step>, size: usize) -> Result<Target, Fault> {
        if let Some(Step { place: Place::Linked { target }, .. }) = step {
            return Ok(Target::Linked(target.clone()));
        }
        let facts = self.facts();
        let query = Query::path(&self.list.path, &facts)
            .and_then(|query| query.with_all(&self.list.query, &facts))
            .map_err(|unfit| self.unfit(&unfit))?;
        let parameters = self.parameters(step, size);
        let in_query = parameters.iter().filter(|(name, _)| !name.starts_with('/'));
        let query = in_query
            .fold(query, |query, (name, value)| query.with(name, &value.to_plain().unwrap_or_default()));
        Ok(Target::Below(query.into_text()))
    }

    fn body(&self, step: Option<&Step>, size: usize) -> Result<Option<String>, Fault> {
        if self.list.method != Some(Verb::Post) {
            return Ok(None);
        }
        let facts = self.facts();
        let mut body = Tree::default();
        for (name, value) in &self.list.body {
            let value = wire::constant(self.stream, value, &facts).map_err(|unfit| self.unfit(&unfit))?;
            body.set(std::slice::from_ref(name), value);
        }
        for (name, value) in self.parameters(step, size) {
            if let Ok(place) = Pointer::parse(name)
                && name.starts_with('/')
            {
                body.set(place.steps(), Tree::value(&value));
            }
        }
        Ok(Some(body.to_text()))
    }

    fn facts(&self) -> Facts<'_> {
        Facts { stamp: self.stamp, ..Facts::default() }
    }

    /// Gives the parameters of a page; names that begin with a slash are places in the body.
    fn parameters(&self, step: Option<&Step>, size: usize) -> Vec<(&str, Value)> {
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let page = &self.list.page;
        let mut parameters = Vec::with_capacity(2);
        if let Some(name) = &page.size_param {
            parameters.push((name.as_str(), number(size as u64)));
        }
        let place = match (page.style, step.map(|step| &step.place)) {
            (PageStyle::Cursor, Some(Place::Cursor { token })) => Some(Value::text(token)),
            (PageStyle::Offset, Some(Place::Offset { at, .. })) => Some(number(*at)),
            (PageStyle::Offset, None) => Some(number(0)),
            (PageStyle::Page, Some(Place::Page { number: at, .. })) => Some(number(*at)),
            (PageStyle::Page, None) => Some(number(page.first)),
            _ => None,
        };
        parameters.extend(page.param.as_deref().zip(place));
        parameters
    }

    /// Makes a page of a reply.
    fn turn(
        &self,
        step: Option<&Step>,
        size: usize,
        mut listed: Listed,
        reply: RawReply,
        asked: &Target,
    ) -> Result<Turn, Fault> {
        let page = &self.list.page;
        let body = serde_json::from_slice::<&RawValue>(&reply.body).ok();
        let told = |pointer: &Option<Pointer>| {
            pointer.as_ref().zip(body).and_then(|(pointer, body)| value_from_raw(pointer.find(body)?).ok())
        };
        let next = match page.style {
            PageStyle::None => None,
            PageStyle::Cursor => self.next_cursor(step, told(&page.next))?,
            PageStyle::Link => self.next_linked(step, wire::next_link(&reply), asked)?,
            PageStyle::NextUrl => {
                let link = told(&page.next).and_then(|link| link.to_plain()).map(String::from);
                self.next_linked(step, link, asked)?
            }
            PageStyle::Page => {
                let at = match step.map(|step| &step.place) {
                    Some(Place::Page { number, .. }) => *number,
                    _ => page.first,
                };
                let before = at.saturating_sub(page.first).saturating_mul(size as u64);
                let end = Ends::of(page, told(&page.more), told(&page.total));
                let goes_on = self.goes_on(end, before, listed.ids.len(), listed.ids.is_empty())?;
                goes_on.then_some(Place::Page { number: at.saturating_add(1), size })
            }
            PageStyle::Offset => {
                let end = Ends::of(page, told(&page.more), told(&page.total));
                self.next_offset(step, size, &mut listed, end)?
            }
        };
        let shown = step.map_or(0, |step| step.shown).saturating_add(listed.ids.len() as u64);
        Ok(Turn { listed, reply, next: next.map(|place| Step { place, shown }) })
    }

    fn next_cursor(&self, step: Option<&Step>, token: Option<Value>) -> Result<Option<Place>, Fault> {
        let token = token.and_then(|token| token.to_plain()).filter(|token| !token.is_empty());
        let Some(token) = token else { return Ok(None) };
        let next = Place::Cursor { token: token.into() };
        self.unless_in_a_circle(step, next).map(Some)
    }

    fn next_linked(
        &self,
        step: Option<&Step>,
        link: Option<String>,
        asked: &Target,
    ) -> Result<Option<Place>, Fault> {
        let Some(link) = link.filter(|link| !link.is_empty()) else { return Ok(None) };
        let target = self.service.origin.inside(&link, &self.service.url(asked)).map_err(|elsewhere| {
            Fault::fatal(
                FaultCode::Configuration,
                format!("{}: the next page is at {elsewhere}", self.operation),
                "credentials go nowhere else: write as base_url the address that the service itself uses",
            )
        })?;
        self.unless_in_a_circle(step, Place::Linked { target }).map(Some)
    }

    fn unless_in_a_circle(&self, step: Option<&Step>, next: Place) -> Result<Place, Fault> {
        if step.is_some_and(|step| step.place == next) {
            return Err(self.protocol("a page leads to itself"));
        }
        Ok(next)
    }

    /// Tells whether a counted list goes on after `fresh` records, before which there were `before`.
    fn goes_on(&self, end: Ends, before: u64, records: usize, nothing_new: bool) -> Result<bool, Fault> {
        let reached = before.saturating_add(records as u64);
        match (end, nothing_new) {
            (Ends::Total(total), true) if reached < total => {
                Err(self.protocol(&format!("a page is empty, and {reached} of {total} records were shown")))
            }
            (Ends::More(true), true) => Err(self.protocol("a page is empty, and there should be more")),
            (Ends::Total(total), false) => Ok(reached < total),
            (Ends::More(more), false) => Ok(more),
            (Ends::Silent, nothing_new) => Ok(!nothing_new),
            (_, true) => Ok(false),
        }
    }

    /// Lays a page at the one before. Where they don't touch, records were taken out before this place, and
    /// what they shifted may be unseen: it goes back by a page.
    fn next_offset(
        &self,
        step: Option<&Step>,
        size: usize,
        listed: &mut Listed,
        end: Ends,
    ) -> Result<Option<Place>, Fault> {
        let (at, anchors): (u64, &[String]) = match step.map(|step| &step.place) {
            Some(Place::Offset { at, anchors }) => (*at, anchors),
            _ => (0, &[]),
        };
        let touches =
            at == 0 || listed.ids.iter().any(|id| anchors.iter().any(|anchor| anchor == id.as_str()));
        if !touches {
            let at = at.saturating_sub(size as u64);
            return Ok(Some(Place::Offset { at, anchors: anchors.to_vec() }));
        }
        let records = listed.ids.len();
        let is_last = |id: &str| anchors.last().is_some_and(|last| last == id);
        let overlaps = at > 0 && listed.ids.first().is_some_and(|id| is_last(id));
        if overlaps && !listed.changes.is_empty() {
            listed.changes.remove(0);
            listed.ids.remove(0);
        }
        let unseen = listed.ids.iter().any(|id| !anchors.iter().any(|anchor| anchor == id.as_str()));
        if !self.goes_on(end, at, records, !unseen)? {
            return Ok(None);
        }
        let next = at.saturating_add(records as u64).saturating_sub(1);
        let last = listed.ids.iter().rev().filter(|id| !id.is_empty()).take(ANCHORS);
        let mut last: Vec<String> = last.map(ToString::to_string).collect();
        last.reverse();
        if last.is_empty() {
            return Err(self.protocol("no record of the page has an id"));
        }
        Ok(Some(Place::Offset { at: next, anchors: last }))
    }

    fn protocol(&self, what: &str) -> Fault {
        Fault::transient(FaultCode::Protocol, format!("{}: {what}", self.operation))
    }

    fn unfit(&self, unfit: &wire::Unfit) -> Fault {
        Fault::fatal(
            FaultCode::Configuration,
            format!("{}: {} {}", self.operation, unfit.hole, unfit.reason),
            "mend the description of this request",
        )
    }
}

/// What a counted list says of its end.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Silent,
    More(bool),
    Total(u64),
}

impl Ends {
    fn of(page: &Page, more: Option<Value>, total: Option<Value>) -> Self {
        let total = total.and_then(|total| total.to_plain()?.parse().ok());
        match (more, total) {
            (_, Some(total)) if page.total.is_some() => Self::Total(total),
            (Some(Value::Bool(more)), _) if page.more.is_some() => Self::More(more),
            (Some(more), _) if page.more.is_some() => {
                Self::More(more.to_plain().is_some_and(|text| text != "0"))
            }
            _ => Self::Silent,
        }
    }
}
