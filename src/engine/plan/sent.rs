//! Writes that went out and whose answers are not known yet: what each was, in memory and in bytes.
//!
//! A process can die, and a reply can be lost, after the destination has done what it was asked for. What
//! then stands there looks like somebody's edit, unless it is known what was sent.

use std::sync::Arc;

use super::Action;
use crate::engine::record::{Direction, Image, Key, RemoteId, Schema, Values, encode_values};

/// A write whose answer is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub key: Key,
    pub direction: Direction,
    /// The source's own id, where it has one: its tombstone may name nothing else.
    pub id: Option<RemoteId>,
    /// The source as it looked when the write was made; `None` where the source was gone.
    pub made_from: Option<Image>,
    /// The store knew the source by then: where it does not any more, the pair was forgotten since.
    pub is_known: bool,
    pub effect: Effect,
}

/// A write that is about to go out.
#[derive(Clone, Copy, Debug)]
pub struct Going<'w> {
    pub key: &'w Key,
    pub id: Option<&'w RemoteId>,
    pub made_from: Option<&'w Image>,
    pub is_known: bool,
    pub action: &'w Action,
}

/// What the destination shows once it was carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// These values; absent where the write left a field alone.
    Stands(Image),
    Gone,
}

/// Why stored bytes tell no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored writes can't be read")]
pub struct Unreadable;

const FORM: u8 = 1;

const HAS_SOURCE: u8 = 1;
const IS_GONE: u8 = 2;
/// The values are those of the source, as they are wherever rules only rename.
const AS_SOURCE: u8 = 4;
const HAS_ID: u8 = 8;
const IS_KNOWN: u8 = 16;

/// The slip that says what a batch holds: its writes as bytes, which name both shapes once.
#[derive(Debug)]
pub struct Slip {
    bytes: Vec<u8>,
    /// Where an entry's parts are made before it is known how long they are.
    part: Vec<u8>,
    shapes: [Arc<Schema>; 2],
    writes: u32,
}

impl Slip {
    /// Begins with the shapes of the source and of the destination.
    pub fn new(direction: Direction, from: &Arc<Schema>, to: &Arc<Schema>) -> Self {
        let mut bytes = vec![FORM, direction as u8];
        for shape in [from, to] {
            let names: Vec<&str> = shape.names().collect();
            put(&mut bytes, serde_json::json!(names).to_string().as_bytes());
        }
        let shapes = [Arc::clone(from), Arc::clone(to)];
        Self { bytes, part: Vec::new(), shapes, writes: 0 }
    }

    /// Adds a write; what is none is left out.
    pub fn add(&mut self, going: &Going<'_>) {
        match going.action {
            Action::Create(values) | Action::Update(values) => self.put(going, Some(values)),
            Action::Delete => self.put(going, None),
            Action::Nothing(_) | Action::Skip(_) | Action::Invalid(_) | Action::Conflict(_) => {}
        }
    }

    fn put(&mut self, &Going { key, id, made_from, is_known, .. }: &Going<'_>, values: Option<&Values>) {
        self.writes += 1;
        let Self { bytes, part, shapes: [from, to], .. } = self;
        put(bytes, key.as_bytes());
        let flags_at = bytes.len();
        bytes.push(0);
        let mut flags = if is_known { IS_KNOWN } else { 0 };
        part.clear();
        if let Some(id) = id {
            flags |= HAS_ID;
            put(bytes, id.as_bytes());
        }
        if let Some(image) = made_from {
            flags |= HAS_SOURCE;
            if Arc::ptr_eq(&image.shape, from) {
                image.encode(part);
            } else {
                image.clone().reshaped(from).encode(part);
            }
            put(bytes, part);
        }
        match values {
            None => flags |= IS_GONE,
            Some(values) if from.len() == to.len() && is_source(values, made_from, from) => {
                flags |= AS_SOURCE
            }
            Some(values) => {
                let source = part.len();
                encode_values(values, part);
                let (source, values) = part.split_at(source);
                if source == values && from.len() == to.len() {
                    flags |= AS_SOURCE;
                } else {
                    put(bytes, values);
                }
            }
        }
        if let Some(place) = bytes.get_mut(flags_at) {
            *place = flags;
        }
    }

    /// Returns the bytes and how many writes they tell; `None` where nothing was added.
    pub fn close(self) -> Option<(Vec<u8>, u32)> {
        (self.writes > 0).then_some((self.bytes, self.writes))
    }
}

/// Tells whether the values are those of the source, where that needs no comparing.
fn is_source(values: &Values, made_from: Option<&Image>, shape: &Arc<Schema>) -> bool {
    made_from.is_some_and(|image| Arc::ptr_eq(&image.shape, shape) && image.values.is_same(values))
}

