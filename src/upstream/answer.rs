//! A model server's answer coming in. Never: what it means.
//!
//! Whoever reads it drives its connection; dropped before its end, it closes the connection at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::SizeHint;

use super::RelayFault;
use super::pool::{Lease, Pool};
use super::watch::{Alarm, Now};

/// The body of an answer, with the connection that it comes over.
pub(super) struct Answer {
    /// None when all of it is read, or nothing more can come.
    lease: Option<Lease>,
    home: Option<Arc<Pool>>,
}

impl Answer {
    /// The answer whose head was read from `lease`. The connection goes `home` after the last byte.
    pub(super) fn new(lease: Lease, home: Option<Arc<Pool>>) -> Self {
        Self { lease: Some(lease), home }
    }

    /// The next bytes, never empty; trailers are dropped.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RelayFault>>> {
        let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
        Poll::Ready(match ready!(lease.poll_body(cx)) {
            Some(Ok(bytes)) => Some(Ok(bytes)),
            Some(Err(_)) => {
                self.lease = None;
                Some(Err(RelayFault::BrokeOff))
            }
            None => {
                self.go_home(&mut Now::default());
                None
            }
        })
    }

    /// Whether nothing more can come; the connection is free then.
    pub(super) fn is_whole(&mut self, now: &mut Now) -> bool {
        let whole = self.lease.as_ref().is_none_or(|lease| lease.is_whole());
        if whole {
            self.go_home(now);
        }
        whole
    }

    /// How many bytes are to come, as far as the server said.
    pub(super) fn size_hint(&self) -> SizeHint {
        let length = self.lease.as_ref().map_or(Some(0), |lease| lease.length());
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The alarm of whoever waits for the next bytes, as long as there may be any.
    pub(super) fn alarm(&mut self) -> Option<&mut Alarm> {
        self.lease.as_mut().map(|lease| &mut lease.alarm)
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

    fn go_home(&mut self, now: &mut Now) {
        if let (Some(lease), Some(home)) = (self.lease.take(), self.home.take()) {
            home.keep(lease, now);
        }
    }
}
