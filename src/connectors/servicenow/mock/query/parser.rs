//! The grammar of encoded queries.
//!
//! ```text
//! query     = part *( "^" part )              a doubled caret is a caret of a value
//! part      = [ "NQ" ] [ "OR" ] condition     NQ begins another group, OR belongs to the condition before it
//!           | "ORDERBY" field | "ORDERBYDESC" field | "EQ"
//! condition = field operator value
//! ```
//! What is none of these is kept apart: the service drops it and runs the rest.

/// A query taken apart. Groups are alternatives; within a group all clauses have to hold, of a clause one
/// condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub groups: Vec<Vec<Clause>>,
    pub order: Vec<Order>,
    /// Parts that can't be read.
    pub unread: Vec<String>,
}

/// Conditions of which one has to hold.
pub type Clause = Vec<Condition>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// With dots, where it walks along references.
    pub field: String,
    pub op: Op,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub field: String,
    pub descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Is,
    IsNot,
    Greater,
    GreaterOrIs,
    Less,
    LessOrIs,
    Contains,
    ContainsNot,
    StartsWith,
    EndsWith,
    In,
    NotIn,
    Between,
    Empty,
    NotEmpty,
    Anything,
    SameAs,
    NotSameAs,
    InstanceOf,
    On,
    NotOn,
}

/// The operators' spellings; one that begins with another stands before it.
const OPERATORS: [(&str, Op); 25] = [
    ("DOES NOT CONTAIN", Op::ContainsNot),
    ("ISNOTEMPTY", Op::NotEmpty),
    ("EMPTYSTRING", Op::Empty),
    ("INSTANCEOF", Op::InstanceOf),
    ("STARTSWITH", Op::StartsWith),
    ("ISEMPTY", Op::Empty),
    ("ANYTHING", Op::Anything),
    ("ENDSWITH", Op::EndsWith),
    ("CONTAINS", Op::Contains),
    ("NOT LIKE", Op::ContainsNot),
    ("NOTLIKE", Op::ContainsNot),
    ("BETWEEN", Op::Between),
    ("NSAMEAS", Op::NotSameAs),
    ("NOT IN", Op::NotIn),
    ("SAMEAS", Op::SameAs),
    ("NOTON", Op::NotOn),
    ("LIKE", Op::Contains),
    ("IN", Op::In),
    ("ON", Op::On),
    (">=", Op::GreaterOrIs),
    ("<=", Op::LessOrIs),
    ("!=", Op::IsNot),
    ("=", Op::Is),
    (">", Op::Greater),
    ("<", Op::Less),
];

impl Query {
    /// Reads a query. Never fails: what can't be read is kept in `unread`.
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut group: Vec<Clause> = Vec::new();
        for part in parts(text) {
            let mut rest = part.as_str();
            if let Some(field) = rest.strip_prefix("ORDERBYDESC").filter(|field| is_field(field)) {
                query.order.push(Order { field: field.to_owned(), descending: true });
                continue;
            }
            if let Some(field) = rest.strip_prefix("ORDERBY").filter(|field| is_field(field)) {
                query.order.push(Order { field: field.to_owned(), descending: false });
                continue;
            }
            if matches!(rest, "" | "EQ") {
                continue;
            }
            if let Some(after) = rest.strip_prefix("NQ") {
                query.groups.push(std::mem::take(&mut group));
                rest = after;
            }
            let (or, rest) = match rest.strip_prefix("OR") {
                Some(after) if Condition::parse(after).is_some() => (true, after),
                _ => (false, rest),
            };
            match (Condition::parse(rest), group.last_mut()) {
                (Some(condition), Some(clause)) if or => clause.push(condition),
                (Some(condition), _) => group.push(vec![condition]),
                (None, _) => query.unread.push(part),
            }
        }
        query.groups.push(group);
        query
    }
}

impl Condition {
    /// Reads one condition: the field ends where the first operator begins.
    fn parse(text: &str) -> Option<Self> {
        for (at, letter) in text.char_indices() {
            let (field, rest) = text.split_at(at);
            let found = OPERATORS.iter().find(|(word, _)| rest.starts_with(word));
            if let Some((word, op)) = found.filter(|_| is_field(field)) {
                let value = rest.get(word.len()..).unwrap_or_default().to_owned();
                return Some(Self { field: field.to_owned(), op: *op, value });
            }
            if !(letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.')) {
                return None;
            }
        }
        None
    }
}

