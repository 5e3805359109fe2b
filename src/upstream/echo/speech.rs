//! What the stand-in says, as text and in words; a word stands for a token. Never: JSON.

/// The most words of an answer when the caller sets no limit, and when he sets a higher one.
const WORDS_MAX: usize = 16_384;

/// The most bytes of an answer's text.
const TEXT_BYTES_MAX: usize = 1 << 20;

const INTRODUCTION: &str =
    "This is ember-echo, the stand-in model built into Ember; it repeats what you say: ";

/// An answer: the introduction, then what was said, as far as the limits let it.
pub(super) struct Speech {
    /// All of it.
    pub(super) text: String,
    /// Its words.
    pub(super) words: u64,
    /// Whether a limit cut it short.
    pub(super) cut: bool,
}

impl Speech {
    /// Repeats `said`, in at most `words_max` words.
    pub(super) fn repeating(said: &str, words_max: Option<u64>) -> Self {
        let words_max =
            words_max.map_or(WORDS_MAX, |max| usize::try_from(max).unwrap_or(WORDS_MAX)).min(WORDS_MAX);
        let mut text = INTRODUCTION.to_string();
        text.push_str(prefix(said, TEXT_BYTES_MAX).trim_end());
        let whole = text.trim_end().len();
        let (mut end, mut words) = (0, 0_usize);
        while words < words_max && end < whole {
            end += piece_len(&text[end..whole]);
            words += 1;
        }
        text.truncate(end);
        Self { text, words: words as u64, cut: end < whole || said.len() > TEXT_BYTES_MAX }
    }

    /// Its words one by one, each with the spaces before it: put together they are the text.
    pub(super) fn pieces(&self) -> impl Iterator<Item = String> + Send + use<> {
        let text = self.text.clone();
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &text[at..];
            let piece = &rest[..piece_len(rest)];
            at += piece.len();
            (!piece.is_empty()).then(|| piece.to_string())
        })
    }
}

/// The words of a text.
pub(super) fn count(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// The length of the first word of `text` and the spaces before it.
fn piece_len(text: &str) -> usize {
    let word = text.len() - text.trim_start().len();
    text[word..].find(char::is_whitespace).map_or(text.len(), |len| word + len)
}

fn prefix(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_text() {
        for said in ["", " ", "hello", "a  b\n\nc\u{3000}d ", "\u{fc}ber\tallem"] {
            for words_max in [None, Some(0), Some(1), Some(15), Some(u64::MAX)] {
                let speech = Speech::repeating(said, words_max);
                let pieces: Vec<String> = speech.pieces().collect();
                assert_eq!(pieces.concat(), speech.text);
                assert_eq!(pieces.len() as u64, speech.words);
                assert_eq!(count(&speech.text), speech.words);
                assert_eq!(speech.cut, speech.text != format!("{INTRODUCTION}{said}").trim_end(), "{said:?}");
            }
        }
    }

    #[test]
    fn answers_are_bounded() {
        let speech = Speech::repeating(&"word ".repeat(100_000), None);
        assert_eq!((speech.words, speech.cut), (WORDS_MAX as u64, true));
        let speech = Speech::repeating(&"\u{fc}".repeat(TEXT_BYTES_MAX), None);
        assert!(speech.cut && speech.text.len() <= TEXT_BYTES_MAX + INTRODUCTION.len());
    }
}
