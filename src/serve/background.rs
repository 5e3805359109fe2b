//! What goes on for ever beside serving, and that it does. Never: what it is.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::Pin;

use tokio::task::{Id, JoinSet};

/// Tasks of which none is to end. All end with this.
#[derive(Default)]
pub(super) struct Background {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Background {
    /// Begins a task. `name` is what it is for, for the log.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // One type for all of them: the runtime's part of a task is made anew for each type.
        let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
        self.names.insert(self.tasks.spawn(task).id(), name);
    }

    /// Says which task has ended, and goes on for ever.
    pub(super) async fn watch<T>(&mut self) -> T {
        while let Some(name) = self.ended().await {
            tracing::error!(
                "{name} has come to an end, by a fault of Ember's; only a restart brings it back"
            );
        }
        pending().await
    }

    /// The name of the next task that ends; none when there is none left.
    async fn ended(&mut self) -> Option<&'static str> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        Some(self.names.remove(&id).unwrap_or("a task"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bug_a_task_that_ends_or_panics_is_named() {
        let mut background = Background::default();
        background.spawn("the first", async { panic!("on purpose") });
        assert_eq!(background.ended().await, Some("the first"));
        background.spawn("the second", async {});
        background.spawn("the third", pending());
        assert_eq!(background.ended().await, Some("the second"));
    }
}
