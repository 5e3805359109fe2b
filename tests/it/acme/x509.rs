//! What a CA does with certificates: its own root, leaves by request, and reading proofs (RFC 8737, 3).

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::{CertReq, ExtensionReq};

const ACME_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.31");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

pub struct Root(CertifiedIssuer<'static, KeyPair>);

/// What a certificate is asked for.
pub struct Request {
    pub names: Vec<String>,
    point: Vec<u8>,
}

impl rcgen::PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Root {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Scripted CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The CA's own certificate for its server, and the key, both in PEM.
    pub fn server(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_string()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A chain for ninety days, an hour of them gone.
    pub fn issue(&self, request: &Request) -> String {
        let mut params = CertificateParams::new(request.names.clone()).unwrap();
        let now = std::time::SystemTime::from(jiff::Timestamp::now());
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = (now + Duration::from_secs(90 * 24 * 3600)).into();
        params.signed_by(request, &self.0).unwrap().pem() + &self.pem()
    }
}

impl Request {
    /// From a signing request that was signed with its own key.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let request = CertReq::from_der(der).ok()?;
        let point = request.info.public_key.subject_public_key.as_bytes()?.to_vec();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point);
        public.verify(&request.info.to_der().ok()?, request.signature.as_bytes()?).ok()?;
        let attribute =
            request.info.attributes.iter().find(|attribute| attribute.oid == EXTENSION_REQUEST)?;
        let extensions = ExtensionReq::from_der(&attribute.values.iter().next()?.to_der().ok()?).ok()?;
        Some(Self { names: names(&extensions.0)?, point })
    }

    /// For the same names with another key.
    pub fn with_another_key(self) -> Self {
        use rcgen::PublicKeyData;
        Self { point: KeyPair::generate().unwrap().der_bytes().to_vec(), ..self }
    }

    /// With the same key for another name.
    pub fn for_another_name(self) -> Self {
        Self { names: vec!["other.example.test".to_string()], ..self }
    }
}

/// What is wrong with a proof, if anything.
pub fn fault_of_proof(der: &[u8], domain: &str, digest: &[u8]) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(der).unwrap();
    let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
    if names(&extensions) != Some(vec![domain.to_string()]) {
        return Some(format!("the proof is for {:?}", names(&extensions)));
    }
    let Some(identifier) = extensions.iter().find(|extension| extension.extn_id == ACME_IDENTIFIER) else {
        return Some("the proof has no acmeIdentifier".to_string());
    };
    let expected = [&[4, 32], digest].concat();
    (!identifier.critical || identifier.extn_value.as_bytes() != expected)
        .then(|| "the proof's acmeIdentifier is wrong".to_string())
}

fn names(extensions: &[Extension]) -> Option<Vec<String>> {
    let extension = extensions.iter().find(|extension| extension.extn_id == SUBJECT_ALT_NAME)?;
    let names = SubjectAltName::from_der(extension.extn_value.as_bytes()).ok()?;
    let name = |name: &GeneralName| {
        if let GeneralName::DnsName(domain) = name { Some(domain.to_string()) } else { None }
    };
    names.0.iter().map(name).collect()
}
