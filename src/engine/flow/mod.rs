//! When work may flow: the gate and its parts.
