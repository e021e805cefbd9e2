//! Tokens to a query.

use super::lexer::{Token, tokens, unescape};
use crate::connectors::salesforce::mock::errors::ApiError;
use crate::connectors::salesforce::wire::parse_datetime;
use crate::engine::record::{Number, Timestamp, Value};

/// Characters of a query; the real limit.
const QUERY_MAX: usize = 100_000;
/// Parentheses and NOTs inside each other.
const DEPTH_MAX: usize = 50;

/// What a query asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// As it was written.
    pub text: String,
    pub select: Select,
    pub from: String,
    pub condition: Option<Condition>,
    pub order: Vec<Order>,
    pub limit: Option<usize>,
    pub offset: usize,
    pub all_rows: bool,
}

/// The SELECT list.
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    Count,
    /// `COUNT(field)`, and under which name the number is given.
    CountOf(String, String),
    /// Field names, or `FIELDS(ALL)`, `FIELDS(STANDARD)`, `FIELDS(CUSTOM)` in capitals.
    Fields(Vec<String>),
}

/// One part of ORDER BY.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub field: String,
    pub descending: bool,
    pub nulls_last: bool,
}

/// The WHERE clause.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Compare { field: String, comparison: Comparison, literal: Literal },
    In { field: String, literals: Vec<Literal>, negated: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
}

/// A value as it stands in a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    /// Text without its escapes, and as written for LIKE.
    Text(String, String),
    Number(Value),
    Date(String),
    DateTime(Timestamp),
    /// `TODAY`, `LAST_N_DAYS:3`: in capitals, with its number.
    Named(String, i64),
}

/// Reads a query.
pub fn parse(text: &str) -> Result<Query, ApiError> {
    if text.chars().count() > QUERY_MAX {
        return Err(malformed("SOQL statements cannot be longer than 100000 characters."));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens: &tokens, at: 0, depth: 0 };
    let query = parser.query()?;
    match parser.peek() {
        None => Ok(query),
        Some(token) => Err(unexpected(Some(token))),
    }
}

/// Builds the error of a query that is none.
pub fn malformed(message: &str) -> ApiError {
    ApiError::new(400, "MALFORMED_QUERY", message)
}

