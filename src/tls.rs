//! Certificates, keys and trust: the identity that listeners show. Never: sockets, HTTP, who may pass.

mod certificate;
mod identity;

pub use certificate::{Certificate, CertificateFault};
pub use identity::{ACME_PROTOCOL, Identity};
