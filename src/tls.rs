//! Certificates, keys and trust: the identity that listeners show, and whom clients believe. Never: listening, HTTP of
//! callers, who may pass.

#[cfg(feature = "acme")]
pub mod acme;
mod certificate;
mod identity;
mod roots;
mod server;
mod validity;

pub use certificate::{Certificate, CertificateFault};
pub use identity::{ACME_PROTOCOL, Identity};
pub use roots::{Trust, TrustFault};
pub use server::server_config;
pub use validity::Validity;
