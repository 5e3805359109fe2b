//! The file that keeps the servers' last model lists, so that a start while they are down knows their models.
//! Never: anything that could not be asked for again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::listing::Listing;
use super::server::Server;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Lists {
    version: u32,
    servers: Vec<List>,
}

#[derive(Serialize, Deserialize)]
struct List {
    server: String,
    /// A list counts only for the place it was read from.
    address: String,
    models: Vec<Value>,
}

/// The last list of each of `servers`, in their order. A file that is not there or damaged tells of none.
pub(super) fn load<'a>(path: &Path, servers: impl Iterator<Item = &'a Server>) -> Vec<Option<Vec<Listing>>> {
    let mut known: HashMap<(String, String), Vec<Listing>> = HashMap::new();
    for list in read(path) {
        let models = list.models.iter().filter_map(Listing::read).collect();
        known.insert((list.server, list.address), models);
    }
    servers.map(|server| known.remove(&server.place())).collect()
}

fn read(path: &Path) -> Vec<List> {
    let file = path.display();
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(%file, %error, "the last model lists can't be read; the model servers are asked again");
            return Vec::new();
        }
    };
    match serde_json::from_slice(&text) {
        Ok(Lists { version: VERSION, servers }) => servers,
        Ok(_) | Err(_) => {
            tracing::warn!(%file, "the file of model lists is damaged or of another version; the model servers are asked again");
            Vec::new()
        }
    }
}

/// Replaces the file as a whole.
///
/// # Errors
/// Those of the file system; the old file stays then.
pub(super) fn save<'a>(
    path: &Path,
    lists: impl Iterator<Item = (&'a Server, &'a Option<Vec<Listing>>)>,
) -> io::Result<()> {
    let servers = lists
        .filter_map(|(server, list)| {
            let (server, address) = server.place();
            let models = list.as_ref()?.iter().map(Listing::write).collect();
            Some(List { server, address, models })
        })
        .collect();
    let text = serde_json::to_vec(&Lists { version: VERSION, servers })?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = write(Path::new(&temporary), &text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    hand_over(&file, path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// A file that root makes belongs to whoever the directory belongs to.
fn hand_over(file: &File, path: &Path) -> io::Result<()> {
    let owner = path.parent().map_or_else(|| fs::metadata("."), fs::metadata)?;
    if file.metadata()?.uid() == owner.uid() {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}
