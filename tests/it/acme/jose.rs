//! Signed requests as an ACME server reads them (RFC 8555, 6.2; RFC 7515; RFC 7638).

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::Value;

pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

pub fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// The public key of an account.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountKey {
    x: String,
    y: String,
}

impl AccountKey {
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let part = |name: &str| jwk[name].as_str().map(str::to_string);
        (jwk["kty"] == "EC" && jwk["crv"] == "P-256")
            .then(|| Some(Self { x: part("x")?, y: part("y")? }))
            .flatten()
    }

    pub fn thumbprint(&self) -> String {
        let Self { x, y } = self;
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        encode(digest(&SHA256, canonical.as_bytes()).as_ref())
    }

    /// What a challenge's proof must show.
    pub fn key_authorization_digest(&self, token: &str) -> Vec<u8> {
        digest(&SHA256, format!("{token}.{}", self.thumbprint()).as_bytes()).as_ref().to_vec()
    }

    fn point(&self) -> Option<Vec<u8>> {
        let (x, y) = (decode(&self.x)?, decode(&self.y)?);
        (x.len() == 32 && y.len() == 32).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    }
}

/// A request's parts, not checked yet.
pub struct Jws {
    pub header: Value,
    pub payload: Vec<u8>,
    signed: String,
    signature: Vec<u8>,
}

impl Jws {
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let part = |name: &str| body[name].as_str();
        let (protected, payload) = (part("protected")?, part("payload")?);
        Some(Self {
            header: serde_json::from_slice(&decode(protected)?).ok()?,
            payload: decode(payload)?,
            signed: format!("{protected}.{payload}"),
            signature: decode(part("signature")?)?,
        })
    }

    pub fn is_signed_by(&self, key: &AccountKey) -> bool {
        let Some(point) = key.point() else { return false };
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        self.header["alg"] == "ES256" && public.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}
