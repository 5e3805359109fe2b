//! TLS in these tests, as clients and CAs connect.

use std::sync::{Arc, Mutex};

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring as provider;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::der::Decode;

/// Connects by a name to a port of this machine, and trusts the root in PEM.
pub async fn connect(name: &str, port: u16, root: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let config: ConfigBuilder<ClientConfig, WantsClientCert> = builder().with_root_certificates(roots);
    to(name, port, config.with_no_client_auth()).await
}

/// Connects as a CA does that looks at a proof: the certificate that was shown.
pub async fn look(name: &str, port: u16) -> std::io::Result<CertificateDer<'static>> {
    let seen = Arc::new(Seen::default());
    let config = builder().dangerous().with_custom_certificate_verifier(seen.clone());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let stream = to(name, port, config).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"acme-tls/1") {
        return Err(std::io::Error::other("acme-tls/1 was not agreed on"));
    }
    let shown = seen.0.lock().unwrap().take();
    Ok(shown.unwrap())
}

async fn to(name: &str, port: u16, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from(name.to_string()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

/// Takes every certificate and notes it. Whoever shows it must have its key all the same, which is checked by hand:
/// rustls can't read a certificate with a part that clients must not take.
#[derive(Debug, Default)]
struct Seen(Mutex<Option<CertificateDer<'static>>>);

fn has_key(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    let public = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public.raw_bytes());
    assert_eq!(signed.scheme, SignatureScheme::ECDSA_NISTP256_SHA256);
    let verified = public.verify(message, signed.signature());
    verified.map(|()| HandshakeSignatureValid::assertion()).map_err(|_| rustls::Error::DecryptError)
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(end_entity.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        has_key(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        has_key(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
