//! Which gate, with which limits, stands before a customer's system.

use std::sync::Arc;

use super::gate::{GateEntry, policy};
use super::supervisor::Runtime;
use crate::config::{Customer, SystemConfig};
use crate::connectors::Gate;
use crate::engine::flow::GatePolicy;

impl Runtime {
    /// Returns the gate of a system, with the limits that hold now.
    pub(super) fn gate(&self, customer: &Customer, name: &str, system: &SystemConfig) -> Arc<dyn Gate> {
        self.gates.gate(&customer.id, name, self.gate_policy(customer, name, system))
    }

    /// Gives a gate that stands already the limits that hold now.
    pub(super) fn set_limits(&self, customer: &Customer, name: &str, system: &SystemConfig) {
        if let Some(gate) = self.gates.get(&customer.id, name) {
            gate.set_policy(self.gate_policy(customer, name, system));
        }
    }

    /// Describes the gate of a system; `None` where no call was ever made.
    pub fn gate_view(&self, customer: &str, system: &str) -> Option<GateEntry> {
        self.gates.get(customer, system).map(|gate| gate.view())
    }

    fn gate_policy(&self, customer: &Customer, name: &str, system: &SystemConfig) -> GatePolicy {
        let over = self.overrides.of(&customer.id, name, Some(system), (self.clock)());
        policy(&over.limits(&system.limits), &system.breaker)
    }
}
