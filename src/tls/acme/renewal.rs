//! Keeps a certificate shown: the kept one, new ones in time, again after failures. Never: how one is had.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::tls::{Certificate, Identity};
use crate::types::{Clock, Random, Timestamp};

use super::Retry;
use super::folder::Folder;
use super::issuer::{Issued, Issuer, blocking, has};
use super::refusal::Refusal;
use super::schedule::{due, is_valid, pause};

/// The clock on the wall may be set, and machines sleep: so often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// While nothing is shown, the kept certificate is looked at so often: the clock may have been wrong when Ember began.
const KEPT_EVERY: Duration = Duration::from_secs(60);

/// The care for one certificate.
pub(super) struct Renewal<I> {
    issuer: Arc<I>,
    domains: Vec<String>,
    retry: Retry,
    folder: Folder,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// What is shown.
    current: Option<Certificate>,
    /// What is shown and could not be written down.
    unsaved: Option<Zeroizing<String>>,
    /// Failures in a row.
    failures: u32,
}

impl<I: Issuer> Renewal<I> {
    pub(super) fn new(
        issuer: I,
        domains: Vec<String>,
        retry: Retry,
        folder: Folder,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let (issuer, current, unsaved, failures) = (Arc::new(issuer), None, None, 0);
        Self { issuer, domains, retry, folder, identity, clock, random, current, unsaved, failures }
    }

    /// Shows what was kept, before anybody connects. Reads files.
    pub(super) fn begin(&mut self) {
        let kept = self.folder.certificate();
        self.show_kept(kept);
        if self.current.is_none() {
            tracing::info!(
                "a certificate for {} is ordered; until it is there, TLS handshakes fail",
                self.names()
            );
        }
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        loop {
            let wait = self.step().await;
            self.pause(wait).await;
        }
    }

    /// Waits, and looks meanwhile whether the kept certificate has become of use, if there is nothing to show.
    async fn pause(&mut self, mut left: Duration) {
        while self.current.is_none() && left > KEPT_EVERY {
            sleep(KEPT_EVERY).await;
            left -= KEPT_EVERY;
            let folder = self.folder.clone();
            let kept = blocking(move || folder.kept()).await.ok().and_then(Result::ok).flatten();
            self.show_kept(kept);
        }
        sleep(left).await;
    }

    /// Shows what was kept, as long as clients take it and it is for one of the domains: better a certificate for some
    /// of them than for none until the order is through.
    fn show_kept(&mut self, kept: Option<Certificate>) {
        let now = self.clock.now();
        let useful =
            |kept: &Certificate| is_valid(kept, now) && self.domains.iter().any(|name| has(kept, name));
        let Some(kept) = kept.filter(useful) else { return };
        let names = kept.names().join(", ");
        tracing::info!(valid_until = %kept.not_after(), renewed_from = %due(&kept), "the kept certificate for {names} is shown");
        self.take(kept);
    }

    /// Does what is due, and says how long nothing more is.
    async fn step(&mut self) -> Duration {
        self.save().await;
        if !self.is_due() {
            return self.rest();
        }
        match self.issue().await {
            Ok(issued) => self.accept(issued).await,
            Err(refusal) => self.refused(&refusal),
        }
    }

    /// Asks for a certificate in a task of its own: answers that nobody has thought of may end it, but not the care.
    async fn issue(&self) -> Result<Issued, Refusal> {
        let (issuer, mut task) = (Arc::clone(&self.issuer), JoinSet::new());
        task.spawn(async move { issuer.issue().await });
        let broken_off =
            || Err(Refusal::new("the order broke off: nothing can be made of what the CA answered"));
        task.join_next().await.and_then(Result::ok).unwrap_or_else(broken_off)
    }

    fn is_due(&self) -> bool {
        let whole = |shown: &&Certificate| self.domains.iter().all(|name| has(shown, name));
        self.current.as_ref().filter(whole).is_none_or(|shown| self.clock.now() >= due(shown))
    }

    /// Until the next look.
    fn rest(&self) -> Duration {
        let until_due =
            self.current.as_ref().map_or(Duration::ZERO, |shown| due(shown).since(self.clock.now()));
        let look = if self.unsaved.is_some() { self.retry.first } else { LOOK_EVERY };
        until_due.min(look)
    }

    async fn accept(&mut self, issued: Issued) -> Duration {
        let names = issued.certificate.names().join(", ");
        let (until, from) = (issued.certificate.not_after(), due(&issued.certificate));
        tracing::info!(valid_until = %until, renewed_from = %from, "a new certificate for {names} is shown");
        self.take(issued.certificate);
        self.unsaved = Some(issued.pem);
        self.save().await;
        if self.is_due() {
            // Else it would be ordered again at once, for ever.
            return self.refused(&Refusal::new("the new certificate is near its end already"));
        }
        self.failures = 0;
        self.rest()
    }

    fn take(&mut self, certificate: Certificate) {
        self.identity.show(certificate.clone());
        self.current = Some(certificate);
    }

    /// Writes down what could not be written yet.
    async fn save(&mut self) {
        let Some(pem) = self.unsaved.clone() else { return };
        let folder = self.folder.clone();
        let saved = blocking(move || folder.write(Folder::CERTIFICATE, pem.as_bytes())).await;
        match saved {
            Ok(Ok(())) => self.unsaved = None,
            Ok(Err(error)) => {
                tracing::error!(%error, "the certificate is shown but can't be written down; a restart orders another");
            }
            Err(refusal) => tracing::error!("the certificate is not written down: {}", refusal.said),
        }
    }

    fn refused(&mut self, refusal: &Refusal) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = pause(self.retry, self.failures, refusal.asked, &*self.random);
        let now = self.clock.now();
        let (next_try, names, said) = (now.after(wait), self.names(), &refusal.said);
        match self.valid_until(now) {
            Some(until) => {
                tracing::warn!(%next_try, shown_until = %until, "no new certificate for {names}: {said}");
            }
            None => tracing::error!(%next_try, "no certificate for {names}, clients can't connect: {said}"),
        }
        wait
    }

    fn valid_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.current.as_ref().filter(|shown| is_valid(shown, now)).map(Certificate::not_after)
    }

    fn names(&self) -> String {
        self.domains.join(", ")
    }
}

#[cfg(test)]
mod tests;
