//! From an accepted socket to a transport and its first bytes. Never: what is asked on it.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
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
        None => Transport::Plain(stream),
        Some(config) => {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 {
                return Ok(Beginning::Nothing);
            }
            if first != [TLS_HANDSHAKE] {
                return unencrypted(stream).await;
            }
            let stream = TlsAcceptor::from(Arc::clone(config)).accept(Counted::new(stream)).await?;
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
    let mut bytes = BytesMut::zeroed(8192);
    let mut filled = 0;
    loop {
        let count = transport.read_some(&mut bytes[filled..]).await?;
        filled += count;
        if count == 0 {
            return Ok(Bytes::new());
        }
        if filled >= PREFACE.len() || !PREFACE.starts_with(&bytes[..filled]) {
            bytes.truncate(filled);
            return Ok(bytes.freeze());
        }
    }
}

/// Whether what is no TLS is at least HTTP: a method, and a space after it.
async fn unencrypted(stream: TcpStream) -> io::Result<Beginning> {
    let transport = Transport::Plain(stream);
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
        Transport::Plain(stream) => Ok(Beginning::Unencrypted(stream)),
        Transport::Tls(_) => Ok(Beginning::Nothing),
    }
}
