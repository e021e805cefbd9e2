//! Records into bodies.

use serde_json::Value as Json;

use super::super::settings::{Stream, Verb, Write};
use super::tree::is_index;
use super::{Facts, Hole, Template, Tree, Unfit};
use crate::engine::record::{Number, Schema, Value};

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Create,
    Update,
    Delete,
}

impl Sent {
    /// Returns the method where the description names none. A batch goes by POST: few services take a body
    /// with a DELETE.
    pub fn verb(self, in_batch: bool) -> Verb {
        match self {
            _ if in_batch => Verb::Post,
            Self::Create => Verb::Post,
            Self::Update => Verb::Patch,
            Self::Delete => Verb::Delete,
        }
    }
}

/// Writes records of one stream for one kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Encoder<'s> {
    pub stream: &'s Stream,
    pub write: &'s Write,
    pub sent: Sent,
}

impl Encoder<'_> {
    /// Writes one record. `base` is the whole one as it stands there, for services that drop what they are
    /// not sent.
    pub fn record(
        &self,
        base: Option<Tree>,
        shape: &Schema,
        values: &[Value],
        facts: &Facts<'_>,
    ) -> Result<Tree, Unfit> {
        let mut tree = base.unwrap_or_default();
        for (name, value) in shape.names().zip(values) {
            if !value.is_missing() && self.is_written(name) {
                self.put(&mut tree, name, value);
            }
        }
        if let (Some(id), true) = (facts.id, self.carries_id()) {
            tree.set(self.stream.id.steps(), id_tree(self.stream, id));
        }
        for (name, constant_there) in &self.write.item {
            let steps = match name.strip_prefix('/') {
                Some(_) => {
                    super::Pointer::parse(name).map(|place| place.steps().to_vec()).unwrap_or_default()
                }
                None => vec![name.clone()],
            };
            tree.set(&steps, constant(self.stream, constant_there, facts)?);
        }
        Ok(tree)
    }

    /// Writes the body around one record.
    pub fn single(&self, record: Tree) -> Tree {
        let mut body = match self.write.wrap.is_whole() {
            true => record,
            false => {
                let mut body = Tree::default();
                body.set(self.write.wrap.steps(), record);
                body
            }
        };
        self.put_constants(&mut body);
        body
    }

    /// Writes the body around many.
    pub fn many(&self, records: Vec<Tree>) -> Tree {
        if self.write.wrap.is_whole() {
            return Tree::List(records);
        }
        let mut body = Tree::default();
        body.set(self.write.wrap.steps(), Tree::List(records));
        self.put_constants(&mut body);
        body
    }

    /// Tells whether a request has a body at all.
    pub fn has_body(&self) -> bool {
        self.sent != Sent::Delete
            || self.write.batch.is_some()
            || self.write.with_id == Some(true)
            || !self.write.item.is_empty()
            || !self.write.body.is_empty()
    }

    fn put_constants(&self, body: &mut Tree) {
        for (name, value) in &self.write.body {
            body.set(std::slice::from_ref(name), Tree::Raw(value.to_string()));
        }
    }

    fn carries_id(&self) -> bool {
        self.sent != Sent::Create && self.write.with_id.unwrap_or(self.write.batch.is_some())
    }

    /// Leaves out what the service sets itself.
    fn is_written(&self, name: &str) -> bool {
        if name == self.stream.id_field() {
            let is_ours = self.write.with_id == Some(true) || self.write.upsert.as_deref() == Some(name);
            return self.sent == Sent::Create && is_ours;
        }
        let is_stamp = self.stream.stamp.as_ref() == Some(&self.stream.values.member(name));
        !is_stamp && !self.stream.read_only.iter().any(|known| known == name)
    }

    fn put(&self, tree: &mut Tree, name: &str, value: &Value) {
        let Some(place) = self.stream.paths.get(name) else {
            tree.set(self.stream.values.member(name).steps(), Tree::value(value));
            return;
        };
        let list = place.steps().iter().position(|step| is_index(step));
        match (value, list.and_then(|at| place.steps().get(..at))) {
            // An item that is nothing is no item.
            (Value::Null, Some(list)) => tree.set(list, Tree::List(Vec::new())),
            _ => tree.set(place.steps(), Tree::value(value)),
        }
    }
}

/// Writes an id as the stream has them.
fn id_tree(stream: &Stream, id: &str) -> Tree {
    match Number::parse(id) {
        Some(number) if stream.id_number => Tree::value(&number),
        _ => Tree::text(id),
    }
}

