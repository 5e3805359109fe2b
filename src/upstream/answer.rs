//! A model server's answer coming in. Never: what it means.
//!
//! Whoever reads it drives its connection; dropped before its end, it closes the connection at once.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, SizeHint};
use hyper::body::Incoming;

use super::RelayFault;
use super::pool::{Lease, Pool};

/// The body of an answer, with the connection that it comes over.
pub(super) struct Answer {
    body: Incoming,
    lease: Option<Lease>,
    home: Option<Arc<Pool>>,
}

impl Answer {
    /// The connection goes `home` after the last byte.
    pub(super) fn new(body: Incoming, lease: Lease, home: Option<Arc<Pool>>) -> Self {
        Self { body, lease: Some(lease), home }
    }

    /// The next bytes, never empty; trailers are dropped.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RelayFault>>> {
        let mut driven = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data()
                        && !chunk.is_empty()
                    {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.lease = None;
                    return Poll::Ready(Some(Err(RelayFault::BrokeOff)));
                }
                Poll::Ready(None) => {
                    self.go_home();
                    return Poll::Ready(None);
                }
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {
                    if let Some(lease) = &mut self.lease {
                        lease.drive(cx);
                    }
                    driven = true;
                }
            }
        }
    }

    /// Whether nothing more can come; the connection is free then.
    pub(super) fn is_whole(&mut self) -> bool {
        let whole = self.body.is_end_stream();
        if whole {
            self.go_home();
        }
        whole
    }

    /// How many bytes are to come, as far as the server said.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// All of it.
    ///
    /// # Errors
    /// [`RelayFault::Invalid`] when there is more than `bytes_max`; [`RelayFault::BrokeOff`].
    pub(super) async fn collect(mut self, bytes_max: usize) -> Result<Bytes, RelayFault> {
        let mut all = BytesMut::new();
        while let Some(chunk) = poll_fn(|cx| self.poll_chunk(cx)).await {
            let chunk = chunk?;
            if all.len() + chunk.len() > bytes_max {
                return Err(RelayFault::Invalid);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    fn go_home(&mut self) {
        if let (Some(lease), Some(home)) = (self.lease.take(), self.home.take()) {
            home.keep(lease);
        }
    }
}
