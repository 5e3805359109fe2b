//! What `[server.acme]` may say. Never: what a CA makes of it.

use std::net::IpAddr;
use std::path::PathBuf;

use ::http::Uri;
use rustls_pki_types::DnsName;

use super::Purpose;
use super::checked::AcmeConfig;
use super::judge::Judge;
use super::kind::shown;
use super::layer::resolved;
use super::raw::{RawAcme, RawTls};
use crate::tls::Trust;
use crate::types::Email;

/// The most names of one certificate: what Let's Encrypt gives.
const DOMAINS_MAX: usize = 100;

/// A name that a CA can look up and prove by TLS-ALPN-01, in lower case.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let refused = |reason: &str| Err(format!("{} {reason}", shown(text)));
    if text.contains('*') {
        return refused("is a wildcard, and TLS-ALPN-01 proves none; list each domain");
    }
    if text.parse::<IpAddr>().is_ok() {
        return refused("is an IP address; write a domain like ai.example.com");
    }
    match DnsName::try_from(text) {
        Ok(_) if !text.ends_with('.') => Ok(text.to_ascii_lowercase()),
        _ => refused("is no domain; write it like ai.example.com, with other letters in punycode (xn--...)"),
    }
}

/// The URL of a directory.
pub(super) fn directory(text: &str) -> Result<(), String> {
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("https"));
    let authority = uri.as_ref().and_then(Uri::authority).map_or("", |authority| authority.as_str());
    if authority.is_empty() || authority.contains('@') || text.contains('#') {
        let example = "https://ca.example.com/acme/acme/directory";
        return Err(format!("{} is no https:// URL; write it like {example}", shown(text)));
    }
    Ok(())
}

/// Nobody, or an address.
pub(super) fn email(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<Email>().map(drop).map_err(|error| error.to_string())
}

impl Judge<'_> {
    /// `None` when no domain is named.
    pub(super) fn acme(&mut self, raw: &RawAcme, files: &RawTls) -> Option<AcmeConfig> {
        let domains: Vec<String> = raw.domains.iter().filter_map(|text| domain(text).ok()).collect();
        if domains.is_empty() {
            return None;
        }
        let mut fault = |message: &str| self.fault(&["server", "acme", "domains"], message);
        if !cfg!(feature = "acme") {
            fault(
                "this ember was built without ACME; take one that was built with the cargo feature acme, or empty \
                 server.acme.domains",
            );
        }
        if !files.cert_file.is_empty() {
            fault(
                "server.acme.domains and server.tls.cert_file are both set, and a certificate comes from one of them; empty \
                 the other",
            );
        }
        if domains.len() > DOMAINS_MAX {
            fault(&format!("server.acme.domains has more than {DOMAINS_MAX} domains"));
        }
        let repeated = domains.iter().enumerate().find(|(index, name)| domains[..*index].contains(name));
        if let Some((_, name)) = repeated {
            fault(&format!("server.acme.domains has {name} twice"));
        }
        let email = Some(raw.email.clone()).filter(|email| !email.is_empty());
        let ca_file = self.acme_roots(&raw.ca_file);
        Some(AcmeConfig { domains, email, directory: raw.directory.clone(), ca_file })
    }

    fn acme_roots(&mut self, typed: &str) -> Option<PathBuf> {
        if typed.is_empty() {
            return None;
        }
        let path = resolved(typed, self.layers.place(&["server", "acme", "ca_file"]));
        if self.purpose != Purpose::Command
            && let Err(fault) = Trust::read(&path)
        {
            self.fault(&["server", "acme", "ca_file"], &format!("server.acme.ca_file: {fault}"));
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_dns_names_in_lower_case() {
        for (text, domain_of) in [
            ("ai.example.com", "ai.example.com"),
            ("AI.Example.COM", "ai.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("ember", "ember"),
        ] {
            assert_eq!(domain(text).unwrap(), domain_of);
        }
        for (text, said) in [
            ("*.example.com", "is a wildcard"),
            ("192.0.2.7", "is an IP address"),
            ("::1", "is an IP address"),
            ("", "is no domain"),
            ("ai.example.com.", "is no domain"),
            ("https://ai.example.com", "is no domain"),
            ("ai.example.com:443", "is no domain"),
            ("bücher.example", "is no domain"),
            ("-a.example.com", "is no domain"),
        ] {
            let refusal = domain(text).unwrap_err();
            assert!(refusal.contains(said), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_directory_is_an_https_url() {
        for text in
            ["https://acme-v02.api.letsencrypt.org/directory", "https://10.0.0.1:9000/acme/acme/directory"]
        {
            assert_eq!(directory(text), Ok(()));
        }
        for text in ["", "http://ca/directory", "ca.example.com", "https://", "https://u:p@ca/directory"] {
            assert!(directory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_optional_and_looked_at() {
        assert_eq!((email(""), email("ops@example.com")), (Ok(()), Ok(())));
        assert!(email("ops").unwrap_err().contains("is not an e-mail address"));
    }
}
