//! A task's arguments: positional words, `--name value` pairs and bare flags, without a dependency.

use std::str::FromStr;

/// Words of the command line that nobody has asked for yet.
pub struct Args {
    words: Vec<String>,
}

impl Args {
    /// Takes the words after the program's name.
    pub fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// Takes the first word that is left. Ask for every option first: an option's name would be
    /// taken too.
    pub fn positional(&mut self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// Takes the first word that is left, or says what is missing.
    ///
    /// # Errors
    /// When no word is left, or the next one is an option that this task does not know.
    pub fn required(&mut self, what: &str) -> Result<String, String> {
        match self.positional() {
            Some(word) if word.starts_with("--") => Err(format!("no option '{word}' here")),
            Some(word) => Ok(word),
            None => Err(format!("{what} is missing")),
        }
    }

    /// Takes `--name` if it stands there.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.words.iter().position(|word| word == name) {
            Some(index) => {
                self.words.remove(index);
                true
            }
            None => false,
        }
    }

    /// Takes `--name value`, or gives nothing.
    ///
    /// # Errors
    /// When the value is missing or cannot be read.
    pub fn option<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(index) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        self.words.remove(index);
        if index >= self.words.len() {
            return Err(format!("{name} needs a value"));
        }
        let value = self.words.remove(index);
        value.parse().map(Some).map_err(|_| format!("{name} cannot be '{value}'"))
    }

    /// Takes every word after the first `--`, and the `--` itself. Ask for it before anything else.
    pub fn rest(&mut self) -> Vec<String> {
        let at = self.words.iter().position(|word| word == "--").unwrap_or(self.words.len());
        self.words.split_off(at).into_iter().skip(1).collect()
    }

    /// Refuses words that are left over.
    ///
    /// # Errors
    /// When there is one.
    pub fn finish(self) -> Result<(), String> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(format!("'{word}' was not expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_flags_and_words_are_told_apart() {
        let mut args = args("--seed 7 out --quiet");
        assert_eq!(args.option::<u64>("--seed"), Ok(Some(7)));
        assert!(args.flag("--quiet"));
        assert_eq!(args.required("OUT"), Ok("out".to_owned()));
        assert_eq!(args.finish(), Ok(()));
    }

    #[test]
    fn the_rest_is_left_alone() {
        let mut args = args("host --seed 7 -- sh --seed -- x");
        assert_eq!(args.rest(), ["sh", "--seed", "--", "x"]);
        assert_eq!(args.option::<u64>("--seed"), Ok(Some(7)));
        assert_eq!((args.rest(), args.required("HOST")), (vec![], Ok("host".to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(args("--seed").option::<u64>("--seed").is_err());
        assert!(args("--seed x").option::<u64>("--seed").is_err());
        assert!(args("--unknown").required("OUT").is_err());
        assert!(args("left").finish().is_err());
    }
}
