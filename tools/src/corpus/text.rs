//! Text that looks like source code: words, indentation, repetition; compresses and deltas as real
//! code does.

use crate::random::Random;

const WORDS: &[&str] = &[
    "account", "append", "batch", "block", "buffer", "cache", "chunk", "client", "commit",
    "config", "count", "cursor", "default", "delta", "digest", "entry", "error", "event", "fetch",
    "field", "filter", "flush", "format", "frame", "handle", "header", "index", "input", "insert",
    "key", "layer", "length", "level", "limit", "list", "lock", "manifest", "marker", "merge",
    "message", "model", "node", "object", "offset", "option", "output", "packet", "page", "parent",
    "path", "peer", "pool", "prefix", "process", "queue", "range", "reader", "record", "remote",
    "request", "result", "revision", "root", "scope", "segment", "server", "session", "signal",
    "slot", "source", "span", "state", "store", "stream", "table", "target", "tensor", "token",
    "tree", "update", "value", "vector", "version", "weight", "window", "worker", "writer",
];

/// Draws a word.
pub fn word(random: &mut Random) -> &'static str {
    WORDS[random.below(WORDS.len())]
}

/// Draws a name, of one word or put together of two, as programs have them.
pub fn name(random: &mut Random) -> String {
    let (head, tail) = (word(random), word(random));
    match random.below(4) {
        0 => head.to_owned(),
        1 => format!("{head}_{tail}"),
        2 => format!("{head}{}", random.below(1000)),
        _ => format!("{head}_{tail}{:x}", random.below(4096)),
    }
}

/// Draws one line of code, without its newline.
pub fn line(random: &mut Random) -> String {
    let indent = "    ".repeat(random.below(4));
    let (a, b, c) = (name(random), name(random), name(random));
    match random.below(12) {
        0 => String::new(),
        1 => format!("{indent}// The {a} keeps its {b} until the {c} has gone."),
        2 => format!("{indent}fn {a}_{b}(&self, {c}: u64) -> Result<(), Error> {{"),
        3 => format!("{indent}}}"),
        4 => format!("{indent}if {a}.{b}() > {} {{", random.below(4096)),
        5 => format!("{indent}return Err(Error::{a}({b}, {}));", random.below(256)),
        6 => format!("{indent}assert_eq!({a}.{b}, {:#x});", random.next() as u32),
        7 => format!("{indent}self.{a}.{b}(&{c})?;"),
        _ => format!("{indent}let {a} = {b}.{c}({});", random.below(1024)),
    }
}

/// Draws a file of `line_count` lines, each with its newline.
pub fn file(random: &mut Random, line_count: usize) -> String {
    let mut text = String::with_capacity(line_count * 36);
    for _ in 0..line_count {
        text.push_str(&line(random));
        text.push('\n');
    }
    text
}

/// Draws the number of lines of a file: many short ones, few long ones.
pub fn line_count(random: &mut Random) -> usize {
    match random.below(20) {
        0 => 600 + random.below(1400),
        1..=4 => 150 + random.below(300),
        _ => 5 + random.below(120),
    }
}
