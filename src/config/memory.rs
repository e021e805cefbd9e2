//! How much may be in memory at once: each chunk, cache and list by itself, or all of it by one budget.

use super::fields::Fields;
use super::service::{Setting, as_usize, setting};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What a process holds that syncs nothing: its code, its threads, its log, the API.
const BASE: u64 = 32 * MIB;
/// What each link holds beside that whatever its sizes are: connections, statements, rules.
const EACH: u64 = MIB;
/// What a link holds with [`Sizes::FULL`] while it fills or is filled: pages on their way, what is known beside them,
/// the caches of its connections, the keys of its scans.
const LINK: u64 = 17 * MIB;
/// What the state holds with them: its connections' caches, what is on its way to its writer.
const STATE: u64 = 20 * MIB;
/// What the process stays within where nobody says otherwise.
const BUDGET: u64 = 48 * MIB;
/// The least part of the full sizes that a link can work with.
const PART_MIN: f64 = 1.0 / 32.0;

/// The bounds of what is in memory at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Records that are read at once from a local source.
    pub page_records: usize,
    /// The same of a remote source, where each page costs a call.
    pub remote_page_records: usize,
    /// Bytes of values that are read at once from a database or a file, but for the last record.
    pub page_bytes: u64,
    /// Records that go out together, unless one batch is larger.
    pub together_records: usize,
    /// Keys that a scan remembers one by one; of a longer one in order, sums are left.
    pub scan_keys: u64,
    /// Pages of the state that its writer keeps.
    pub state_cache_bytes: u64,
    /// Pages of a SQLite stream that each connection keeps.
    pub stream_cache_bytes: u64,
}

impl Sizes {
    /// As large as is of use.
    pub const FULL: Self = Self {
        page_records: 1_200,
        remote_page_records: 2_000,
        page_bytes: 3 * MIB,
        together_records: 3_200,
        scan_keys: 512 * KIB,
        state_cache_bytes: 6 * MIB,
        stream_cache_bytes: MIB,
    };

    /// What holds where nobody asked for a budget: what is said to services and comes from them takes some megabytes
    /// more, and fewer calls.
    fn unasked(links: usize) -> Self {
        let together = Self::FULL.together_records as f64 * part(BUDGET, links).sqrt();
        Self {
            remote_page_records: Self::FULL.remote_page_records,
            together_records: as_usize(together as u64),
            ..Self::within(BUDGET, links)
        }
    }

    /// Sizes that keep so many links within a budget, as far as that is possible.
    fn within(budget: u64, links: usize) -> Self {
        let (full, part) = (Self::FULL, part(budget, links));
        let of = |size: u64| (size as f64 * part) as u64;
        Self {
            page_records: as_usize(of(full.page_records as u64)),
            page_bytes: of(full.page_bytes),
            remote_page_records: as_usize(of(full.remote_page_records as u64)),
            together_records: as_usize(of(full.together_records as u64)),
            scan_keys: of(full.scan_keys),
            state_cache_bytes: of(full.state_cache_bytes).max(MIB),
            stream_cache_bytes: of(full.stream_cache_bytes),
        }
    }
}

/// Returns the part of the full sizes that a budget leaves for each of so many links.
fn part(budget: u64, links: usize) -> f64 {
    let links = links.max(1) as u64;
    let left = budget.saturating_sub(BASE + EACH * links) as f64;
    (left / (LINK * links + STATE) as f64).clamp(PART_MIN, 1.0)
}

/// What `[service]` says of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that the process should stay within; [`BUDGET`] where left out.
    budget: Option<u64>,
    page_records: Option<usize>,
    page_bytes: Option<u64>,
    together_records: Option<usize>,
    scan_keys: Option<u64>,
    state_cache_bytes: Option<u64>,
    stream_cache_bytes: Option<u64>,
}

impl Memory {
    /// Bytes that the process should stay within.
    pub fn budget(&self) -> u64 {
        self.budget.unwrap_or(BUDGET)
    }

    /// Returns how much it takes for so many links at the least, whatever the budget.
    pub fn least(links: usize) -> u64 {
        let links = links as u64;
        BASE + EACH * links + ((LINK * links + STATE) as f64 * PART_MIN) as u64
    }