/// Reads what a [`Slip`] says, in the order in which it was added.
pub fn read(bytes: &[u8]) -> Result<Vec<Sent>, Unreadable> {
    let mut rest = bytes;
    let direction = match take_bytes(&mut rest, 2)? {
        [FORM, 0] => Direction::AToB,
        [FORM, 1] => Direction::BToA,
        _ => return Err(Unreadable),
    };
    let (from, to) = (shape(&mut rest)?, shape(&mut rest)?);
    let mut sent = Vec::new();
    while !rest.is_empty() {
        let key = Key::from_bytes(take(&mut rest)?);
        let &[flags] = take_bytes(&mut rest, 1)? else { return Err(Unreadable) };
        let id = if flags & HAS_ID != 0 {
            Some(RemoteId::from(std::str::from_utf8(take(&mut rest)?).map_err(|_| Unreadable)?))
        } else {
            None
        };
        let source = if flags & HAS_SOURCE != 0 { Some(take(&mut rest)?) } else { None };
        let image = |shape, bytes| Image::decode(shape, bytes).map_err(|_| Unreadable);
        let effect = match flags & (IS_GONE | AS_SOURCE) {
            0 => Effect::Stands(image(&to, take(&mut rest)?)?),
            AS_SOURCE => Effect::Stands(image(&to, source.ok_or(Unreadable)?)?),
            _ => Effect::Gone,
        };
        let made_from = source.map(|bytes| image(&from, bytes)).transpose()?;
        let is_known = flags & IS_KNOWN != 0;
        sent.push(Sent { key, direction, id, made_from, is_known, effect });
    }
    Ok(sent)
}

fn shape(rest: &mut &[u8]) -> Result<Arc<Schema>, Unreadable> {
    let names: Vec<String> = serde_json::from_slice(take(rest)?).map_err(|_| Unreadable)?;
    Ok(Schema::new(names))
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    // A part is part of a record, and those are far smaller.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(part);
}

fn take<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Unreadable> {
    let (length, left) = rest.split_first_chunk::<4>().ok_or(Unreadable)?;
    *rest = left;
    take_bytes(rest, u32::from_le_bytes(*length) as usize)
}

fn take_bytes<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8], Unreadable> {
    let (part, left) = rest.split_at_checked(length).ok_or(Unreadable)?;
    *rest = left;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Value;

    #[test]
    fn writes_come_back_from_their_bytes_and_cut_ones_are_refused() {
        let (from, to) = (Schema::new(["id", "x"]), Schema::new(["key", "y"]));
        let key = |text| Key::from_text(text).unwrap();
        let image = |shape: &Arc<Schema>, text: &str| Image {
            shape: Arc::clone(shape),
            values: [Value::Int(1), Value::text(text)].into(),
        };
        let source = image(&from, "t1");
        let partly = Values::from([Value::Absent, Value::text("T1")]);
        let mut slip = Slip::new(Direction::BToA, &from, &to);
        let id = RemoteId::from("17");
        let writes = [
            ("made", Some(&source), Action::Create(source.values.clone())),
            ("changed", Some(&source), Action::Update(partly.clone())),
            ("archived", None, Action::Update(partly.clone())),
            ("deleted", None, Action::Delete),
            ("nothing", None, Action::Nothing(crate::engine::plan::Why::Agreed)),
        ];
        for (text, made_from, action) in &writes {
            slip.add(&Going {
                key: &key(text),
                id: (*text == "made").then_some(&id),
                made_from: *made_from,
                is_known: *text != "made",
                action,
            });
        }
        let (bytes, writes) = slip.close().unwrap();
        assert_eq!(writes, 4);
        let partly = Effect::Stands(Image { shape: Arc::clone(&to), values: partly });
        let expected = [
            ("made", Some(&source), Effect::Stands(image(&to, "t1"))),
            ("changed", Some(&source), partly.clone()),
            ("archived", None, partly),
            ("deleted", None, Effect::Gone),
        ]
        .map(|(text, made_from, effect)| Sent {
            key: key(text),
            direction: Direction::BToA,
            id: (text == "made").then(|| id.clone()),
            made_from: made_from.cloned(),
            is_known: text != "made",
            effect,
        });
        assert_eq!(read(&bytes), Ok(expected.to_vec()));
        for cut in 0..bytes.len() {
            // A cut between two entries tells the earlier ones.
            assert!(read(&bytes[..cut]).is_ok_and(|sent| sent.len() < 4) || read(&bytes[..cut]).is_err());
        }
        assert_eq!(Slip::new(Direction::AToB, &from, &to).close(), None, "nothing to remember");
    }
}
