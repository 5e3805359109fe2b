//! The programs that `benches/compare` measures with: a model server, a load generator and two peers of its own. They
//! are lean, so that the proxy between them is at its end first. They know nothing of Ember.

use clap::Parser;

mod accounting;
mod answer;
mod load;
mod model;
mod moment;
mod proxy;
mod relay;
mod request;
mod wire;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
enum Tool {
    /// A model server: JSON answers, and streams on a timer wheel.
    Model(model::Options),
    /// Requests, and what became of them as one line of JSON.
    #[command(subcommand)]
    Load(load::Load),
    /// A relay of raw bytes: what no proxy can do without.
    Relay(relay::Options),
    /// A proxy of hyper's server and client that looks a bearer up in a map.
    Proxy(proxy::Options),
}

fn main() -> Result<(), Failure> {
    // `cargo bench` runs every bench; this one is run by `benches/compare`.
    if std::env::args().any(|word| word == "--bench") {
        return Ok(());
    }
    match Tool::parse() {
        Tool::Model(options) => model::run(&options),
        Tool::Load(load) => load::run(load),
        Tool::Relay(options) => relay::run(&options),
        Tool::Proxy(options) => proxy::run(options),
    }
}
