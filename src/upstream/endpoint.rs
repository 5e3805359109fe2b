//! The routes under /v1 that are relayed. Never: who may call them.

use super::tap::Dialect;
use crate::types::RouteName;

/// A route that a model server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    ChatCompletions,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/responses`.
    Responses,
}

impl Endpoint {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::ChatCompletions, Self::Completions, Self::Embeddings, Self::Responses];

    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
        }
    }

    /// How its streams are written.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Embeddings => Dialect::Chat,
            Self::Responses => Dialect::Responses,
        }
    }

    /// Whether its requests know `stream_options.include_usage`.
    pub(super) const fn asks_for_usage(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// What policies call it.
    #[must_use]
    pub const fn route(self) -> RouteName {
        match self {
            Self::ChatCompletions => RouteName::ChatCompletions,
            Self::Completions => RouteName::Completions,
            Self::Embeddings => RouteName::Embeddings,
            Self::Responses => RouteName::Responses,
        }
    }

    /// What the GenAI semantic conventions call it (`gen_ai.operation.name`).
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Responses => "chat",
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }

    /// Whether its answers are texts, whose length says something about the tokens in them.
    pub(super) const fn answers_text(self) -> bool {
        !matches!(self, Self::Embeddings)
    }
}
