//! Certificates, keys and trust: the identity that listeners show, and whom clients believe. Never: sockets, HTTP, who may pass.

mod certificate;
mod identity;
mod roots;

pub use certificate::{Certificate, CertificateFault};
pub use identity::{ACME_PROTOCOL, Identity};
pub use roots::{Trust, TrustFault};
