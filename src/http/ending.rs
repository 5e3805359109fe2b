//! What ends an answer although its client may not be taking it: a cut of the key, Ember's own end. Never: what is done then.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use crate::gate::KeyCut;

use super::stop::StopWatch;

/// One answer's ends, for the supervisor of its connection.
pub(super) struct EndSignal {
    key: KeyCut,
    stop: StopWatch,
    /// Wakes the supervisor, where nothing else in its task does.
    ear: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl EndSignal {
    /// To be looked at by a supervisor that is woken with the answer.
    pub(super) fn seen(key: KeyCut, stop: StopWatch) -> Self {
        Self { key, stop, ear: None }
    }

    /// To be listened to.
    pub(super) fn heard(key: KeyCut, stop: StopWatch) -> Self {
        let (cut, stopped) = (key.heard(), stop.clone().cutting());
        let ear = async move {
            tokio::select! {
                _ = cut => {}
                () = stopped => {}
            }
        };
        Self { key, stop, ear: Some(Box::pin(ear)) }
    }

    /// Whether the answer has to end.
    pub(super) fn is_heard(&mut self, cx: &mut Context<'_>) -> bool {
        self.key.is_given()
            || self.stop.is_cutting()
            || self.ear.as_mut().is_some_and(|ear| ear.as_mut().poll(cx).is_ready())
    }
}
