//! A session at the command line as text: commands, and what each of them said, with what differs from run to run
//! given numbers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::ember::Home;

/// Runs the commands of a transcript on a home and compares all that is said with the transcript. `left_out` are
/// the lines on stderr that are not compared.
pub fn replay(home: &Home, golden: &Path, left_out: impl Fn(&str) -> bool) {
    let wanted = std::fs::read_to_string(golden).unwrap();
    let (mut masks, mut told) = (Masks::default(), String::new());
    for line in wanted.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let (args, stdin) = parsed(&masks.unmask(line));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let output = home.run_with(&args, stdin.as_deref().unwrap_or_default());
        let stdout = String::from_utf8(output.stdout).unwrap();
        masks.learn(&stdout);
        let stdout = masks.mask(&stdout);
        let stderr = String::from_utf8(output.stderr).unwrap();
        let stderr: Vec<_> = stderr.lines().filter(|line| !left_out(line)).collect();
        let stderr = masks.mask(&stderr.join("\n"));
        let exit = output.status.code().unwrap();
        writeln!(told, "$ {line}\nexit {exit}").unwrap();
        stdout.lines().for_each(|line| writeln!(told, "  {}", narrow(line)).unwrap());
        stderr
            .lines()
            .for_each(|line| writeln!(told, "{}", format!("! {}", narrow(line)).trim_end()).unwrap());
    }
    if told != wanted {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(golden.file_name().unwrap());
        std::fs::write(&place, &told).unwrap();
        let (line, (one, other)) =
            told.lines().zip(wanted.lines()).enumerate().find(|(_, (one, other))| one != other).unwrap();
        panic!(
            "line {} of {}: {one:?} where {other:?} was expected; the whole session is in {}",
            line + 1,
            golden.display(),
            place.display()
        );
    }
}

/// A line with its columns two spaces apart: how wide they are depends on what was given a number.
fn narrow(line: &str) -> String {
    let start = line.len() - line.trim_start().len();
    let (indent, mut line) = (&line[..start], line[start..].to_string());
    while line.contains("   ") {
        line = line.replace("   ", "  ");
    }
    format!("{indent}{line}")
}

/// Words parted by spaces or in single quotes, with `\t` for a tab; behind ` <`, what stands on stdin.
fn parsed(line: &str) -> (Vec<String>, Option<String>) {
    let (command, stdin) = match line.split_once(" <") {
        Some((command, stdin)) => (command, Some(stdin.trim_start().to_string())),
        None => (line, None),
    };
    let mut words = Vec::new();
    for (number, part) in command.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.replace("\\t", "\t"));
        } else {
            words.extend(part.split_whitespace().map(ToString::to_string));
        }
    }
    (words, stdin)
}

/// What differs from run to run, numbered in the order of its appearance.
#[derive(Default)]
struct Masks {
    known: HashMap<String, String>,
    counts: HashMap<&'static str, usize>,
}

const KINDS: [(&str, &str, usize); 12] = [
    ("key_", "key", 26),
    ("acct_", "acct", 26),
    ("evt_", "evt", 26),
    ("inv_", "inv", 26),
    ("tok_", "tok", 26),
    ("ses_", "ses", 26),
    ("ember_dev_", "secret", 38),
    ("ember_staging_", "secret", 38),
    ("ember_prod_", "secret", 38),
    ("ember_invite_", "secret", 38),
    ("ember_reset_", "secret", 38),
    ("ember_admin_", "secret", 38),
];

impl Masks {
    /// A key's last four characters may be shown before the key itself.
    fn learn(&mut self, text: &str) {
        for (start, _) in text.match_indices("ember_") {
            drop(self.at(&text[start..]));
        }
    }

    fn mask(&mut self, text: &str) -> String {
        let mut masked = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (length, mask) = self.at(rest).unwrap_or_else(|| (first.len_utf8(), first.to_string()));
            masked.push_str(&mask);
            rest = &rest[length..];
        }
        masked
    }

    fn unmask(&self, line: &str) -> String {
        self.known.iter().fold(line.to_string(), |line, (value, mask)| line.replace(mask, value))
    }

    /// What to put in the place of the text's beginning, and how much of it.
    fn at(&mut self, text: &str) -> Option<(usize, String)> {
        for (start, kind, length) in KINDS {
            let whole = start.len() + length;
            let fits = |text: &str| text.bytes().skip(start.len()).all(|byte| byte.is_ascii_alphanumeric());
            if text.starts_with(start) && text.get(..whole).is_some_and(fits) {
                return Some((whole, self.numbered(kind, &text[..whole])));
            }
        }
        for before in ["\"last4\": \"", "..."] {
            if let Some(known) = text.strip_prefix(before).and_then(|rest| self.known.get(rest.get(..4)?)) {
                return Some((before.len() + 4, format!("{before}{known}")));
            }
        }
        if let Some(rest) = text.strip_prefix("uid:") {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            return Some(("uid:".len() + digits, "uid:<me>".to_string()));
        }
        if let Some(length) = user(text) {
            let (door, gap) = door(&text[length..]).unwrap_or_default();
            let mask = if door > 0 { "<door>" } else { "" };
            return Some((length + door, format!("<me> on the machine{gap}{mask}")));
        }
        for word in ["socket", "file"] {
            let member = format!("\"origin\": \"{word}\"");
            if text.starts_with(&member) {
                return Some((member.len(), "\"origin\": \"<door>\"".to_string()));
            }
        }
        time(text).map(|length| (length, "<time>".to_string()))
    }

    fn numbered(&mut self, kind: &'static str, value: &str) -> String {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let mask = format!("<{kind}_{count}>");
        if kind == "secret" {
            self.known.insert(value[value.len() - 4..].to_string(), format!("<last4_{count}>"));
        }
        self.known.insert(value.to_string(), mask.clone());
        mask
    }
}

/// The length of what people read for `uid:` at the text's beginning.
fn user(text: &str) -> Option<usize> {
    let name = text.split_once(" on the machine").map(|(name, _)| name)?;
    let digits = name.strip_prefix("user ");
    let fits = name == "root" || digits.is_some_and(|uid| uid.bytes().all(|byte| byte.is_ascii_digit()));
    fits.then_some(name.len() + " on the machine".len())
}

/// By which door the machine's user came, in the column behind him: its length with the gap before it, and the gap.
fn door(text: &str) -> Option<(usize, &str)> {
    let word = text.trim_start_matches([' ', '\t']);
    let gap = &text[..text.len() - word.len()];
    let known = ["socket", "file"].into_iter().find(|known| word.starts_with(known))?;
    (!gap.is_empty()).then_some((gap.len() + known.len(), gap))
}

/// The length of a point in time at the text's beginning. Ends of days stay, since they were asked for.
fn time(text: &str) -> Option<usize> {
    let fits = |shape: &str| {
        let text = text.get(..shape.len())?;
        let same = |(one, other): (u8, u8)| if one == b'0' { other.is_ascii_digit() } else { one == other };
        shape.bytes().zip(text.bytes()).all(same).then_some(shape.len())
    };
    let whole = fits("0000-00-00T00:00:00.000Z").or_else(|| fits("0000-00-00 00:00 UTC"))?;
    (!text[..whole].contains("T23:59:59.999Z")).then_some(whole)
}
