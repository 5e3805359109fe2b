//! Certificates, keys and trust: the identity that listeners show. Never: listening, HTTP of callers, who may pass.

#[cfg(feature = "acme")]
pub mod acme;
mod certificate;
mod identity;

pub use certificate::{Certificate, CertificateFault};
pub use identity::{ACME_PROTOCOL, Identity};
