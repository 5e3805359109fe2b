//! From an accepted socket to a transport and its first bytes. Never: what is asked on it.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::tls::ACME_PROTOCOL;

use super::transport::{Counted, Transport};

/// How every HTTP/2 connection begins (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of every TLS connection: the type of a record in a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// The longest method that is known for one.
const METHOD_BYTES_MAX: usize = 24;

/// How a connection began.
pub(super) enum Beginning {
    /// With these bytes, and who speaks HTTP/2 has said so in them.
    Http(Transport, Bytes),
    /// In plain HTTP where TLS is spoken.
    Unencrypted(TcpStream),
    /// With nothing to answer: gone, garbage, or a look at a proof.
    Nothing,
}

/// Carries a connection to its first bytes of HTTP.
///
/// # Errors
/// The connection broke, or no TLS came of it.
pub(super) async fn begin(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Beginning> {
    let transport = match tls {
        None => Transport::plain(stream),
        Some(config) => {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 {
                return Ok(Beginning::Nothing);
            }
            if first != [TLS_HANDSHAKE] {
                return unencrypted(stream).await;
            }
            // Beside the future: those who speak no TLS need no room for it.
            let accepting = TlsAcceptor::from(Arc::clone(config)).accept(Counted::new(stream));
            let stream = Box::pin(accepting).await?;
            let mut transport = Transport::tls(stream);
            if transport.protocol().as_deref() == Some(ACME_PROTOCOL) {
                // The handshake was all that was wanted (RFC 8737, 3).
                let _ = transport.say_goodbye().await;
                return Ok(Beginning::Nothing);
            }
            transport
        }
    };
    let first = first_bytes(&transport).await?;
    Ok(if first.is_empty() { Beginning::Nothing } else { Beginning::Http(transport, first) })
}

/// Reads until it is clear whether this is HTTP/2. Empty when the client went away.
async fn first_bytes(transport: &Transport) -> io::Result<Bytes> {
    let mut first = Bytes::new();
    loop {
        let part = poll_fn(|cx| transport.poll_part(cx)).await?;
        if part.is_empty() {
            return Ok(part);
        }
        first = if first.is_empty() { part } else { [first, part].concat().into() };
        if first.len() >= PREFACE.len() || !PREFACE.starts_with(&first) {
            return Ok(first);
        }
    }
}

/// Whether what is no TLS is at least HTTP: a method, and a space after it.
async fn unencrypted(stream: TcpStream) -> io::Result<Beginning> {
    let transport = Transport::plain(stream);
    let (mut bytes, mut filled) = ([0; METHOD_BYTES_MAX], 0);
    loop {
        let count = transport.read_some(&mut bytes[filled..]).await?;
        filled += count;
        let method = bytes[..filled].iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        match bytes[..filled].get(method) {
            Some(b' ') if method > 0 => break,
            None if count > 0 && filled < METHOD_BYTES_MAX => {}
            Some(_) | None => return Ok(Beginning::Nothing),
        }
    }
    match transport {
        Transport::Plain(stream) => {
            Ok(Beginning::Unencrypted(stream.into_inner().unwrap_or_else(PoisonError::into_inner)))
        }
        Transport::Tls(_) => Ok(Beginning::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::pulse::Pulse;
    use crate::http::socket::{Socket, Turn};
    use crate::tls::{Certificate, Identity, server_config};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::{TlsConnector, rustls};

    /// A client that offers these protocols and says `first`, and how the server finds it to begin.
    async fn met(inside: &[&[u8]], first: &[u8]) -> (TlsStream<TcpStream>, Beginning) {
        let made = rcgen::generate_simple_self_signed(["a.test".to_string()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let certificate = Certificate::from_pem(("cert", chain.as_bytes()), ("key", key.as_bytes())).unwrap();
        let identity = Arc::new(Identity::default());
        identity.prove("a.test", certificate.clone());
        identity.show(certificate);
        let config = server_config(identity).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            begin(stream, Some(&config)).await.unwrap()
        });
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = inside.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
        stream.write_all(first).await.unwrap();
        (stream, served.await.unwrap())
    }

    #[tokio::test]
    async fn a_look_at_a_proof_is_over_with_the_handshake() {
        let (mut client, begun) = met(&[b"http/1.1", ACME_PROTOCOL], b"").await;
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(ACME_PROTOCOL));
        assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0, "a goodbye, and nothing else");
        assert!(matches!(begun, Beginning::Nothing));
    }

    #[tokio::test]
    async fn what_the_kernel_has_not_taken_counts_as_not_flushed() {
        let (mut client, begun) = met(&[b"http/1.1"], b"GET").await;
        let Beginning::Http(transport, first) = begun else { panic!("no HTTP") };
        assert_eq!(first, "GET");
        let pulse = Arc::new(Pulse::new(None));
        let mut socket = Socket::new(Arc::new(transport), Arc::clone(&pulse), Bytes::new(), Turn::OfBodies);
        let mut sent = 0;
        // Nobody reads: in the end neither the kernel nor TLS takes any more.
        while let std::task::Poll::Ready(count) = poll_once(socket.write(&[7; 16 * 1024])).await {
            sent += count.unwrap();
        }
        assert!(poll_once(socket.flush()).await.is_pending());
        assert_eq!(pulse.flush_mark(), 0);
        let reader = tokio::spawn(async move {
            let mut received = vec![0; sent];
            client.read_exact(&mut received).await.map(|_| client)
        });
        socket.flush().await.unwrap();
        assert_eq!(pulse.flush_mark(), 1);
        reader.await.unwrap().unwrap();
    }

    async fn poll_once<T>(future: impl Future<Output = T>) -> std::task::Poll<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
    }
}
