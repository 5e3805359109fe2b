//! The configuration: whether it loads, who can read and change it, and what in it invites trouble. Never: what a setting
//! may be (the floor `config` has that).

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Faults, Loaded, LogLevel, ServerConfig};
use crate::types::SignUp;

use super::finding::{Finding, or_ok};

const CHECK: &str = "configuration";

pub(super) fn refused(faults: &Faults) -> Vec<Finding> {
    let next = "correct it; `ember config default` prints a complete one with every setting explained";
    faults.iter().map(|fault| Finding::fail(CHECK, fault.to_string(), next)).collect()
}

pub(super) fn check(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = match &loaded.file {
        Some(file) => vec![Finding::ok(CHECK, format!("{} is without fault", file.display()))],
        None => vec![Finding::ok(CHECK, "there is no file; the defaults hold")],
    };
    let warned = |warning: &String| Finding::warn(CHECK, warning.clone(), "correct or remove it");
    findings.extend(loaded.warnings.iter().map(warned));
    findings.extend(loaded.file.as_deref().and_then(|file| open_to_others(file, loaded)));
    findings.extend(secret_files(loaded).iter().filter_map(|file| readable(file)));
    findings.extend(exposure(loaded));
    findings
}

/// Whoever can write the file says where requests go.
fn open_to_others(file: &Path, loaded: &Loaded) -> Option<Finding> {
    let (named, mode) = (file.display(), file.metadata().ok()?.mode());
    if mode & 0o002 != 0 {
        let found = format!("everyone may write {named}, and so send requests where he likes");
        return Some(Finding::warn(CHECK, found, format!("chmod o-w {named}")));
    }
    let secrets = secret_files(loaded);
    (mode & 0o004 != 0 && !secrets.is_empty()).then(|| {
        let found = format!("everyone may read {named}, which names the files of {} key(s)", secrets.len());
        Finding::warn(CHECK, found, format!("chmod o-r {named}"))
    })
}

/// The files with keys of ours and for model servers, where they are. Certificates are no secrets.
fn secret_files(loaded: &Loaded) -> Vec<PathBuf> {
    let beside = loaded.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let secret = |path: &str| path == "server.tls.key_file" || path.ends_with(".api_key_file");
    let named = loaded.settings().into_iter().filter(|setting| secret(&setting.path));
    let values = named.filter_map(|setting| {
        let value = setting.value.trim().parse::<toml_edit::Value>().ok()?;
        value.as_str().filter(|text| !text.is_empty() && !text.starts_with("credential:")).map(PathBuf::from)
    });
    values.map(|path| beside.join(path)).collect()
}

fn readable(file: &Path) -> Option<Finding> {
    let mode = fs::metadata(file).ok()?.mode() & 0o777;
    let named = file.display();
    (mode & 0o007 != 0).then(|| {
        let found = format!("everyone may read the key in {named} (mode {mode:o})");
        Finding::warn("secrets", found, format!("chmod o= {named}"))
    })
}

/// What others on the network are given.
fn exposure(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let mut findings = listeners(&config.server);
    findings.extend(public_url(&config.server));
    findings.extend(proxies(&config.server));
    if matches!(&config.dashboard.sign_up, SignUp::Open { domains } if domains.is_empty()) {
        findings.push(Finding::warn(
            "sign-up",
            "whoever reaches the dashboard can make an account and keys (dashboard.sign_up is \"open\")",
            "set sign_up = \"invite\", or name your addresses with sign_up_domains",
        ));
    }
    if matches!(config.log.level, LogLevel::Debug | LogLevel::Trace) {
        findings.push(Finding::warn(
            "log",
            "log.level is finer than info: many lines for each request",
            "set log.level = \"info\" when what you look for is found",
        ));
    }
    findings
}

fn listeners(server: &ServerConfig) -> Vec<Finding> {
    let found = server.exposed(&server.listen).into_iter().map(|address| {
        Finding::warn(
            "listeners",
            format!("{address} takes keys and passwords in clear from other machines"),
            "set server.tls, or listen on 127.0.0.1 behind a proxy that speaks TLS, or name such a proxy elsewhere in \
             server.trusted_proxies",
        )
    });
    let all: Vec<_> =
        server.listen.iter().map(|address| format!("{}://{address}", server.scheme())).collect();
    or_ok(found.collect(), "listeners", all.join(", "))
}

fn public_url(server: &ServerConfig) -> Option<Finding> {
    let url = server.public_url.as_ref()?;
    let uri = url.parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("http"))?;
    let host = uri.host()?;
    let is_here = host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback);
    (!is_here).then(|| {
        let found = format!("server.public_url is {url}: keys and passwords travel in clear");
        Finding::warn("public URL", found, "put a proxy that speaks TLS in front and write https://")
    })
}

fn proxies(server: &ServerConfig) -> Option<Finding> {
    let all = server.trusted_proxies.iter().find(|network| network.prefix_len() == 0)?;
    Some(Finding::warn(
        "proxies",
        format!("server.trusted_proxies has {all}: everyone can say that he comes from any address"),
        "name your proxies' own addresses",
    ))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
