//! The values that go round, each with its reason, and where each is refused.

/// A value as people would write it down.
#[derive(Clone, Copy, Debug)]
pub enum Sort {
    Null,
    Flag(bool),
    Number(&'static str),
    Text(&'static str),
    /// Text that is too long to stand here: so many bytes.
    Long(usize),
    Nested(&'static str),
    Bytes(&'static [u8]),
    /// What a system may hold although it is no value: JSON text, SQL, bytes of a CSV cell.
    Broken {
        json: Option<&'static str>,
        sql: Option<&'static str>,
        csv: Option<&'static [u8]>,
    },
}

/// Ends that can't take a value, and what the refusal says.
pub struct Refused {
    pub ends: &'static [&'static str],
    pub says: &'static str,
}

/// Cases with their places in the table.
pub type Cases = Vec<(usize, &'static Case)>;

pub struct Case {
    pub name: &'static str,
    pub sort: Sort,
    /// Elsewhere it arrives as it is.
    pub refused: &'static [Refused],
    pub why: &'static str,
}

const REAL: Refused = Refused { ends: &["real"], says: "more digits than" };
const NUMBERS: Refused = Refused { ends: &["integer", "numeric", "real"], says: "more digits than" };
const SPELT: Refused = Refused { ends: &["integer", "numeric", "real"], says: "spelt" };
const NOT_SQLITE: Refused =
    Refused { ends: &["csv", "json", "jsonl", "salesforce", "outreach", "servicenow"], says: "bytes" };
const EVERYWHERE: Refused = Refused { ends: &[], says: "" };

const fn case(name: &'static str, sort: Sort, refused: &'static [Refused], why: &'static str) -> Case {
    Case { name, sort, refused, why }
}

use Sort::{Broken, Bytes, Flag, Long, Nested, Null, Number, Text};

pub const CASES: &[Case] = &[
    case("null", Null, &[], "is not empty text"),
    case("true", Flag(true), &[], "1 in SQLite, true in CSV"),
    case("false", Flag(false), &[], "is not null"),
    case("zero", Number("0"), &[], "is not false"),
    case("minus-one", Number("-1"), &[], "a sign"),
    case("2^53+1", Number("9007199254740993"), &[REAL], "the first whole number that no float holds"),
    case("-2^53-1", Number("-9007199254740993"), &[REAL], "the same below zero"),
    case("i64-max", Number("9223372036854775807"), &[REAL], "the end of SQLite's integers"),
    case(
        "i64-min",
        Number("-9223372036854775808"),
        &[REAL],
        "its float is exact and reads back as another number",
    ),
    case("i64-max+1", Number("9223372036854775808"), &[NUMBERS], "wraps where nobody looks"),
    case("u64-max", Number("18446744073709551615"), &[NUMBERS], "an id of another language"),
    case(
        "38-digits",
        Number("12345678901234567890.123456789012345678"),
        &[NUMBERS],
        "money in a big database",
    ),
    case("38-places", Number("0.12345678901234567890123456789012345678"), &[NUMBERS], "behind the point"),
    case("tenth", Number("0.1"), &[], "no float is a tenth; its shortest text is"),
    case("trailing-zero", Number("0.10"), &[], "the same amount as 0.1"),
    case("whole-float", Number("1.0"), &[], "the same amount as 1"),
    case("minus-zero", Number("-0.0"), &[], "its amount is 0; SQLite keeps no sign of it"),
    case("exponent", Number("1E+2"), &[], "another spelling of 100"),
    case("smallest-float", Number("5e-324"), &[], "a denormal"),
    case("largest-float", Number("1.7976931348623157e308"), &[], "just in range"),
    case("1e400", Number("1e400"), &[NUMBERS], "infinite as a float"),
    case("1e-400", Number("1e-400"), &[NUMBERS], "zero as a float"),
    case("empty", Text(""), &[], "is not null"),
    case("spaces", Text("  around  "), &[], "nobody asked for a trim"),
    case("leading-zero", Text("007"), &[SPELT], "a postcode"),
    case("spaced-number", Text(" 12 "), &[SPELT], "a column of numbers would trim it"),
    case("plus", Text("+49"), &[SPELT], "the start of a phone number"),
    case("bare-point", Text(".5"), &[SPELT], "SQLite reads it as 0.5"),
    case("digits", Text("9007199254740993"), &[REAL], "text that is a number"),
    case("u64-text", Text("18446744073709551615"), &[NUMBERS], "the same as text"),
    case("money-text", Text("1.50"), &[], "1.5 in a column of numbers"),
    case("1e5", Text("1e5"), &[], "a part number, or 100000 in a column of numbers"),
    case("hex", Text("0x10"), &[], "no number to anybody"),
    case("word-true", Text("true"), &[], "text stays text"),
    case("word-null", Text("null"), &[], "text stays text"),
    case("word-nan", Text("NaN"), &[], "text stays text"),
    case("word-inf", Text("-Infinity"), &[], "text stays text"),
    case("nul", Text("a\0b"), &[], "ends C strings"),
    case("lines", Text("one\r\ntwo\nthree\rfour\u{2028}five"), &[], "all the line ends there are"),
    case("quotes", Text("say \"hi\", it's, a \\ \u{8}; ${HOME} %41 <b>&amp;</b>"), &[], "somebody's escape"),
    case("formula", Text("=SUM(A1)"), &[], "guarded for a spreadsheet it would be another value"),
    case("json-text", Text("{\"b\": 1,  \"a\": 2}"), &[], "text that looks like JSON keeps its spaces"),
    case("emoji", Text("👩‍👩‍👧‍👦 🦀 \u{1f1e9}\u{1f1ea}"), &[], "beyond the first plane, joined"),
    case("decomposed", Text("e\u{301} ﬁ Å"), &[], "only keys are composed, never values"),
    case(
        "odd-letters",
        Text("\u{feff}\u{fffd}\u{ffff}\u{10ffff}\u{85}\u{202e}"),
        &[],
        "marks and non-characters",
    ),
    case("megabyte", Long(1 << 20), &[], "1 MB of text"),
    case("year-0", Text("0000-01-01"), &[], "before most calendars begin"),
    case("year-9999", Text("9999-12-31T23:59:59.999999999Z"), &[], "nanoseconds"),
    case("leap-second", Text("2016-12-31T23:59:60Z"), &[], "most clocks refuse it"),
    case("fold-first", Text("2024-10-27T02:30:00+02:00"), &[], "the first half past two of that night"),
    case("fold-second", Text("2024-10-27T02:30:00+01:00"), &[], "the second one, an hour later"),
    case("gap", Text("2024-03-31 02:30:00"), &[], "a local time that never was in Berlin"),
    case(
        "zone",
        Text("2024-07-01T12:00:00+05:45[Asia/Kathmandu]"),
        &[],
        "a quarter of an hour, with its name",
    ),
    case("no-zone", Text("2024-07-01T12:00:00-00:00"), &[], "unknown offset is not UTC"),
    case(
        "object",
        Nested(r#"{"b":[1,2.50,9007199254740993,1e400],"a":{"x":null,"é":"\u0000"}}"#),
        &[],
        "nested, exact inside",
    ),
    case("list", Nested("[[],{},\"\",-0.0]"), &[], "empty things"),
    case("blob", Bytes(b"\x00\xffab"), &[NOT_SQLITE], "only SQLite has bytes"),
    case(
        "half-letter",
        Broken {
            json: Some(r#""\ud800""#),
            sql: Some("CAST(x'eda080' AS TEXT)"),
            csv: Some(b"\xed\xa0\x80"),
        },
        &[EVERYWHERE],
        "a lone surrogate is no text",
    ),
    case(
        "twice",
        Broken { json: Some(r#"{"a":1,"a":2}"#), sql: None, csv: None },
        &[EVERYWHERE],
        "nobody can say which of the two is meant",
    ),
    case("infinity", Broken { json: None, sql: Some("9e999"), csv: None }, &[EVERYWHERE], "no number"),
];

/// The same records, each with the value of another case; a value that can't be said stays.
pub fn turned(cases: &Cases, can_say: impl Fn(Sort) -> bool) -> Cases {
    let other = |at: usize| cases.iter().cycle().nth(at + 7).map(|(_, case)| *case);
    let turn = |(at, (key, case)): (usize, &(usize, &'static Case))| {
        (*key, other(at).filter(|other| can_say(other.sort)).unwrap_or(case))
    };
    cases.iter().enumerate().map(turn).collect()
}

/// A megabyte goes from each end to the next in the list only: a hundred of them take long and show no more.
pub fn cases(with_long: bool) -> Cases {
    CASES.iter().enumerate().filter(|(_, case)| with_long || !matches!(case.sort, Long(_))).collect()
}

/// The key of a case.
pub fn key(at: usize) -> String {
    format!("k{at:03}")
}
