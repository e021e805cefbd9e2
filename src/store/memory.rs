//! The reference model that the tests compare with.
