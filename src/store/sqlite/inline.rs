//! Calls on the threads of their callers, for runs that can be repeated exactly.
//!
//! Invariant: a call does all of its work between two awaits, so that whoever drops it there leaves a
//! state in which it happened as a whole or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::Session;
use super::reader::Question;
use super::writer::{self, Request};
use crate::store::StoreError;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing was read or written yet.
    Before,
    /// It is done and durable, and the caller does not know it yet.
    Behind,
}

/// What every call of a store passes: it may take its time there, fail, or never come back.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Lets a call through. An error behind a write that was made is a lost answer.
    async fn pass(&self, moment: Moment, writes: bool) -> Result<(), StoreError>;
}

/// The one connection of such a store.
pub(super) struct Inline {
    session: Mutex<Session>,
    pace: Arc<dyn Pace>,
}

impl Inline {
    pub(super) fn new(session: Session, pace: Arc<dyn Pace>) -> Self {
        Self { session: Mutex::new(session), pace }
    }

    pub(super) async fn write<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.pace.pass(Moment::Before, true).await?;
        self.at_once(|session| writer::serve_one(session, request));
        self.pace.pass(Moment::Behind, true).await?;
        answer.await.map_err(|_| super::stopped())?
    }

    pub(super) async fn read<T>(
        &self,
        question: Question,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.pace.pass(Moment::Before, false).await?;
        self.at_once(question);
        self.pace.pass(Moment::Behind, false).await?;
        answer.await.map_err(|_| super::stopped())?
    }

    fn at_once(&self, run: impl FnOnce(&mut Session)) {
        run(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