    /// Returns the sizes for so many links: each as it is written, else as the budget lets it be.
    pub fn sizes(&self, links: usize) -> Sizes {
        let by_budget =
            self.budget.map_or_else(|| Sizes::unasked(links), |budget| Sizes::within(budget, links));
        let remote = by_budget.remote_page_records;
        Sizes {
            page_records: self.page_records.unwrap_or(by_budget.page_records),
            remote_page_records: self.page_records.map_or(remote, |records| records.saturating_mul(2)),
            page_bytes: self.page_bytes.unwrap_or(by_budget.page_bytes),
            together_records: self.together_records.unwrap_or(by_budget.together_records),
            scan_keys: self.scan_keys.unwrap_or(by_budget.scan_keys),
            state_cache_bytes: self.state_cache_bytes.unwrap_or(by_budget.state_cache_bytes),
            stream_cache_bytes: self.stream_cache_bytes.unwrap_or(by_budget.stream_cache_bytes),
        }
    }
}

/// Reads the keys; flags and environment beat the file.
pub(super) fn read(fields: &Fields<'_>) -> Memory {
    let caches = 64 * KIB..=1 << 40;
    Memory {
        budget: read_budget(fields),
        page_records: fields.count("page_records_max", 1..=100_000).map(as_usize),
        page_bytes: fields.count("page_bytes_max", 4 * KIB..=1 << 40),
        together_records: fields.count("together_records_max", 1..=1_000_000).map(as_usize),
        scan_keys: fields.count("scan_keys_max", 0..=1 << 40),
        state_cache_bytes: fields.count("state_cache_bytes_max", caches.clone()),
        stream_cache_bytes: fields.count("stream_cache_bytes_max", caches),
    }
}

fn read_budget(fields: &Fields<'_>) -> Option<u64> {
    let Setting { value, variable } = setting(fields, "memory_budget")?;
    let least = BASE + MIB;
    let refusal = match bytes(&value) {
        Some(budget) if budget >= least => return Some(budget),
        Some(_) => format!("a memory budget of `{value}` is less than the process itself takes"),
        None => format!("`{value}` is no amount of memory"),
    };
    let remedy = format!("write a size of at least {}MB, such as \"64MB\"", least.div_ceil(1_000_000));
    match (variable, fields.node("memory_budget")) {
        (Some(variable), _) => fields.reading.refuse_variable(&variable, refusal, remedy),
        (None, node) => fields.refuse(node.map_or(&fields.span, |node| &node.span), refusal, remedy),
    }
    None
}

/// Reads `64MB`, `64 MiB`, `1GB`, or a number of bytes.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim().trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text.trim().get(digits.len()..)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => KIB,
        "mib" => MIB,
        "gib" => 1 << 30,
        _ => return None,
    };
    digits.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_in_the_units_that_people_use() {
        let cases = [
            ("64MB", Some(64_000_000)),
            ("64 MiB", Some(64 << 20)),
            ("1gb", Some(1_000_000_000)),
            ("2GiB", Some(2 << 30)),
            ("70000000", Some(70_000_000)),
            ("70000 kb", Some(70_000_000)),
            ("64M", None),
            ("much", None),
            ("-1MB", None),
            ("1.5GB", None),
            ("99999999999GB", None),
            ("", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(bytes(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_budget_is_shared_by_the_links_and_what_is_written_down_stands() {
        let of = |megabytes: u64| Memory { budget: Some(megabytes * 1_000_000), ..Memory::default() };
        assert_eq!(of(1_000).sizes(10), Sizes::FULL, "nothing is ever larger than is of use");
        let [one, ten, many] = [1, 10, 10_000].map(|links| of(48).sizes(links));
        assert!(one.page_records < Sizes::FULL.page_records && ten.page_records < one.page_records);
        assert!(ten.scan_keys < one.scan_keys && ten.state_cache_bytes < one.state_cache_bytes);
        assert_eq!(many.page_records, 37, "a part is left for each that can be worked with");
        assert!(Memory::least(10) < 51_000_000 && Memory::least(100) > 100_000_000);
        let untold = Memory::default().sizes(10);
        assert!(untold.page_records < 100, "there is a budget also where nobody asked for one");
        assert_eq!(untold.remote_page_records, 2_000, "which costs no calls");
        assert!(untold.together_records > of(50).sizes(10).together_records, "and hardly any speed");
        let written = Memory { page_records: Some(7), ..of(48) };
        assert_eq!(written.sizes(10), Sizes { page_records: 7, remote_page_records: 14, ..ten });
    }
}
