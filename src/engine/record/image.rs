//! What one side looked like, on the fields that the rules know.

use std::sync::Arc;

use super::cell::{push_cell, push_length, split_cell};
use super::{Schema, Value, Values};

/// The projection of one side onto the fields that the rules read or write there.
///
/// Invariant: as many values as the shape has names.
#[derive(Clone, Debug)]
pub struct Image {
    pub shape: Arc<Schema>,
    pub values: Values,
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.shape, &other.shape) || self.shape == other.shape) && self.values == other.values
    }
}

/// Why stored bytes are not an image of this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored image does not fit its shape at byte {0}")]
pub struct DecodeError(pub usize);

impl Image {
    /// Returns the value at a position; absent beyond the end.
    pub fn at(&self, position: usize) -> &Value {
        self.values.get(position).unwrap_or(&Value::Absent)
    }

    /// Returns the value of a field by name.
    pub fn get(&self, name: &str) -> &Value {
        self.shape.position(name).map_or(&Value::Absent, |position| self.at(position))
    }

    /// Lays the values out under another shape; a field that this image never saw is
    /// [`Value::Unknown`]. Costs nothing where the shape is the same.
    #[must_use]
    pub fn reshaped(self, shape: &Arc<Schema>) -> Self {
        if Arc::ptr_eq(&self.shape, shape) {
            return self;
        }
        if *self.shape == **shape {
            return Self { shape: Arc::clone(shape), values: self.values };
        }
        let values = shape
            .names()
            .map(|name| match self.shape.position(name) {
                Some(position) => self.at(position).clone(),
                None => Value::Unknown,
            })
            .collect();
        Self { shape: Arc::clone(shape), values }
    }

    /// Appends the canonical bytes of all values: typed and length-prefixed.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        encode_values(&self.values, bytes);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(shape: &Arc<Schema>, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let mut values = Vec::with_capacity(shape.len());
        for _ in 0..shape.len() {
            let cell = split_cell(rest).and_then(|(cell, left)| Some((cell.value()?, left)));
            let (value, left) = cell.ok_or(DecodeError(bytes.len() - rest.len()))?;
            values.push(value);
            rest = left;
        }
        if !rest.is_empty() {
            return Err(DecodeError(bytes.len() - rest.len()));
        }
        Ok(Self { shape: Arc::clone(shape), values: values.into() })
    }

    /// Returns the data hash: BLAKE3 as 64 hex digits over the fields in the order of their names,
    /// absent ones left out, so that it does not depend on how the shape is laid out.
    pub fn data_hash(&self) -> String {
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.sort_unstable_by_key(|&position| self.shape.name(position).unwrap_or(""));
        let mut bytes = Vec::with_capacity(256);
        for position in order {
            let value = self.at(position);
            if value.is_missing() {
                continue;
            }
            let name = self.shape.name(position).unwrap_or("");
            push_length(name.len(), &mut bytes);
            bytes.extend_from_slice(name.as_bytes());
            push_cell(value, &mut bytes);
        }
        blake3::hash(&bytes).to_hex().to_string()
    }
}

/// Appends the canonical bytes of values: typed and length-prefixed.
pub fn encode_values(values: &[Value], bytes: &mut Vec<u8>) {
    values.iter().for_each(|value| push_cell(value, bytes));
}

#[cfg(test)]
mod tests {
    use super::super::Number;
    use super::*;

    #[test]
    fn images_come_back_from_their_bytes() {
        let values = vec![
            Value::Unknown,
            Value::Absent,
            Value::Null,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Number::parse("1e400").expect("number"),
            Value::text("x".repeat(300)),
            Value::Bytes([0, 255].into()),
            Value::Json("[1]".into()),
        ];
        let shape = Schema::new((0..values.len()).map(|at| format!("f{at}")));
        let image = Image { shape: Arc::clone(&shape), values: values.into() };
        let mut bytes = Vec::new();
        image.encode(&mut bytes);
        assert_eq!(Image::decode(&shape, &bytes), Ok(image));
        for cut in 0..bytes.len() {
            assert!(Image::decode(&shape, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_data_hash_ignores_layout_and_nothing_else() {
        let make = |names: [&str; 2], values: [Value; 2]| {
            Image { shape: Schema::new(names), values: values.into() }.data_hash()
        };
        let hash = make(["x", "y"], [Value::Int(1), Value::Null]);
        assert_eq!(hash, make(["y", "x"], [Value::Null, Value::Int(1)]), "order of names");
        assert_ne!(hash, make(["x", "y"], [Value::Int(1), Value::Absent]), "absent is not null");
        assert_ne!(hash, make(["x", "y"], [Value::text("1"), Value::Null]), "types count");
        assert_eq!(hash.len(), 64);
    }
}
