//! Lists of capabilities as they travel: words, some with a value after `=`.

use super::shown;

/// What one side says it can do, in its order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    words: Vec<(String, Option<String>)>,
}

impl Capabilities {
    /// Reads a list separated by spaces. Bytes that are not UTF-8 are replaced: no capability that
    /// is known has them.
    pub fn parse(list: &[u8]) -> Self {
        let text = String::from_utf8_lossy(list);
        let words = text.split([' ', '\n']).filter(|word| !word.is_empty());
        let words = words.map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        });
        Self { words: words.collect() }
    }

    /// Adds one word, in version 2 a line of its own.
    pub fn push(&mut self, word: &[u8]) {
        self.words.extend(Self::parse(word).words);
    }

    /// Whether the name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|(word, _)| word == name)
    }

    /// The value of the first one of this name.
    pub fn value(&self, name: &str) -> Option<&str> {
        let of_name = |(word, value): &'_ (String, Option<String>)| word == name && value.is_some();
        self.words.iter().find(|word| of_name(word)).and_then(|(_, value)| value.as_deref())
    }

    /// The values of all of this name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.words.iter().filter(move |(word, _)| word == name);
        of_name.filter_map(|(_, value)| value.as_deref())
    }

    /// The client's name and version for a log: its `agent`, shortened and escaped.
    pub fn agent(&self) -> String {
        shown(self.value("agent").unwrap_or("unknown").as_bytes())
    }
}