fn is_field(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

/// Cuts at carets; a doubled one is a caret of a value.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, parts.last_mut()) {
            ('^', Some(part)) if letters.next_if_eq(&'^').is_some() => part.push('^'),
            ('^', _) => parts.push(String::new()),
            (letter, Some(part)) => part.push(letter),
            (_, None) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::super::wire::{Encoded, is_sayable};
    use super::*;

    fn said(text: &str) -> String {
        let query = Query::parse(text);
        let clause = |clause: &Clause| {
            let conditions: Vec<String> =
                clause.iter().map(|it| format!("{} {:?} {}", it.field, it.op, it.value)).collect();
            conditions.join(" | ")
        };
        let groups: Vec<String> = query
            .groups
            .iter()
            .map(|group| group.iter().map(clause).collect::<Vec<_>>().join(" & "))
            .collect();
        let order: Vec<String> = query
            .order
            .iter()
            .map(|order| format!("{}{}", if order.descending { "-" } else { "+" }, order.field))
            .collect();
        [groups.join(" ; "), order.join(" "), query.unread.join(" ")].join(" / ")
    }

    #[test]
    fn queries_are_read_as_the_service_reads_them() {
        // (query, meaning, why)
        let cases = [
            ("", " /  / ", "nothing: everything"),
            ("active=true", "active Is true /  / ", "one condition"),
            ("a=1^b!=2", "a Is 1 & b IsNot 2 /  / ", "and"),
            ("a=1^ORa=2^b=3", "a Is 1 | a Is 2 & b Is 3 /  / ", "or binds to the one before it"),
            ("a=1^NQb=2^ORDERBYc", "a Is 1 ; b Is 2 / +c / ", "another group; the order is everybody's"),
            ("ORDERBYDESCa^ORDERBYb^EQ", " / -a +b / ", "only an order"),
            ("a>=1^b<=2^c>3^d<4", "a GreaterOrIs 1 & b LessOrIs 2 & c Greater 3 & d Less 4 /  / ", "symbols"),
            (
                "aLIKEx^bNOT LIKEy^cSTARTSWITHz^dENDSWITH9",
                "a Contains x & b ContainsNot y & c StartsWith z & d EndsWith 9 /  / ",
                "words",
            ),
            (
                "aIN1,2^bNOT IN3^cISEMPTY^dISNOTEMPTY",
                "a In 1,2 & b NotIn 3 & c Empty  & d NotEmpty  /  / ",
                "more words",
            ),
            (
                "aBETWEEN1@9^bSAMEASc^dINSTANCEOFtask",
                "a Between 1@9 & b SameAs c & d InstanceOf task /  / ",
                "rarer ones",
            ),
            ("caller_id.name=Ada", "caller_id.name Is Ada /  / ", "a walk"),
            ("a=x^^ORb=1", "a Is x^ORb=1 /  / ", "a doubled caret is the value's"),
            ("a==b", "a Is =b /  / ", "a value may begin like an operator"),
            ("a=", "a Is  /  / ", "empty"),
            ("nonsense^a=1^x y=2", "a Is 1 /  / nonsense x y=2", "what can't be read is kept apart"),
            ("sys_created_onONToday@a@b", "sys_created_on On Today@a@b /  / ", "a day"),
        ];
        for (query, meaning, why) in cases {
            assert_eq!(said(query), meaning, "{why}: {query}");
        }
    }

    fn only(query: &Encoded) -> Query {
        let query = Query::parse(query.as_str());
        assert!(query.unread.is_empty() && query.order.is_empty(), "{query:?}");
        query
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_condition(value in "\\PC*", other in "[\\^=,@ A-Z]{0,12}") {
            for value in [value, other] {
                let query = only(&Encoded::new().is("first", &value).after("second", "x"));
                let [group] = query.groups.as_slice() else { panic!("{query:?}") };
                prop_assert_eq!(group.len(), 2);
                prop_assert_eq!(&group[0][0].value, &value);
                prop_assert_eq!(group[0][0].op, Op::Is);
                prop_assert_eq!(&group[1][0].field, "second");
            }
        }

        #[test]
        fn lists_ask_for_just_their_values(values in prop::collection::vec("[\\^,ORNQ=a é\\n']{0,6}", 1..8)) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let sayable: Vec<&str> = values.iter().copied().filter(|value| is_sayable(value)).collect();
            let Some(query) = Encoded::new().is("a", "b").any("key", &values) else {
                prop_assert!(sayable.is_empty());
                return Ok(());
            };
            let query = only(&query);
            let [group] = query.groups.as_slice() else { panic!("{query:?}") };
            prop_assert_eq!(group.len(), 2);
            let asked: Vec<String> = group[1]
                .iter()
                .flat_map(|condition| {
                    assert_eq!(condition.field, "key");
                    match condition.op {
                        Op::In => condition.value.split(',').map(str::to_owned).collect(),
                        Op::Is => vec![condition.value.clone()],
                        op => panic!("{op:?}"),
                    }
                })
                .collect();
            prop_assert_eq!(asked, sayable);
        }
    }
}
