//! Reading the keys of model servers from files and variables. Never: saying what is in them.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::types::Secret;

/// The longest key, in bytes.
const SECRET_MAX: usize = 8192;

/// The key in a file. The refusal names the path.
pub(super) fn from_file(path: &Path) -> Result<Secret, String> {
    let named = path.display();
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_MAX + 64));
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_MAX as u64 + 3).read_to_end(&mut bytes))
        .map_err(|error| format!("{named} can't be read: {error}"))?;
    checked(&bytes).map_err(|reason| format!("{named} {reason}"))
}

/// The key in a variable. The refusal names the variable.
pub(super) fn from_variable(name: &str, environment: &[(String, String)]) -> Result<Secret, String> {
    let text =
        variable(name, environment).ok_or_else(|| format!("the variable {name} is not set, or empty"))?;
    checked(text.as_bytes()).map_err(|reason| format!("the variable {name} {reason}"))
}

/// Where systemd put the credential of that name.
pub(super) fn credential(name: &str, environment: &[(String, String)]) -> Result<PathBuf, String> {
    if !is_credential_name(name) {
        return Err("credential: takes a plain name, as in LoadCredential=name:path".to_string());
    }
    let directory = variable("CREDENTIALS_DIRECTORY", environment).ok_or(
        "credential: needs CREDENTIALS_DIRECTORY, which systemd sets for services with LoadCredential=",
    )?;
    Ok(Path::new(directory).join(name))
}

/// Whether systemd could give a credential that name.
pub(super) fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != "." && name != ".."
}

/// A variable that is set and not empty.
pub(super) fn variable<'e>(name: &str, environment: &'e [(String, String)]) -> Option<&'e str> {
    let found = environment.iter().find(|(candidate, _)| candidate == name);
    found.map(|(_, text)| text.as_str()).filter(|text| !text.is_empty())
}

fn checked(bytes: &[u8]) -> Result<Secret, &'static str> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.is_empty() {
        return Err("is empty");
    }
    if bytes.len() > SECRET_MAX {
        return Err("is longer than 8192 bytes");
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err("holds a space, a line break or a character that no HTTP header takes");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not text")?;
    Ok(Secret::new(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, bytes).unwrap();
        from_file(&path).map(|secret| secret.expose().to_string())
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_the_key() {
        for bytes in [&b"sk-1"[..], b"sk-1\n", b"sk-1\r\n"] {
            assert_eq!(read(bytes).unwrap(), "sk-1");
        }
        assert_eq!(read(&[b'a'; SECRET_MAX]).unwrap().len(), SECRET_MAX);
    }

    #[test]
    fn what_can_not_be_a_key_is_refused_without_its_content() {
        for bytes in [
            &b""[..],
            b"\n",
            b"hunter2\n\n",
            b" hunter2",
            b"hunter2\0",
            b"hunter2\xff",
            &[b'a'; SECRET_MAX + 1],
        ] {
            let refusal = read(bytes).unwrap_err();
            assert!(!refusal.contains("hunter2") && refusal.contains("key"), "{refusal}");
        }
        assert!(from_file(Path::new("/nowhere/key")).is_err());
    }

    #[test]
    fn a_credential_is_a_plain_name() {
        let environment = [("CREDENTIALS_DIRECTORY".to_string(), "/run/c".to_string())];
        assert_eq!(credential("vllm", &environment), Ok(PathBuf::from("/run/c/vllm")));
        assert!(credential("../vllm", &environment).is_err() && credential("", &environment).is_err());
        assert!(credential("vllm", &[]).is_err());
    }
}
