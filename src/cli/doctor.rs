//! `ember doctor`: what is wrong or soon will be, line by line, with the next step. Changes nothing. Never: the rules that
//! it looks after; each check is a file below.

mod certificate;
mod configuration;
mod directory;
mod disk;
mod finding;
mod holder;
mod machine;
mod reach;
mod store;
mod upstreams;

use std::path::PathBuf;

use crate::admin::ServerStatus;
use crate::config::Loaded;
use crate::store::StoreOptions;

use super::Services;
use super::args::{DoctorOptions, Global};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::settings;
use super::terminal::Screen;

use finding::{Finding, Level, print, verdict};

/// The store's file in the data directory.
const DATABASE: &str = "ember.redb";

pub(super) fn run(
    options: &DoctorOptions,
    global: &Global,
    services: &dyn Services,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    services.start_log(global.verbose);
    let (loaded, data) = settings::for_doctor(global, screen);
    let (mut findings, loaded, refused) = match loaded {
        Ok(loaded) => (configuration::check(&loaded), Some(loaded), false),
        Err(faults) => (configuration::refused(&faults), None, true),
    };
    if let (Some(loaded), Some(data)) = (&loaded, &data) {
        findings.extend(certificate::check(&loaded.config.server, data, services.clock().now()));
    }
    let mut running = None;
    match data {
        Some(data) => {
            let (found, server) = of_data(data, loaded.as_ref(), options, services, screen);
            findings.extend(found);
            running = server;
        }
        None => {
            let next = "name it with --data DIR";
            findings.push(Finding::fail("data directory", "only the configuration says where it is", next));
        }
    }
    if let Some(loaded) = loaded {
        findings.extend(upstreams::check(loaded.config.upstreams, running.as_ref(), services));
    }
    print(&findings, screen)?;
    match verdict(&findings) {
        _ if refused => Err(CliError::silent(Exit::Configuration)),
        Level::Fail => Err(CliError::silent(Exit::Failure)),
        Level::Ok | Level::Warn => Ok(()),
    }
}

/// Everything about the data directory, its disk and its store; and the server that runs on it.
fn of_data(
    data: PathBuf,
    loaded: Option<&Loaded>,
    options: &DoctorOptions,
    services: &dyn Services,
    screen: &Screen<'_, '_>,
) -> (Vec<Finding>, Option<ServerStatus>) {
    let ballast =
        loaded.map_or(StoreOptions::default().ballast_bytes, |loaded| loaded.config.store.ballast_bytes);
    let desk = Desk::new(services, settings::bare(data), screen.terminal.uid);
    let mut findings = directory::check(desk.data());
    if !desk.data().is_dir() {
        return (findings, None);
    }
    findings.extend(disk::check(desk.data(), ballast));
    let (who, witness) = holder::find(&desk);
    findings.push(who);
    findings.extend(store::check(&desk, &witness, options.deep));
    findings.push(machine::clock(desk.now(), store::newest(&desk, &witness)));
    if let Some(loaded) = loaded {
        findings.push(machine::descriptors(&loaded.config, witness.pid()));
    }
    (findings, witness.into_server())
}
