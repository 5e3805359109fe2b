//! The certificate that clients are shown: for which names, and until when. Never: renews it, connects anywhere.

use std::path::Path;

use crate::config::{AcmeConfig, ServerConfig};
use crate::tls::{Certificate, Validity};
use crate::types::Timestamp;
use crate::types::moment::absolute;

use super::finding::Finding;

const CHECK: &str = "certificate";
const ORDERED: &str = "a running server orders it; its log says what keeps it from that (docs/acme.md)";

/// Nothing where no TLS is spoken. What a CA gave is kept below `data`.
pub(super) fn check(server: &ServerConfig, data: &Path, now: Timestamp) -> Option<Finding> {
    if let Some(tls) = &server.tls {
        let next =
            "put a newer one into the files of server.tls; a running server takes it without a restart";
        return Some(match &tls.certificate {
            Some(certificate) => judged(certificate, now, next),
            None => Finding::ok(CHECK, "only the service can read its key; `ember config check` says why"),
        });
    }
    server.acme.as_ref().map(|acme| of_ca(acme, data, now))
}

fn judged(certificate: &Certificate, now: Timestamp, next: &str) -> Finding {
    let found = format!("for {}", certificate.names().join(", "));
    match (certificate.validity(now), certificate.complaint(now)) {
        (Validity::Expired, Some(complaint)) => Finding::fail(CHECK, format!("{found}: {complaint}"), next),
        (_, Some(complaint)) => Finding::warn(CHECK, format!("{found}: {complaint}"), next),
        (_, None) => Finding::ok(CHECK, format!("{found}, until {}", absolute(certificate.not_after()))),
    }
}

#[cfg(feature = "acme")]
fn of_ca(acme: &AcmeConfig, data: &Path, now: Timestamp) -> Finding {
    use crate::tls::acme::{kept, renewal_due};

    match kept(data, &acme.directory) {
        Ok(Some(certificate)) => {
            let finding = judged(&certificate, now, ORDERED);
            let due = renewal_due(&certificate);
            // One that lasts for days only is near its end all its life; what counts is that it was not renewed.
            match certificate.validity(now) {
                Validity::Expired | Validity::NotYet => finding,
                Validity::Good | Validity::EndsSoon | Validity::EndsVerySoon => {
                    let until = absolute(certificate.not_after());
                    let found = format!("for {}, until {until}", certificate.names().join(", "));
                    match now < due {
                        true => Finding::ok(CHECK, found),
                        false => {
                            let found = format!("{found}; to be renewed since {}", absolute(due));
                            Finding::warn(CHECK, found, ORDERED)
                        }
                    }
                }
            }
        }
        Ok(None) => {
            let found = format!("there is none yet for {}, so TLS handshakes fail", acme.domains.join(", "));
            Finding::warn(CHECK, found, ORDERED)
        }
        Err(fault) => Finding::warn(CHECK, format!("the kept one can't be used: {fault}"), ORDERED),
    }
}

/// The configuration names no domains then.
#[cfg(not(feature = "acme"))]
fn of_ca(_: &AcmeConfig, _: &Path, _: Timestamp) -> Finding {
    Finding::warn(CHECK, "this program was built without ACME", ORDERED)
}
