//! The values of a record, shared by all who hold them.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::Value;

/// Values by position. A copy costs a count; who changes a copy gets values of its own.
#[derive(Clone, Debug, Default)]
pub struct Values(Arc<[Value]>);

impl Values {
    /// Makes `count` values that are all the same.
    pub fn all(value: Value, count: usize) -> Self {
        std::iter::repeat_n(value, count).collect()
    }

    /// Tells whether both are one and the same, so that nothing needs to be compared. A no says nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Values {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl DerefMut for Values {
    fn deref_mut(&mut self) -> &mut [Value] {
        Arc::make_mut(&mut self.0)
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0 == other.0
    }
}

impl Eq for Values {}

impl From<Vec<Value>> for Values {
    fn from(values: Vec<Value>) -> Self {
        Self(values.into())
    }
}

impl<const N: usize> From<[Value; N]> for Values {
    fn from(values: [Value; N]) -> Self {
        Self(Arc::new(values))
    }
}

impl FromIterator<Value> for Values {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<'v> IntoIterator for &'v Values {
    type Item = &'v Value;
    type IntoIter = std::slice::Iter<'v, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changes_a_copy_changes_nobody_elses() {
        let values: Values = [Value::Int(1), Value::text("x")].into_iter().collect();
        let mut copy = values.clone();
        assert!(copy.is_same(&values), "a copy costs nothing");
        copy.iter_mut().for_each(|value| *value = Value::Null);
        assert_eq!(values.first(), Some(&Value::Int(1)), "the other one stands");
        assert_eq!(copy, Values::all(Value::Null, 2));
        assert_ne!(copy, values);
    }
}
