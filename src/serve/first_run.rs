//! The first minute: an administrator and a first key, each secret shown once, and snippets to paste. Never: how the
//! server runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::registry::{NewAccount, NewKey, Registry, RegistryError};
use crate::types::{Actor, Environment, Key, Random, Role, Secret};

/// The administrator that a first run makes.
pub(super) const ADMINISTRATOR: &str = "admin@localhost";
/// The key that a first run makes.
pub(super) const FIRST_KEY: &str = "first";

/// What a first run has made; each secret is nowhere else.
pub(super) struct Minted {
    pub(super) password: Option<Secret>,
    pub(super) key: Key,
}

/// What a run on this store still has to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Everything,
    /// A first run was broken off between the account and the key.
    Key,
    Nothing,
}

/// Looks what there is.
pub(super) fn due(registry: &Registry, actor: Actor) -> Result<Due, RegistryError> {
    if registry.is_empty()? {
        return Ok(Due::Everything);
    }
    let unfinished = registry.key_count()? == 0 && registry.account(actor, ADMINISTRATOR).is_ok();
    Ok(if unfinished { Due::Key } else { Due::Nothing })
}

/// Makes what is due.
pub(super) fn mint(
    registry: &Registry,
    actor: Actor,
    due: Due,
    random: &dyn Random,
) -> Result<Option<Minted>, RegistryError> {
    let password = match due {
        Due::Nothing => return Ok(None),
        Due::Key => None,
        Due::Everything => Some(create_administrator(registry, actor, random)?),
    };
    let new = NewKey::new(
        ADMINISTRATOR,
        FIRST_KEY.parse().map_err(|error| RegistryError::Invalid(format!("{error}")))?,
        Environment::Dev,
    );
    let (_, key) = registry.create_key(actor, &new)?;
    Ok(Some(Minted { password, key }))
}

fn create_administrator(
    registry: &Registry,
    actor: Actor,
    random: &dyn Random,
) -> Result<Secret, RegistryError> {
    let password = Secret::generate(random)?;
    let shown = Secret::new(password.expose().to_string());
    let email = ADMINISTRATOR.parse().map_err(|error| RegistryError::Invalid(format!("{error}")))?;
    registry.create_account(
        actor,
        &NewAccount { email, name: None, role: Role::Admin, password: Some(password) },
    )?;
    Ok(shown)
}

/// Where what `up` makes is shown.
#[derive(Debug, Clone)]
pub(super) enum Output {
    /// Someone reads stdout.
    Seen,
    /// Stdout lands in a log, so nothing is made.
    Kept,
    /// In a new file.
    File(PathBuf),
}

impl Output {
    /// Opened before secrets are made, so that none is lost; none when none may be made.
    pub(super) fn open(&self) -> io::Result<Option<Sink>> {
        match self {
            Self::Seen => Ok(Some(Sink::Stdout)),
            Self::Kept => Ok(None),
            Self::File(path) => {
                // An empty file is what a run that was stopped here has left.
                let is_left =
                    std::fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() == 0);
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(!is_left).mode(0o600).open(path)?;
                Ok(Some(Sink::File(path.clone(), file)))
            }
        }
    }

    /// For errors.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Seen | Self::Kept => Path::new("stdout"),
            Self::File(path) => path,
        }
    }
}

/// Where secrets go.
pub(super) enum Sink {
    Stdout,
    File(PathBuf, File),
}

impl Sink {
    /// Shows what was made, and how to use it. In a file it can be sourced by a shell.
    pub(super) fn show(&mut self, minted: &Minted, base_url: &str, model: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                write_for_people(&mut out, minted, base_url, model)?;
                out.flush()
            }
            Self::File(path, file) => {
                write_for_shells(file, minted, base_url)?;
                file.sync_all()?;
                let mut out = io::stdout().lock();
                writeln!(out, "The administrator's password and a first API key are in {}.", path.display())?;
                writeln!(out, "Use them:  set -a; . {}; set +a", path.display())
            }
        }
    }
}

fn write_for_people(out: &mut impl Write, minted: &Minted, base_url: &str, model: &str) -> io::Result<()> {
    let key = minted.key.expose();
    if let Some(password) = &minted.password {
        writeln!(out, "\n  Administrator  {ADMINISTRATOR}")?;
        writeln!(out, "  Password       {}   (for the dashboard; shown once)", password.expose())?;
    }
    writeln!(out, "  API key        {key}   (shown once)\n")?;
    writeln!(out, "Try it:\n")?;
    writeln!(out, "  curl {base_url}/chat/completions \\")?;
    writeln!(out, "    -H \"Authorization: Bearer {key}\" \\")?;
    writeln!(out, "    -H \"Content-Type: application/json\" \\")?;
    writeln!(out, "    -d '{}'\n", request_json(model))?;
    writeln!(out, "  from openai import OpenAI            # pip install openai")?;
    writeln!(out, "  client = OpenAI(base_url=\"{base_url}\", api_key=\"{key}\")")?;
    writeln!(out, "  answer = client.chat.completions.create(")?;
    writeln!(
        out,
        "      model={}, messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}])",
        json_text(model)
    )?;
    writeln!(out, "  print(answer.choices[0].message.content)\n")
}

fn write_for_shells(out: &mut impl Write, minted: &Minted, base_url: &str) -> io::Result<()> {
    writeln!(out, "# Made once by `ember up`. Keep it out of version control.")?;
    if let Some(password) = &minted.password {
        writeln!(out, "# Administrator, for the dashboard: {ADMINISTRATOR}")?;
        writeln!(out, "# Password: {}", password.expose())?;
    }
    writeln!(out, "OPENAI_BASE_URL={base_url}")?;
    writeln!(out, "OPENAI_API_KEY={}", minted.key.expose())
}

/// Within single quotes of a shell.
fn request_json(model: &str) -> String {
    let model = json_text(model).replace('\'', "\\u0027");
    format!("{{\"model\":{model},\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}")
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
