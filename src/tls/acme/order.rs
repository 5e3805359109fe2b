//! One order at a CA, from the names to the chain. Never: files, time of day, whether another one is tried.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::tls::{Certificate, Identity};

use super::refusal::Refusal;

/// How long the CA may look at the proofs, and then work on the certificate.
const PATIENCE: Duration = Duration::from_secs(120);
/// When the CA is asked again how an order stands, if it could not be reached or gave no answer to be understood: the
/// order and its key are worth more than a hiccup.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(8)];

/// Proofs that are shown; no longer than this lives.
struct Proofs<'i> {
    identity: &'i Identity,
    domains: Vec<String>,
}

impl Proofs<'_> {
    fn show(&mut self, domain: &str, proof: Certificate) {
        self.identity.prove(domain, proof);
        self.domains.push(domain.to_string());
    }
}

impl Drop for Proofs<'_> {
    fn drop(&mut self) {
        self.domains.iter().for_each(|domain| self.identity.disprove(domain));
    }
}

/// A new key and the chain that the CA gave for it, in PEM, in this order.
pub(super) async fn carry_out(
    account: &Account,
    domains: &[String],
    identity: &Arc<Identity>,
) -> Result<Zeroizing<String>, Refusal> {
    let identifiers: Vec<_> = domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut proofs = Proofs { identity, domains: Vec::new() };
    prove(&mut order, domains, &mut proofs).await?;
    match ready(&mut order).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(why(&mut order).await.unwrap_or_else(unexplained)),
        // What the CA says of the order is less than what it says of the proof.
        Err(error) => return Err(why(&mut order).await.unwrap_or_else(|| error.into())),
    }
    drop(proofs);
    let key = Zeroizing::new(order.finalize().await?);
    let chain = chain(&mut order).await?;
    Ok(Zeroizing::new(format!("{}{chain}", *key)))
}

fn policy() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(PATIENCE)
}

/// How the order stands once the CA has looked at the proofs.
async fn ready(order: &mut Order) -> Result<OrderStatus, Error> {
    for pause in AGAIN_AFTER {
        match order.poll_ready(&policy()).await {
            Err(Error::Other(_)) => sleep(pause).await,
            outcome => return outcome,
        }
    }
    order.poll_ready(&policy()).await
}

/// The certificate once it is made.
async fn chain(order: &mut Order) -> Result<String, Error> {
    for pause in AGAIN_AFTER {
        match order.poll_certificate(&policy()).await {
            Err(Error::Other(_)) => sleep(pause).await,
            outcome => return outcome,
        }
    }
    order.poll_certificate(&policy()).await
}

fn unexplained() -> Refusal {
    Refusal::new("the CA found the order invalid without saying why")
}

/// Shows a proof for each domain that the CA wants one of, and tells it to look.
async fn prove(order: &mut Order, domains: &[String], proofs: &mut Proofs<'_>) -> Result<(), Refusal> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let domain = domain_of(&authorization, domains)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(Refusal::new(&format!("the CA does not offer tls-alpn-01 for {domain}")));
        };
        let digest = challenge.key_authorization().digest();
        proofs.show(&domain, proof(&domain, digest.as_ref())?);
        challenge.set_ready().await?;
    }
    Ok(())
}

/// The domain that an authorization is for, which must be one that was asked for.
fn domain_of(authorization: &AuthorizationHandle<'_>, domains: &[String]) -> Result<String, Refusal> {
    let named = authorization.identifier().to_string().to_ascii_lowercase();
    if domains.contains(&named) {
        return Ok(named);
    }
    Err(Refusal::new(&format!("the CA wants a proof for '{named}', which was not asked for")))
}

/// A certificate that shows the digest of a key authorization (RFC 8737, 3).
fn proof(domain: &str, digest: &[u8]) -> Result<Certificate, Refusal> {
    let failed = |error: &dyn std::fmt::Display| {
        Refusal::new(&format!("the proof for {domain} can't be made: {error}"))
    };
    let mut params = CertificateParams::new([domain.to_string()]).map_err(|error| failed(&error))?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Certificate::proof(certificate, &key).map_err(|fault| failed(&fault))
}

/// What the CA says of the first proof that it did not take.
async fn why(order: &mut Order) -> Option<Refusal> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let refusal = Refusal::by_ca(problem);
            return Some(Refusal { said: format!("{domain} was not proven; {}", refusal.said), ..refusal });
        }
    }
    None
}
