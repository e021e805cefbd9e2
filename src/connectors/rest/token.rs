//! Access tokens: fetched when needed, renewed once for many callers, given up on when refused.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::connectors::Call;
use crate::engine::fault::{Fault, FaultCode};

/// How a connector gets a token.
#[async_trait]
pub trait Grant: Send + Sync {
    type Token: Send + Sync;
    /// Asks for a token. `previous` is the last one, for services that rotate refresh tokens.
    async fn fetch(&self, previous: Option<&Self::Token>, call: &Call) -> Result<Self::Token, Fault>;
    /// Tells whether the token has run out by its own word, so that it need not be tried.
    fn expired(&self, _token: &Self::Token) -> bool {
        false
    }
}

/// The one token of a system, shared by all its callers.
///
/// Invariant: at most one fetch is under way. Callers that wait for it share its result, be it a
/// token or a fault, so that a hundred refused requests make one request for a token.
pub struct Tokens<G: Grant> {
    grant: G,
    state: Mutex<State<G::Token>>,
    /// Fetches that ended, either way.
    ended: AtomicU64,
}

struct State<T> {
    current: Option<Arc<Numbered<T>>>,
    /// The number of the last fetch that failed, and how.
    failed: Option<(u64, Fault)>,
}

struct Numbered<T> {
    token: T,
    number: u64,
}

/// A token in a caller's hand.
pub struct Held<T> {
    inner: Arc<Numbered<T>>,
    /// It was got for this very caller: if it is refused, another one would be too.
    fresh: bool,
    /// Fetches that had ended when it was taken: a later one that failed, failed for its holder, too.
    seen: u64,
}

impl<T> Held<T> {
    /// Returns the token.
    pub fn token(&self) -> &T {
        &self.inner.token
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("number", &self.inner.number).field("fresh", &self.fresh).finish()
    }
}

impl<G: Grant> Tokens<G> {
    /// Starts without a token.
    pub fn new(grant: G) -> Self {
        let state = State { current: None, failed: None };
        Self { grant, state: Mutex::new(state), ended: AtomicU64::new(0) }
    }

    /// Returns how tokens are got.
    pub fn grant(&self) -> &G {
        &self.grant
    }

    /// Gives the token, fetching one where there is none.
    pub async fn get(&self, call: &Call) -> Result<Held<G::Token>, Fault> {
        let ended = self.ended.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(current) = state.current.as_ref().filter(|current| !self.grant.expired(&current.token)) {
            return Ok(Held { inner: Arc::clone(current), fresh: false, seen: ended });
        }
        self.fetch(&mut state, ended, call).await
    }

    /// Gives another token for one that the service refused. Where the refused one was fresh, the
    /// credentials are at fault and nothing but a person helps. A holder who hears of it late, after
    /// the fetch of another has failed, shares that failure.
    pub async fn refused(
        &self,
        held: Held<G::Token>,
        why: &str,
        call: &Call,
    ) -> Result<Held<G::Token>, Fault> {
        let mut state = self.state.lock().await;
        let current = state.current.as_ref().filter(|current| current.number != held.inner.number);
        if held.fresh {
            if current.is_none() {
                state.current = None;
            }
            return Err(Fault::fatal(
                FaultCode::Auth,
                format!("the service refused a token that it had just given: {why}"),
                "check what the credentials may do there, and whether base_url and login_url belong together",
            ));
        }
        if let Some(newer) = current {
            let seen = self.ended.load(Ordering::Acquire);
            return Ok(Held { inner: Arc::clone(newer), fresh: true, seen });
        }
        self.fetch(&mut state, held.seen, call).await
    }

    /// Fetches under the lock. `ended` is what the caller saw before it needed another token.
    async fn fetch(
        &self,
        state: &mut State<G::Token>,
        ended: u64,
        call: &Call,
    ) -> Result<Held<G::Token>, Fault> {
        if let Some((_, fault)) = state.failed.as_ref().filter(|(number, _)| *number > ended) {
            return Err(fault.clone());
        }
        let previous = state.current.as_ref().map(|current| &current.token);
        let result = self.grant.fetch(previous, call).await;
        let number = self.ended.fetch_add(1, Ordering::AcqRel) + 1;
        match result {
            Ok(token) => {
                let inner = Arc::new(Numbered { token, number });
                state.current = Some(Arc::clone(&inner));
                state.failed = None;
                Ok(Held { inner, fresh: true, seen: number })
            }
            Err(fault) => {
                state.failed = Some((number, fault.clone()));
                Err(fault)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::connectors::Class;

    struct Counting {
        fetches: AtomicUsize,
        fails: bool,
    }

    #[async_trait]
    impl Grant for Counting {
        type Token = usize;
        async fn fetch(&self, _previous: Option<&usize>, _call: &Call) -> Result<usize, Fault> {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            match self.fails {
                true => Err(Fault::fatal(FaultCode::Auth, "no", "ask")),
                false => Ok(number),
            }
        }
    }

    fn call() -> Call {
        Call::new(Class::Live, "test")
    }

    fn tokens(fails: bool, known: Option<usize>) -> Tokens<Counting> {
        let mut tokens = Tokens::new(Counting { fetches: AtomicUsize::new(0), fails });
        tokens.state.get_mut().current = known.map(|token| Arc::new(Numbered { token, number: 0 }));
        tokens
    }

    #[tokio::test]
    async fn many_refused_callers_make_one_fetch() {
        let tokens = tokens(false, Some(0));
        let callers = (0..50).map(|_| async {
            let held = tokens.get(&call()).await.expect("the known token");
            // Everybody holds the old token before anybody complains.
            tokio::time::sleep(Duration::from_millis(5)).await;
            tokens.refused(held, "401", &call()).await.map(|held| *held.token())
        });
        let got = futures_util::future::join_all(callers).await;
        assert!(got.iter().all(|token| *token == Ok(1)), "{got:?}");
        assert_eq!(tokens.grant().fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn those_who_wait_share_a_failure_and_later_callers_try_again() {
        let tokens = tokens(true, None);
        let callers = (0..50).map(|_| async {
            let call = call();
            tokens.get(&call).await.is_err()
        });
        assert!(futures_util::future::join_all(callers).await.into_iter().all(|failed| failed));
        assert_eq!(tokens.grant().fetches.load(Ordering::SeqCst), 1);
        assert!(tokens.get(&call()).await.is_err());
        assert_eq!(tokens.grant().fetches.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_is_refused_late_shares_the_failure_and_who_comes_later_does_not() {
        let tokens = tokens(true, Some(0));
        let early = tokens.get(&call()).await.expect("the known token");
        let straggler = tokens.get(&call()).await.expect("the known token");
        assert!(tokens.refused(early, "401", &call()).await.is_err());
        assert!(tokens.refused(straggler, "401", &call()).await.is_err());
        assert_eq!(tokens.grant().fetches.load(Ordering::SeqCst), 1, "its 401 came after the failure");
        let later = tokens.get(&call()).await.expect("still the known token");
        assert!(tokens.refused(later, "401", &call()).await.is_err());
        assert_eq!(tokens.grant().fetches.load(Ordering::SeqCst), 2, "tries once more");
    }

    #[tokio::test]
    async fn a_fresh_token_that_is_refused_is_fatal() {
        let tokens = tokens(false, None);
        let held = tokens.get(&call()).await.expect("a token");
        let fault = tokens.refused(held, "401", &call()).await.expect_err("no second try");
        assert_eq!(fault.code, FaultCode::Auth);
        let held = tokens.get(&call()).await.expect("the next call starts over");
        assert_eq!(*held.token(), 2);
    }
}
