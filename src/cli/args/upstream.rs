//! The commands about model servers. Never: anything else.

use clap::Subcommand;

use crate::types::ModelId;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UpstreamVerb {
    /// List the model servers: how they are, since when, and how busy; needs a running server
    #[command(after_help = "Example:\n  ember upstream list")]
    List,
    /// Try a model server step by step; exit code 1 when a step fails; needs a running server
    #[command(after_help = "Example:\n  ember upstream test gpu-1 --model qwen3-8b --stream")]
    Test {
        /// Its name in the configuration
        #[arg(value_name = "NAME")]
        upstream: String,
        /// Also ask this model for an answer of one token; costs tokens, which are counted for nobody
        #[arg(long)]
        model: Option<ModelId>,
        /// Ask for a stream, and look at its beginning and its end
        #[arg(long, requires = "model")]
        stream: bool,
    },
    /// Send a model server no new requests; those under way go on. Lasts until undrain or a restart of Ember
    #[command(after_help = "Example:\n  ember upstream drain gpu-1")]
    Drain {
        /// Its name in the configuration
        #[arg(value_name = "NAME")]
        upstream: String,
    },
    /// Send a drained model server requests again
    #[command(after_help = "Example:\n  ember upstream undrain gpu-1")]
    Undrain {
        /// Its name in the configuration
        #[arg(value_name = "NAME")]
        upstream: String,
    },
}