/// Writes a constant of the description; texts may hold places.
pub fn constant(stream: &Stream, value: &Json, facts: &Facts<'_>) -> Result<Tree, Unfit> {
    match value {
        Json::String(text) => {
            // Checked when the settings were read.
            let template = Template::parse(text).unwrap_or_default();
            let filled = template.fill(facts)?;
            Ok(if template.is_only(&Hole::Id) { id_tree(stream, &filled) } else { Tree::text(&filled) })
        }
        Json::Array(items) => {
            Ok(Tree::List(items.iter().map(|item| constant(stream, item, facts)).collect::<Result<_, _>>()?))
        }
        Json::Object(members) => {
            let member =
                |(name, value): (&String, &Json)| Ok((name.clone(), constant(stream, value, facts)?));
            Ok(Tree::Object(members.iter().map(member).collect::<Result<_, Unfit>>()?))
        }
        other => Ok(Tree::Raw(other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(
        stream: Json,
        write: Json,
        sent: Sent,
        base: Option<&str>,
        values: &[(&str, Value)],
    ) -> String {
        let stream: Stream = serde_json::from_value(stream).expect("a stream");
        let write: Write = serde_json::from_value(write).expect("a write");
        let shape = Schema::new(values.iter().map(|(name, _)| *name));
        let values: Vec<Value> = values.iter().map(|(_, value)| value.clone()).collect();
        let encoder = Encoder { stream: &stream, write: &write, sent };
        let facts = Facts { id: Some("7"), key: &[("no", "k\"1")], number: Some(3), ..Facts::default() };
        let base = base.map(|text| Tree::Raw(text.to_owned()));
        let record = encoder.record(base, &shape, &values, &facts).expect("a record");
        match write.batch.is_some() {
            true => encoder.many(vec![record]).to_text(),
            false => encoder.single(record).to_text(),
        }
    }

    #[test]
    fn a_body_holds_what_is_written_and_nothing_else() {
        let exact = Number::parse("1.50").expect("a number");
        let values = [
            ("id", Value::Int(9)),
            ("name", Value::text("a\"b")),
            ("note", Value::Absent),
            ("score", exact),
            ("mail", Value::text("m")),
            ("total", Value::Int(1)),
            ("at", Value::text("t")),
        ];
        let stream = json!({"paths": {"mail": "/emails/0/value"}, "read_only": ["total"], "stamp": "/at"});
        // (stream, write, what, whole record, body, why)
        let cases = [
            (
                stream.clone(),
                json!({}),
                Sent::Create,
                None,
                r#"{"name":"a\"b","score":1.50,"emails":[{"value":"m"}]}"#,
                "id, stamp and read-only fields are the service's",
            ),
            (
                stream.clone(),
                json!({"with_id": true}),
                Sent::Create,
                None,
                r#"{"id":9,"name":"a\"b","score":1.50,"emails":[{"value":"m"}]}"#,
                "unless ids are ours",
            ),
            (
                stream.clone(),
                json!({"wrap": "/data", "body": {"silent": true}}),
                Sent::Update,
                None,
                r#"{"data":{"name":"a\"b","score":1.50,"emails":[{"value":"m"}]},"silent":true}"#,
                "wrapped, with a constant",
            ),
            (
                stream,
                json!({"whole": true}),
                Sent::Update,
                Some(r#"{"id":7,"name":"old","kept":1e2,"emails":[{"value":"o","primary":true}]}"#),
                r#"{"id":7,"name":"a\"b","kept":1e2,"emails":[{"value":"m","primary":true}],"score":1.50}"#,
                "whole: what is not written stays, to the digit",
            ),
            (
                json!({"values": "/properties"}),
                json!({"wrap": "/inputs", "batch": {}, "item": {"idProperty": "no", "key": "{key}", "n": "{n}"}}),
                Sent::Update,
                None,
                r#"{"inputs":[{"properties":{"name":"a\"b","score":1.50,"mail":"m","total":1,"at":"t"},"id":"7","idProperty":"no","key":"k\"1","n":"3"}]}"#,
                "a batch carries ids and what its items need",
            ),
            (
                json!({"id_number": true}),
                json!({"batch": {}, "item": {"ref": "{id}"}}),
                Sent::Delete,
                None,
                r#"[{"name":"a\"b","score":1.50,"mail":"m","total":1,"at":"t","id":7,"ref":7}]"#,
                "numbers stay numbers",
            ),
        ];
        for (stream, write, sent, base, body, why) in cases {
            assert_eq!(written(stream, write, sent, base, &values), body, "{why}");
        }
        let empty = written(
            json!({"paths": {"mail": "/emails/0/value", "city": "/address/city"}}),
            json!({}),
            Sent::Update,
            None,
            &[("mail", Value::Null), ("city", Value::Null)],
        );
        assert_eq!(empty, r#"{"emails":[],"address":{"city":null}}"#, "nothing in a list is an empty list");
    }
}
