//! Certificates, keys and trust: the identity that listeners show. Never: listening, HTTP of callers, who may pass.

#[cfg(feature = "acme")]
pub mod acme;
mod certificate;
mod identity;
mod server;
mod validity;

pub use certificate::{Certificate, CertificateFault};
pub use identity::{ACME_PROTOCOL, Identity};
pub use server::server_config;
pub use validity::Validity;
