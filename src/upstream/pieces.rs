//! A request's body on its way to a model server: pieces whose total length is known. Never: what is in them.

use bytes::Bytes;

use super::body::Spliced;

/// The pieces, in order.
#[derive(Clone, Default)]
pub(super) enum Pieces {
    /// No body.
    #[default]
    None,
    One(Bytes),
    Several(Vec<Bytes>),
}

impl Pieces {
    pub(super) fn all(&self) -> &[Bytes] {
        match self {
            Self::None => &[],
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Several(pieces) => pieces,
        }
    }

    /// Of all of them together.
    pub(super) fn len(&self) -> usize {
        self.all().iter().map(Bytes::len).sum()
    }
}

impl From<Spliced> for Pieces {
    fn from(spliced: Spliced) -> Self {
        Self::Several(spliced.pieces)
    }
}
