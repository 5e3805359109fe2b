//! What ends an answer although its client may not be taking it: a cut of the key, Ember's own end. Never: what is done then.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use crate::gate::CutSignal;

use super::stop::StopWatch;

/// One answer's ends, for the supervisor of its connection.
pub(super) struct EndSignal {
    cut: CutSignal,
    stop: StopWatch,
    /// Where nothing else in the supervisor's task waits for them.
    ear: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl EndSignal {
    /// To be looked at by a supervisor that is woken with the answer.
    pub(super) fn seen(cut: CutSignal, stop: StopWatch) -> Self {
        Self { cut, stop, ear: None }
    }

    /// To be waited for.
    pub(super) fn heard(cut: CutSignal, stop: StopWatch) -> Self {
        let stopped = stop.clone().cutting();
        Self { cut, stop, ear: Some(Box::pin(stopped)) }
    }

    /// Whether the answer has to end.
    pub(super) fn is_heard(&mut self, cx: &mut Context<'_>) -> bool {
        let Self { cut, stop, ear } = self;
        match ear {
            None => cut.is_given() || stop.is_cutting(),
            Some(ear) => Pin::new(cut).poll(cx).is_ready() || ear.as_mut().poll(cx).is_ready(),
        }
    }
}
