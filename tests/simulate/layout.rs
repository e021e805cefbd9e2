//! The columns that a simulated system shows: in which order, and which of them are there.

use std::sync::Arc;

use record_sync::connectors::StreamSpec;
use record_sync::engine::fault::{Fault, FaultCode};
use record_sync::engine::record::{Schema, Value};

use crate::setup::FIELDS;
use crate::system::{Row, key_text};

/// A column that no rule names: it is never the same twice.
const EXTRA: &str = "w";

/// What somebody does to the columns of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reshape {
    /// They stand in another order.
    Turn,
    /// One that no rule names comes, or goes.
    Extra,
    /// One is gone until it is put back, with what stood in it.
    Drop(u8),
    PutBack,
    /// One is made anew: nothing stands in it any more.
    Anew(u8),
}

#[derive(Clone, Debug)]
pub struct Layout {
    turned: usize,
    extra: bool,
    /// The one of [`FIELDS`] that is gone.
    pub gone: Option<u8>,
    pub schema: Arc<Schema>,
}

impl Layout {
    pub fn new() -> Self {
        let mut layout = Self { turned: 0, extra: false, gone: None, schema: Schema::new(["id"]) };
        layout.redraw();
        layout
    }

    /// Changes the columns; what stands in them is not touched here.
    pub fn change(&mut self, reshape: Reshape) {
        match reshape {
            Reshape::Turn => self.turned += 1,
            Reshape::Extra => self.extra = !self.extra,
            Reshape::Drop(field) => self.gone = Some(field),
            Reshape::PutBack => self.gone = None,
            Reshape::Anew(_) => {}
        }
        self.redraw();
    }

    fn redraw(&mut self) {
        let mut names = vec!["id"];
        names.extend(FIELDS.iter().enumerate().filter(|(at, _)| !self.is_gone(*at)).map(|(_, name)| name));
        if self.extra {
            names.push(EXTRA);
        }
        let turned = self.turned % names.len();
        names.rotate_left(turned);
        self.schema = Schema::new(names);
    }

    fn is_gone(&self, field: usize) -> bool {
        self.gone.is_some_and(|gone| usize::from(gone) == field)
    }

    /// A row as its columns show it.
    pub fn values(&self, row: &Row) -> Vec<Value> {
        let value = |name: &str| match FIELDS.iter().position(|field| *field == name) {
            Some(at) => row.values[at].clone(),
            None if name == EXTRA => Value::Int(row.seq as i64),
            None => Value::text(key_text(row.key)),
        };
        self.schema.names().map(value).collect()
    }

    /// Refuses a call that names a column which is gone.
    pub fn answers(&self, wants: Wants) -> Result<(), Fault> {
        let Some(gone) = self.gone.filter(|gone| wants.0[usize::from(*gone)]) else { return Ok(()) };
        let message = format!("there is no column {:?}", FIELDS[usize::from(gone)]);
        Err(Fault::fatal(FaultCode::Configuration, message, "put it back, or leave it out of the rules"))
    }
}

/// Which of [`FIELDS`] a call names.
#[derive(Clone, Copy, Default)]
pub struct Wants([bool; FIELDS.len()]);

impl Wants {
    pub fn of(stream: &StreamSpec) -> Self {
        let names = |name: &str| match &stream.fields {
            Some(fields) => fields.iter().any(|field| field == name),
            None => false,
        };
        Self(FIELDS.map(names))
    }
}
