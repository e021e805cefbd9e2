//! Refresh tokens of services that give another one with every use.
//!
//! Invariant: a token that the service gave is saved before anything is done with what came along. Whoever
//! lost it would be locked out: most services take each but once.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};

use crate::connectors::Vault;
use crate::engine::fault::{Fault, FaultCode};

/// Sets the hash apart from all others of the same text.
const HASHED_FOR: &str = "record-sync 2026-11 origin of a refresh token";

/// What came for a refresh token, and the next one, where the service told any.
pub type Traded<T> = Result<(T, Option<SecretString>), Untraded>;

/// Why nothing came for a refresh token.
#[derive(Debug)]
pub struct Untraded {
    pub fault: Fault,
    /// The service takes this very token no more (`invalid_grant`). All else says nothing of the token: another
    /// one would be refused, too, and used up for nothing.
    pub is_spent: bool,
}

impl From<Fault> for Untraded {
    fn from(fault: Fault) -> Self {
        Self { fault, is_spent: false }
    }
}

impl From<Untraded> for Fault {
    fn from(untraded: Untraded) -> Self {
        untraded.fault
    }
}

/// The refresh token of one system: the newest that the service gave, else the configured one.
pub struct RefreshTokens {
    configured: SecretString,
    /// Says of a saved token which configured one it descends from.
    origin: String,
    vault: Arc<dyn Vault>,
    /// Given by the service, and not saved yet. Held while one is traded.
    unsaved: Mutex<Option<SecretString>>,
}

/// What the vault holds. Not to be printed.
#[derive(Serialize, Deserialize)]
struct Kept {
    origin: String,
    token: String,
}

impl RefreshTokens {
    /// Starts from the configured token; looks into the vault when the first is traded.
    pub fn new(configured: SecretString, vault: Arc<dyn Vault>) -> Self {
        let hash = blake3::derive_key(HASHED_FOR, configured.expose_secret().as_bytes());
        let origin = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { configured, origin, vault, unsaved: Mutex::default() }
    }

