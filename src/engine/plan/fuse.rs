//! What is too much to be believed at once.
//!
//! Absence and emptiness are weak evidence: a truncated file, a missing permission or a broken query look
//! just like somebody who deletes or empties things. A few are believed; many at once want a person's word.

use crate::engine::record::Schema;

/// From when on nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deletions: at least so many, and more than this part of the known records, in percent.
    pub deletes_min: u64,
    pub deletes_percent: u64,
    /// One field that turned empty: the same.
    pub emptied_min: u64,
    pub emptied_percent: u64,
    /// A stream that had at least so many records and shows none.
    pub empty_min: u64,
}

/// What a pass has met so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub shown: u64,
    pub gone: u64,
    /// By position: the field had a value and is null or empty now.
    pub emptied: Vec<u64>,
}

/// What is known of the stream beside the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Records that the side is known to have.
    pub present: u64,
    /// Records are shown from the first on, changed or not; else only what changed is.
    pub whole: bool,
    /// It has been shown to its end: what is counted as shown is all there is.
    pub complete: bool,
}

/// Which implausible thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Deletes,
    Emptied,
    EmptyStream,
    ShrunkenStream,
    /// The stream can't be read any more as what it was: a file without its header.
    Unreadable,
    /// The stream stands before the place where reading stopped.
    Restored,
}

/// One thing that is not believed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    pub kind: Kind,
    /// The field that turned empty.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    pub count: u64,
    pub of: u64,
}

impl Counts {
    /// Adds one page's counts.
    pub fn add(&mut self, page: &Self) {
        self.shown += page.shown;
        self.gone += page.gone;
        if self.emptied.len() < page.emptied.len() {
            self.emptied.resize(page.emptied.len(), 0);
        }
        self.emptied.iter_mut().zip(&page.emptied).for_each(|(sum, count)| *sum += count);
    }
}

impl Finding {
    /// Tells whether a full look beforehand counted as many already.
    pub fn within(&self, allowed: &Counts, shape: &Schema) -> bool {
        let count = match self.kind {
            Kind::Emptied => {
                let at = self.field.as_deref().and_then(|field| shape.position(field));
                at.and_then(|at| allowed.emptied.get(at)).copied().unwrap_or_default()
            }
            Kind::Deletes | Kind::EmptyStream | Kind::ShrunkenStream => allowed.gone,
            Kind::Unreadable => return false,
            // Said by the stream itself, not by what is counted.
            Kind::Restored => return true,
        };
        self.count <= count
    }

    /// Tells whether a person who was shown `told` has answered for this as well: no more of the same.
    pub fn is_covered(&self, told: &[Self]) -> bool {
        let losses = |kind| matches!(kind, Kind::Deletes | Kind::EmptyStream | Kind::ShrunkenStream);
        told.iter().any(|told| {
            let alike = told.kind == self.kind || (losses(told.kind) && losses(self.kind));
            alike && told.field == self.field && self.count <= told.count
        })
    }

    /// Says it in words, about a stream.
    pub fn words(&self, stream: &str) -> String {
        let Self { count, of, .. } = self;
        match self.kind {
            Kind::Deletes => format!("{count} of {of} records are gone from {stream} at once"),
            Kind::Emptied => {
                let field = self.field.as_deref().unwrap_or_default();
                format!("{field} turned empty in {count} of {of} records of {stream} at once")
            }
            Kind::EmptyStream => format!("{stream} shows no record at all, and had {of}"),
            Kind::ShrunkenStream => format!("{stream} does not show {count} of {of} records any more"),
            Kind::Unreadable => format!("{stream} can't be read any more"),
            Kind::Restored => {
                format!("the cursor is ahead of {stream}, which looks restored from a backup: the link halts")
            }
        }
    }
}

/// Judges what was met.
pub fn findings(counts: &Counts, stream: Stream, limits: &Limits, shape: &Schema) -> Vec<Finding> {
    let mut findings = Vec::new();
    let present = stream.present;
    let found = |kind, field, count, of| Finding { kind, field, count, of };
    let many = |count: u64, of: u64, min: u64, percent: u64| {
        count >= min.max(1) && count.saturating_mul(100) > of.saturating_mul(percent)
    };
    if stream.complete && counts.shown == 0 && present >= limits.empty_min.max(1) {
        findings.push(found(Kind::EmptyStream, None, counts.gone.max(present), present));
    } else if many(counts.gone, present, limits.deletes_min, limits.deletes_percent) {
        findings.push(found(Kind::Deletes, None, counts.gone, present));
    }
    let of = if stream.whole { counts.shown } else { present.max(counts.shown) };
    for (at, &count) in counts.emptied.iter().enumerate() {
        if many(count, of, limits.emptied_min, limits.emptied_percent) {
            let field = shape.name(at).map(str::to_owned);
            findings.push(found(Kind::Emptied, field, count, of));
        }
    }
    findings
}