fn unexpected(token: Option<&Token>) -> ApiError {
    let shown = token.map_or_else(|| "<EOF>".to_owned(), Token::shown);
    malformed(&format!("unexpected token: '{shown}'"))
}

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'t Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn take(&mut self, keyword: &str) -> bool {
        let here = self.peek().is_some_and(|token| token.is(keyword));
        self.at += usize::from(here);
        here
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let here = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(here);
        here
    }

    fn expect(&mut self, keyword: &str) -> Result<(), ApiError> {
        if self.take(keyword) { Ok(()) } else { Err(unexpected(self.peek())) }
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), ApiError> {
        if self.take_sign(sign) { Ok(()) } else { Err(unexpected(self.peek())) }
    }

    fn name(&mut self) -> Result<String, ApiError> {
        match self.next() {
            Some(Token::Word(word))
                if word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') =>
            {
                Ok(word.clone())
            }
            other => Err(unexpected(other)),
        }
    }

    fn count(&mut self) -> Result<usize, ApiError> {
        match self.next() {
            Some(Token::Word(word)) => word.parse().map_err(|_| unexpected(Some(&Token::Word(word.clone())))),
            other => Err(unexpected(other)),
        }
    }

    fn query(&mut self) -> Result<Query, ApiError> {
        self.expect("SELECT")?;
        let select = self.select()?;
        self.expect("FROM")?;
        let from = self.name()?;
        let condition = if self.take("WHERE") { Some(self.condition()?) } else { None };
        let mut order = Vec::new();
        if self.take("ORDER") {
            self.expect("BY")?;
            order.push(self.order()?);
            while self.take_sign(",") {
                order.push(self.order()?);
            }
        }
        let limit = if self.take("LIMIT") { Some(self.count()?) } else { None };
        let offset = if self.take("OFFSET") { self.count()? } else { 0 };
        if offset > 2000 {
            return Err(ApiError::new(
                400,
                "NUMBER_OUTSIDE_VALID_RANGE",
                "Maximum SOQL offset allowed is 2000",
            ));
        }
        let all_rows = self.take("ALL");
        if all_rows {
            self.expect("ROWS")?;
        }
        Ok(Query { text: self.text.to_owned(), select, from, condition, order, limit, offset, all_rows })
    }

    fn select(&mut self) -> Result<Select, ApiError> {
        let mut fields = Vec::new();
        loop {
            let name = self.name()?;
            if !self.take_sign("(") {
                fields.push(name);
            } else if name.eq_ignore_ascii_case("COUNT") && self.take_sign(")") && fields.is_empty() {
                return Ok(Select::Count);
            } else if name.eq_ignore_ascii_case("COUNT") && fields.is_empty() {
                let field = self.name()?;
                self.expect_sign(")")?;
                let named = self.peek().is_some_and(|token| !token.is("FROM"));
                return Ok(Select::CountOf(field, if named { self.name()? } else { "expr0".to_owned() }));
            } else if name.eq_ignore_ascii_case("FIELDS") {
                fields.push(format!("FIELDS({})", self.name()?.to_ascii_uppercase()));
                self.expect_sign(")")?;
            } else {
                return Err(malformed(&format!("unexpected token: '{name}'")));
            }
            if !self.take_sign(",") {
                return Ok(Select::Fields(fields));
            }
        }
    }

    fn order(&mut self) -> Result<Order, ApiError> {
        let field = self.name()?;
        let descending = !self.take("ASC") && self.take("DESC");
        // Nulls come first whichever way the rest is sorted.
        let mut nulls_last = false;
        if self.take("NULLS") {
            nulls_last = !self.take("FIRST");
            if nulls_last {
                self.expect("LAST")?;
            }
        }
        Ok(Order { field, descending, nulls_last })
    }

    /// Reads a chain of one kind: AND and OR may not be mixed without parentheses.
    fn condition(&mut self) -> Result<Condition, ApiError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(malformed("the condition is nested too deeply"));
        }
        let mut parts = vec![self.term()?];
        let joint = ["AND", "OR"].into_iter().find(|joint| self.peek().is_some_and(|token| token.is(joint)));
        if let Some(joint) = joint {
            while self.take(joint) {
                parts.push(self.term()?);
            }
            let other = if joint == "AND" { "OR" } else { "AND" };
            if self.peek().is_some_and(|token| token.is(other)) {
                return Err(unexpected(self.peek()));
            }
        }
        self.depth -= 1;
        Ok(match (joint, parts.len()) {
            (Some("OR"), _) => Condition::Or(parts),
            (_, 1) => parts.remove(0),
            _ => Condition::And(parts),
        })
    }

    fn term(&mut self) -> Result<Condition, ApiError> {
        if self.take("NOT") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(malformed("the condition is nested too deeply"));
            }
            let inner = self.term()?;
            self.depth -= 1;
            return Ok(Condition::Not(Box::new(inner)));
        }
        if self.take_sign("(") {
            let inner = self.condition()?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let field = self.name()?;
        let negated = self.take("NOT");
        if negated || self.peek().is_some_and(|token| token.is("IN")) {
            self.expect("IN")?;
            self.expect_sign("(")?;
            let mut literals = vec![self.literal()?];
            while self.take_sign(",") {
                literals.push(self.literal()?);
            }
            self.expect_sign(")")?;
            return Ok(Condition::In { field, literals, negated });
        }
        let comparison = match self.next() {
            Some(Token::Sign("=")) => Comparison::Equal,
            Some(Token::Sign("!=" | "<>")) => Comparison::NotEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::LessOrEqual,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
            Some(token) if token.is("LIKE") => Comparison::Like,
            other => return Err(unexpected(other)),
        };
        Ok(Condition::Compare { field, comparison, literal: self.literal()? })
    }

    fn literal(&mut self) -> Result<Literal, ApiError> {
        let word = match self.next() {
            Some(Token::Quoted(text)) => return Ok(Literal::Text(unescape(text)?, text.clone())),
            Some(Token::Word(word)) => word,
            other => return Err(unexpected(other)),
        };
        let capitals = word.to_ascii_uppercase();
        match capitals.as_str() {
            "NULL" => return Ok(Literal::Null),
            "TRUE" => return Ok(Literal::Bool(true)),
            "FALSE" => return Ok(Literal::Bool(false)),
            _ => {}
        }
        if let Some(at) = parse_datetime(word) {
            return Ok(Literal::DateTime(at));
        }
        if word.len() == 10 && word.parse::<jiff::civil::Date>().is_ok() {
            return Ok(Literal::Date(word.clone()));
        }
        let plain = word.trim_start_matches('+');
        if let Some(number) = Number::parse(plain) {
            return Ok(Literal::Number(number));
        }
        let (name, number) = capitals.split_once(':').unwrap_or((&capitals, "0"));
        match number.parse() {
            Ok(number) if NAMED.contains(&name) => Ok(Literal::Named(name.to_owned(), number)),
            _ => Err(unexpected(Some(&Token::Word(word.clone())))),
        }
    }
}

