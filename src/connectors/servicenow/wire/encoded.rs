//! Encoded queries, built: the one place where text gets into one.
//!
//! Invariant: no value ends its condition, begins another or is run as a script. A caret is doubled; what
//! can't be said ([`is_sayable`]) is never part of a query.

/// Letters of a name at most.
const NAME_MAX: usize = 80;

/// Tells whether a text can name a table or a field; dots walk along references.
pub fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.len() <= NAME_MAX && text.split('.').all(part)
}

/// Tells whether a text is a sys_id.
pub fn is_sys_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// Tells whether the service would take the text for a value: an empty one it takes for "empty", and one that
/// begins with `javascript:` it runs.
pub fn is_sayable(value: &str) -> bool {
    const SCRIPT: &str = "javascript:";
    let value = value.trim_start();
    let runs = value.get(..SCRIPT.len()).is_some_and(|head| head.eq_ignore_ascii_case(SCRIPT));
    !value.is_empty() && !runs
}

/// Builds one query. Names must be names; others are left out with their conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded(String);

impl Encoded {
    /// Starts without a condition.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, joint: &str, field: &str, operator: &str, value: &str) -> Self {
        if !is_name(field) {
            return self;
        }
        if !self.0.is_empty() {
            self.0.push('^');
            self.0.push_str(joint);
        }
        self.0.push_str(field);
        self.0.push_str(operator);
        for letter in value.chars() {
            if letter == '^' {
                self.0.push('^');
            }
            self.0.push(letter);
        }
        self
    }

    /// Asks for records whose field is just this; the value must be sayable.
    #[must_use]
    pub fn is(self, field: &str, value: &str) -> Self {
        self.push("", field, "=", value)
    }

    /// Asks for records whose field holds anything.
    #[must_use]
    pub fn holding(self, field: &str) -> Self {
        self.push("", field, "ISNOTEMPTY", "")
    }

    /// Asks for records whose field is this or comes after it.
    #[must_use]
    pub fn from(self, field: &str, value: &str) -> Self {
        self.push("", field, ">=", value)
    }

    /// Asks for records whose field is this or comes before it.
    #[must_use]
    pub fn until(self, field: &str, value: &str) -> Self {
        self.push("", field, "<=", value)
    }

    /// Asks for records whose field comes after this.
    #[must_use]
    pub fn after(self, field: &str, value: &str) -> Self {
        self.push("", field, ">", value)
    }

    /// Asks for records behind a row, in the order of (stamp, sys_id).
    #[must_use]
    pub fn behind(self, stamp_field: &str, stamp: &str, id: &str) -> Self {
        let from = self.from(stamp_field, stamp);
        from.push("", stamp_field, ">", stamp).push("OR", "sys_id", ">", id)
    }

    /// Asks for records whose field is one of these. Values that can't be said are left out; `None` where
    /// none is left, because a query without the condition would show everything.
    #[must_use]
    pub fn any(self, field: &str, values: &[&str]) -> Option<Self> {
        let mut sayable = values.iter().copied().filter(|value| is_sayable(value)).peekable();
        sayable.peek()?;
        if !is_name(field) {
            return None;
        }
        let values: Vec<&str> = sayable.collect();
        // A list has no way to say a comma, and nobody knows what it makes of spaces at the ends.
        let plain = |value: &&str| !value.contains(',') && value.trim() == *value;
        if values.len() > 1 && values.iter().all(plain) {
            return Some(self.push("", field, "IN", &values.join(",")));
        }
        let alternatives = values.iter().enumerate();
        Some(
            alternatives.fold(self, |query, (at, value)| {
                query.push(if at == 0 { "" } else { "OR" }, field, "=", value)
            }),
        )
    }

    /// Asks for records of which one of these fields is just this.
    #[must_use]
    pub fn any_field(self, fields: &[String], value: &str) -> Self {
        let alternatives = fields.iter().enumerate();
        alternatives
            .fold(self, |query, (at, field)| query.push(if at == 0 { "" } else { "OR" }, field, "=", value))
    }

    /// Orders by these fields, the first one first.
    #[must_use]
    pub fn ordered_by(mut self, fields: &[&str]) -> Self {
        for field in fields.iter().filter(|field| is_name(field)) {
            self = self.ordered("ORDERBY", field);
        }
        self
    }

    /// Orders by this field, the greatest first.
    #[must_use]
    pub fn latest(self, field: &str) -> Self {
        if is_name(field) { self.ordered("ORDERBYDESC", field) } else { self }
    }

    fn ordered(self, word: &str, field: &str) -> Self {
        let before = if self.0.is_empty() { "" } else { "^" };
        Self(self.0 + before + word + field)
    }

    /// Returns the query's text, not yet percent-encoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_told_from_tricks() {
        for (text, is) in [
            ("sys_updated_on", true),
            ("caller_id.email", true),
            ("u_Mixed9", true),
            ("", false),
            ("a..b", false),
            ("a^b", false),
            ("a=b", false),
            ("a b", false),
            ("../x", false),
        ] {
            assert_eq!(is_name(text), is, "{text:?}");
        }
        for (text, is) in [
            ("a", true),
            ("javascript", true),
            ("JavaScript:gs.log()", false),
            ("  javascript:x", false),
            ("", false),
            ("   ", false),
            ("not javascript:", true),
        ] {
            assert_eq!(is_sayable(text), is, "{text:?}");
        }
    }

    #[test]
    fn queries_say_what_they_mean() {
        let query = Encoded::new().behind("sys_updated_on", "2025-03-01 09:15:00", "0f");
        assert_eq!(
            query.ordered_by(&["sys_updated_on", "sys_id"]).as_str(),
            "sys_updated_on>=2025-03-01 09:15:00^sys_updated_on>2025-03-01 09:15:00^ORsys_id>0f^ORDERBYsys_updated_on^ORDERBYsys_id"
        );
        assert_eq!(Encoded::new().ordered_by(&["sys_id"]).as_str(), "ORDERBYsys_id");
        // (values, query, why)
        let cases: [(&[&str], Option<&str>, &str); 7] = [
            (&["a"], Some("k=a"), "one"),
            (&["a", "b"], Some("kINa,b"), "a list"),
            (&["a", "b,c"], Some("k=a^ORk=b,c"), "a comma is a value's own"),
            (&["a", " b"], Some("k=a^ORk= b"), "so is a space"),
            (&["a^ORx=1"], Some("k=a^^ORx=1"), "nothing leaves its value"),
            (&["", "a"], Some("k=a"), "nothing is no value"),
            (&["javascript:gs.x()"], None, "and scripts are not run"),
        ];
        for (values, expected, why) in cases {
            let query = Encoded::new().any("k", values);
            assert_eq!(query.as_ref().map(Encoded::as_str), expected, "{why}");
        }
        assert_eq!(Encoded::new().any("no name", &["a"]), None, "a bad name would show everything");
    }
}
