//! Pkt-lines. What was read and written again reads the same; a reader never passes its budget.

use mega_store::git::wire::{Budget, Capabilities, Pkt, PktReader, PktWriter, sanitise, shown};
use mega_tools::fuzz::{Ending, Target, pkt};
use mega_tools::random::Random;

const BUDGET: Budget = Budget { lines: 300, bytes: 200_000 };

pub struct PktLine;

#[derive(PartialEq, Debug)]
enum Line {
    Mark(&'static str),
    Data(Vec<u8>),
}

/// The lines up to the end or the first error, what the error says, and what was not read.
fn read(input: &[u8]) -> (Vec<Line>, Option<String>, &[u8]) {
    let mut reader = PktReader::new(input, BUDGET);
    let mut lines = Vec::new();
    let error = loop {
        match reader.next_or_end() {
            Ok(None) => break None,
            Ok(Some(Pkt::Flush)) => lines.push(Line::Mark("0000")),
            Ok(Some(Pkt::Delim)) => lines.push(Line::Mark("0001")),
            Ok(Some(Pkt::ResponseEnd)) => lines.push(Line::Mark("0002")),
            Ok(Some(Pkt::Data(data))) => lines.push(Line::Data(data.to_vec())),
            Err(error) => break Some(error.to_string()),
        }
    };
    (lines, error, reader.into_inner())
}

impl Target for PktLine {
    fn name(&self) -> &'static str {
        "pkt-line"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let mut long = PktWriter::new(Vec::new());
        long.data(&[b'x'; 65_516]).expect("memory");
        vec![
            b"0014command=ls-refs\n0015agent=git/2.47.30001000csymrefs\n0000".to_vec(),
            b"0009done\n0000PACK\0\0\0\x02".to_vec(),
            b"0004000500020001".to_vec(),
            long.into_inner(),
            b"00000000".repeat(200),
        ]
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[b"0000", b"0001", b"0002", b"0003", b"0004", b"fff0", b"fff1", b"FFF0", b"-001", b"+008"]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        pkt::lines(corpus, self.dictionary(), random)
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let (lines, error, rest) = read(input);
        if read(input) != (lines_of(&lines), error.clone(), rest) {
            return Err("the same bytes read differently".to_owned());
        }
        if lines.len() as u64 > BUDGET.lines {
            return Err(format!("{} lines were read", lines.len()));
        }
        let mut writer = PktWriter::new(Vec::new());
        for line in &lines {
            let written = match line {
                Line::Mark("0000") => writer.flush(),
                Line::Mark("0001") => writer.delim(),
                Line::Mark(_) => writer.response_end(),
                // It writes no empty lines: git skips them.
                Line::Data(data) if data.is_empty() => continue,
                Line::Data(data) => writer.data(data),
            };
            written.map_err(|e| format!("cannot be written again: {e}"))?;
        }
        let again = writer.into_inner();
        let kept: Vec<&Line> = lines.iter().filter(|l| **l != Line::Data(Vec::new())).collect();
        let (second, wrong, _) = read(&again);
        if wrong.is_some() || second.iter().collect::<Vec<_>>() != kept {
            return Err(format!("written again it reads differently: {wrong:?}"));
        }
        texts(&lines)?;
        Ok(Ending::of(error.as_deref().unwrap_or("read")).and(lines.len()))
    }
}

fn lines_of(lines: &[Line]) -> Vec<Line> {
    let copy = |line: &Line| match line {
        Line::Mark(mark) => Line::Mark(mark),
        Line::Data(data) => Line::Data(data.clone()),
    };
    lines.iter().map(copy).collect()
}

/// What is shown to people has no control characters in it.
fn texts(lines: &[Line]) -> Result<(), String> {
    for line in lines {
        let Line::Data(data) = line else { continue };
        let capabilities = Capabilities::parse(data);
        let agent = capabilities.agent();
        let said = [shown(data), sanitise(data), agent].concat();
        if said.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(format!("a control character is shown: {said:?}"));
        }
    }
    Ok(())
}
