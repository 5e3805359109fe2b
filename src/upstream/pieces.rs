//! A request's body on its way to a model server: pieces whose total length is known. Never: what is in them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::body::Spliced;

/// The pieces that are still to be sent.
pub(super) struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
}

impl Pieces {
    /// No body.
    pub(super) fn none() -> Self {
        Self { pieces: Vec::new().into_iter(), bytes_left: 0 }
    }
}

impl From<Spliced> for Pieces {
    fn from(spliced: Spliced) -> Self {
        Self { pieces: spliced.pieces.into_iter(), bytes_left: spliced.bytes }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.next();
        self.bytes_left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}