/// Date literals by name that the mock knows.
const NAMED: &[&str] = &[
    "TODAY",
    "YESTERDAY",
    "TOMORROW",
    "LAST_N_DAYS",
    "NEXT_N_DAYS",
    "THIS_WEEK",
    "LAST_WEEK",
    "THIS_MONTH",
    "LAST_MONTH",
    "THIS_YEAR",
    "LAST_YEAR",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_or_refused() {
        // (query, taken, why)
        let cases = [
            ("SELECT Id FROM Contact", true, "the least"),
            (
                "select id from contact where name='x' order by id desc nulls last limit 5 offset 2",
                true,
                "case",
            ),
            ("SELECT COUNT() FROM X", true, "a count"),
            ("SELECT COUNT(Id) total FROM X", true, "a count of values"),
            ("SELECT COUNT(Id), Id FROM X", false, "a count beside rows"),
            ("SELECT FIELDS(ALL) FROM X LIMIT 200", true, "all fields"),
            ("SELECT Id FROM X WHERE a = 1 AND (b = 2 OR c = 3)", true, "with parentheses"),
            ("SELECT Id FROM X WHERE a = 1 AND b = 2 OR c = 3", false, "mixed without parentheses"),
            ("SELECT Id FROM X WHERE NOT a = 1", true, "NOT"),
            ("SELECT Id FROM X WHERE a NOT IN ('x', null)", true, "NOT IN"),
            ("SELECT Id FROM X WHERE a IN ()", false, "an empty list"),
            ("SELECT Id FROM X WHERE d > 2024-01-31T10:00:00.000+0000", true, "the stored form"),
            ("SELECT Id FROM X WHERE d = LAST_N_DAYS:3 AND e < TODAY", true, "named dates"),
            ("SELECT Id FROM X WHERE d = SOMEDAY", false, "no such date"),
            ("SELECT Id FROM X LIMIT x", false, "no number"),
            ("SELECT Id FROM X OFFSET 2001", false, "too far"),
            ("SELECT FROM X", false, "nothing selected"),
            ("SELECT Id", false, "no FROM"),
            ("SELECT Id FROM X; DROP", false, "no such sign"),
            ("SELECT Id FROM X ALL ROWS", true, "deleted ones too"),
            ("", false, "nothing"),
        ];
        for (query, taken, why) in cases {
            let parsed = parse(query);
            assert_eq!(parsed.is_ok(), taken, "{why}: {query}: {parsed:?}");
        }
        let deep = format!("SELECT Id FROM X WHERE {}a = 1{}", "(".repeat(9000), ")".repeat(9000));
        assert!(parse(&deep).is_err(), "depth has a bound");
    }
}