    /// Trades the newest token by `ask`, which gives what came for it and the next one, where the service
    /// told any. Goes on to its end also where the caller goes away.
    pub async fn trade<T, A>(self: &Arc<Self>, ask: A) -> Result<T, Fault>
    where
        T: Send + 'static,
        A: Fn(SecretString) -> BoxFuture<'static, Traded<T>> + Send + Sync + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let tokens = Arc::clone(self);
        self.vault.carry(Box::pin(async move {
            // The caller may have gone.
            let _ = caller.send(tokens.exchange(ask).await);
        }));
        let cut = |_| Fault::transient(FaultCode::Connect, "the token request broke off");
        answer.await.map_err(cut)?
    }

    /// Where the newest is spent, another process may have traded it meanwhile, or the configured one may still
    /// be good: each is tried once.
    async fn exchange<T>(
        &self,
        ask: impl Fn(SecretString) -> BoxFuture<'static, Traded<T>>,
    ) -> Result<T, Fault> {
        let _turn = self.vault.opening().turn().await;
        let mut unsaved = self.unsaved.lock().await;
        if let Some(token) = &*unsaved {
            self.save(token).await?;
            *unsaved = None;
        }
        let newest = self.newest().await?;
        let (got, used) = match ask(newest.clone()).await {
            Err(Untraded { fault, is_spent: true }) => {
                let other = self.newest().await?;
                let other = if same(&other, &newest) { self.configured.clone() } else { other };
                if same(&other, &newest) {
                    return Err(fault);
                }
                (ask(other.clone()).await?, other)
            }
            asked => (asked?, newest),
        };
        let (got, next) = got;
        if let Some(next) = next.filter(|next| !same(next, &used)) {
            // Kept until it is saved: trading it for yet another would only leave more behind.
            self.save(unsaved.insert(next)).await?;
            *unsaved = None;
        }
        Ok(got)
    }

    /// Returns the saved token, unless a person has configured another one since.
    async fn newest(&self) -> Result<SecretString, Fault> {
        let kept = self.kept().await?;
        if self.is_replaced(kept.as_ref()) {
            let said = "another refresh token has been configured; this opening of the system ends";
            return Err(Fault::transient(FaultCode::Auth, said));
        }
        let descended = kept.filter(|kept| kept.origin == self.origin);
        Ok(descended.map_or_else(|| self.configured.clone(), |kept| kept.token.into()))
    }

    async fn kept(&self) -> Result<Option<Kept>, Fault> {
        let kept = self.vault.load().await?;
        Ok(kept.and_then(|kept| serde_json::from_str::<Kept>(kept.expose_secret()).ok()))
    }

    /// Tells whether a later opening has saved what descends from another configured token.
    fn is_replaced(&self, kept: Option<&Kept>) -> bool {
        !self.vault.opening().is_newest() && kept.is_some_and(|kept| kept.origin != self.origin)
    }

    async fn save(&self, token: &SecretString) -> Result<(), Fault> {
        if self.is_replaced(self.kept().await?.as_ref()) {
            // Nobody will ask for it again: the system is open with the newer one.
            return Ok(());
        }
        let kept = Kept { origin: self.origin.clone(), token: token.expose_secret().to_owned() };
        // The reason would quote nothing, and can't come up: both are texts.
        let text = serde_json::to_string(&kept).map_err(|_| {
            Fault::transient(FaultCode::Storage, "the refresh token can't be written down".to_owned())
        })?;
        self.vault.save(&text.into()).await
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshTokens").finish_non_exhaustive()
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Lock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use tokio::sync::Notify;

    use super::*;
    use crate::connectors::{MemoryVault, Opening};

    /// A service that takes each token once, and answers when it is let.
    #[derive(Default)]
    struct Service {
        valid: Lock<Vec<String>>,
        asked: Lock<Vec<String>>,
        given: Lock<usize>,
        /// Where there is one, an answer waits for it.
        held: Option<Notify>,
        /// What is wrong is not the token.
        is_client_unknown: bool,
    }

    impl Service {
        fn new(valid: &[&str]) -> Arc<Self> {
            Arc::new(Self::taking(valid))
        }

        fn taking(valid: &[&str]) -> Self {
            Self {
                valid: Lock::new(valid.iter().map(|&token| token.to_owned()).collect()),
                ..Self::default()
            }
        }

        async fn trade(self: &Arc<Self>, tokens: &Arc<RefreshTokens>) -> Result<String, Fault> {
            let service = Arc::clone(self);
            tokens
                .trade(move |token| {
                    let service = Arc::clone(&service);
                    Box::pin(async move {
                        let answer = service.answer(token.expose_secret());
                        if let Some(held) = &service.held {
                            held.notified().await;
                        }
                        answer
                    })
                })
                .await
        }

        fn answer(&self, token: &str) -> Traded<String> {
            self.asked.lock().unwrap().push(token.to_owned());
            let mut valid = self.valid.lock().unwrap();
            let Some(at) = valid.iter().position(|known| known == token) else {
                let fault = Fault::fatal(FaultCode::Auth, "refused", "mint another");
                return Err(Untraded { fault, is_spent: !self.is_client_unknown });
            };
            let mut given = self.given.lock().unwrap();
            *given += 1;
            let next = format!("next-{given}");
            valid[at].clone_from(&next);
            Ok((format!("access-{given}"), Some(next.into())))
        }

        fn asked(&self) -> Vec<String> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    /// A vault on a disk that may be full.
    #[derive(Default)]
    struct Disk {
        kept: Arc<MemoryVault>,
        is_full: AtomicBool,
        opening: Opening,
    }

    impl Disk {
        /// The same disk for the next opening of the system.
        fn next(&self) -> Arc<Self> {
            let kept = Arc::clone(&self.kept);
            Arc::new(Self { kept, opening: self.opening.next(), ..Self::default() })
        }
    }

    #[async_trait]
    impl Vault for Disk {
        async fn load(&self) -> Result<Option<SecretString>, Fault> {
            self.kept.load().await
        }

        async fn save(&self, secret: &SecretString) -> Result<(), Fault> {
            match self.is_full.load(Ordering::SeqCst) {
                true => Err(Fault::transient(FaultCode::Storage, "full")),
                false => self.kept.save(secret).await,
            }
        }

        fn carry(&self, exchange: BoxFuture<'static, ()>) {
            self.kept.carry(exchange);
        }

        fn opening(&self) -> &Opening {
            &self.opening
        }
    }

    fn tokens(configured: &str, vault: &Arc<Disk>) -> Arc<RefreshTokens> {
        Arc::new(RefreshTokens::new(configured.into(), Arc::clone(vault) as Arc<dyn Vault>))
    }

    #[tokio::test]
    async fn each_token_is_used_once_across_restarts() {
        let (service, vault) = (Service::new(&["rt-1"]), Arc::new(Disk::default()));
        for _ in 0..3 {
            let tokens = tokens("rt-1", &vault);
            service.trade(&tokens).await.unwrap();
            service.trade(&tokens).await.unwrap();
        }
        assert_eq!(service.asked(), ["rt-1", "next-1", "next-2", "next-3", "next-4", "next-5"]);
    }

    #[tokio::test]
    async fn a_person_who_configures_another_one_wins() {
        let (service, vault) = (Service::new(&["rt-1", "rt-2"]), Arc::new(Disk::default()));
        service.trade(&tokens("rt-1", &vault)).await.unwrap();
        service.trade(&tokens("rt-2", &vault)).await.unwrap();
        service.trade(&tokens("rt-2", &vault)).await.unwrap();
        assert_eq!(service.asked(), ["rt-1", "rt-2", "next-2"]);
    }

    #[tokio::test]
    async fn a_token_that_could_not_be_saved_is_neither_used_nor_lost() {
        let (service, vault) = (Service::new(&["rt-1"]), Arc::new(Disk::default()));
        let tokens = tokens("rt-1", &vault);
        vault.is_full.store(true, Ordering::SeqCst);
        for why in ["what came along is not handed out", "and nothing is traded before it is saved"] {
            let fault = service.trade(&tokens).await.expect_err(why);
            assert_eq!(fault.code, FaultCode::Storage, "{why}");
        }
        assert_eq!(service.asked(), ["rt-1"]);
        vault.is_full.store(false, Ordering::SeqCst);
        service.trade(&tokens).await.unwrap();
        assert_eq!(service.asked(), ["next-1"]);
    }

    #[tokio::test]
    async fn whoever_asked_may_go_away_half_way() {
        let service = Arc::new(Service { held: Some(Notify::new()), ..Service::taking(&["rt-1"]) });
        let vault = Arc::new(Disk::default());
        let tokens = tokens("rt-1", &vault);
        let patience = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, service.trade(&tokens)).await.is_err(), "it waits");
        service.held.as_ref().unwrap().notify_one();
        service.held.as_ref().unwrap().notify_one();
        let (next, ()) = tokio::join!(service.trade(&tokens), async {
            while service.asked.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            service.held.as_ref().unwrap().notify_one();
        });
        next.unwrap();
        assert_eq!(service.asked(), ["rt-1", "next-1"], "what came for nobody was saved");
    }

    #[tokio::test]
    async fn what_is_refused_is_replaced_once_by_what_may_be_good() {
        // The state was restored from a backup: what stands there is long used up, the configured is good.
        let vault = Arc::new(Disk::default());
        Service::new(&["rt-1"]).trade(&tokens("rt-1", &vault)).await.unwrap();
        let service = Service::new(&["rt-1"]);
        service.trade(&tokens("rt-1", &vault)).await.unwrap();
        assert_eq!(service.asked(), ["next-1", "rt-1"]);
        // Ended between the service's answer and the save: nothing helps but a person.
        let service = Service::new(&["lost"]);
        assert!(service.trade(&tokens("rt-1", &vault)).await.is_err());
        assert_eq!(service.asked(), ["next-1", "rt-1"], "each is tried once");
        // Two openings of one system, as during a change of its settings, each go on where the other is.
        let vault = Arc::new(Disk::default());
        let service = Service::new(&["rt-1"]);
        let (old, new) = (tokens("rt-1", &vault), tokens("rt-1", &vault));
        for tokens in [&old, &new, &old] {
            service.trade(tokens).await.unwrap();
        }
        assert_eq!(service.asked(), ["rt-1", "next-1", "next-2"]);
    }

    #[tokio::test]
    async fn the_configured_one_is_not_used_up_for_what_is_no_fault_of_the_token() {
        let vault = Arc::new(Disk::default());
        Service::new(&["rt-1"]).trade(&tokens("rt-1", &vault)).await.unwrap();
        let service = Arc::new(Service { is_client_unknown: true, ..Service::taking(&["rt-1"]) });
        assert!(service.trade(&tokens("rt-1", &vault)).await.is_err());
        assert_eq!(service.asked(), ["next-1"]);
    }

    #[tokio::test]
    async fn an_opening_that_ends_does_not_save_over_a_newly_configured_one() {
        // (whether the later opening has another token, tokens asked for, why)
        let cases = [
            (true, ["rt-1", "rt-2", "next-2"].as_slice(), "the later goes on where it was"),
            (false, ["rt-1", "next-1", "next-2"].as_slice(), "they share one"),
        ];
        for (is_other, asked, why) in cases {
            let service =
                Arc::new(Service { held: Some(Notify::new()), ..Service::taking(&["rt-1", "rt-2"]) });
            let disk = Arc::new(Disk::default());
            let (early, late) = (disk.next(), disk.next());
            let second = if is_other { "rt-2" } else { "rt-1" };
            let (early, late) = (tokens("rt-1", &early), tokens(second, &late));
            let allow = || service.held.as_ref().unwrap().notify_one();
            // The answer to the early one is still on its way when the later one asks.
            let (first, next) = tokio::join!(service.trade(&early), async {
                while service.asked.lock().unwrap().is_empty() {
                    tokio::task::yield_now().await;
                }
                let (next, ()) = tokio::join!(service.trade(&late), async {
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                    allow();
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                    allow();
                });
                next
            });
            first.unwrap();
            next.unwrap();
            if is_other {
                let fault = service.trade(&early).await.expect_err("it has been replaced");
                assert!(fault.message.contains("another refresh token"), "{why}: {fault}");
            }
            allow();
            service.trade(&late).await.unwrap();
            assert_eq!(service.asked(), asked, "{why}");
        }
    }

    #[tokio::test]
    async fn nothing_that_is_printed_or_unreadable_gives_a_token_away() {
        let vault = Arc::new(Disk::default());
        assert!(!format!("{:?}", tokens("canary", &vault)).contains("canary"));
        vault.save(&"no such form".into()).await.unwrap();
        let service = Service::new(&["rt-1"]);
        service.trade(&tokens("rt-1", &vault)).await.unwrap();
        assert_eq!(service.asked(), ["rt-1"], "what can't be read is not there");
    }
}
