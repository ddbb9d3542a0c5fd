//! Lines, bands and capabilities, and every way to write them wrong.

use std::io::Write;

use super::*;
use crate::git::limits::{BAND_64K_LEN_MAX, BAND_LEN_MAX, LINE_DATA_LEN_MAX};

const WIDE: Budget = Budget { lines: 1_000, bytes: 1 << 20 };

fn read_all(bytes: &[u8], budget: Budget) -> Result<Vec<Option<Vec<u8>>>, WireError> {
    let mut reader = PktReader::new(bytes, budget);
    let mut lines = Vec::new();
    while let Some(pkt) = reader.next_or_end()? {
        lines.push(match pkt {
            Pkt::Data(data) => Some(data.to_vec()),
            Pkt::Flush | Pkt::Delim | Pkt::ResponseEnd => None,
        });
    }
    Ok(lines)
}

#[test]
fn lines_round_trip_and_what_follows_stays() {
    let mut writer = PktWriter::new(Vec::new());
    writer.text("want x").unwrap();
    writer.data(&[0, 1, 2]).unwrap();
    writer.delim().unwrap();
    writer.response_end().unwrap();
    writer.flush().unwrap();
    writer.error("no").unwrap();
    let mut bytes = writer.into_inner();
    assert_eq!(bytes, b"000bwant x\n0007\x00\x01\x02000100020000000bERR no\n");
    bytes.extend_from_slice(b"0004PACK");
    let mut reader = PktReader::new(&bytes[..], WIDE);
    assert_eq!(reader.next().unwrap(), Pkt::Data(b"want x\n"));
    assert_eq!(reader.next().unwrap(), Pkt::Data(&[0, 1, 2]));
    assert_eq!(reader.next().unwrap(), Pkt::Delim);
    assert_eq!(reader.next().unwrap(), Pkt::ResponseEnd);
    assert_eq!(reader.next().unwrap(), Pkt::Flush);
    assert_eq!(reader.next().unwrap(), Pkt::Data(b"ERR no\n"));
    assert_eq!(reader.next().unwrap(), Pkt::Data(b""));
    assert_eq!(reader.into_inner(), b"PACK");
    assert_eq!(text(b"a\n"), b"a");
    assert_eq!(text(b"a"), b"a");
}

#[test]
fn bad_lengths_are_refused() {
    for bad in ["0003", "fff1", "ffff", "00g0", "-001", " 12 ", "\x00\x00\x00\x00"] {
        let bytes = [bad.as_bytes(), &[b'x'; 70_000]].concat();
        assert!(matches!(read_all(&bytes, WIDE), Err(WireError::Length { .. })), "{bad}");
    }
    let longest = [b"fff0".as_slice(), &vec![b'x'; LINE_DATA_LEN_MAX]].concat();
    assert_eq!(read_all(&longest, WIDE).unwrap().len(), 1);
    for cut in ["0", "000", "0009", "0009abc"] {
        assert!(matches!(read_all(cut.as_bytes(), WIDE), Err(WireError::Ended)), "{cut}");
    }
    assert!(matches!(PktReader::new(&b""[..], WIDE).next(), Err(WireError::Ended)));
}

#[test]
fn budgets_hold_at_the_limit_and_one_past_it() {
    let bytes = b"0005a0005b0000";
    assert_eq!(read_all(bytes, Budget { lines: 3, bytes: 14 }).unwrap().len(), 3);
    let lines = read_all(bytes, Budget { lines: 2, bytes: 14 });
    assert!(matches!(lines, Err(WireError::Lines { limit: 2 })));
    let short = read_all(bytes, Budget { lines: 3, bytes: 13 });
    assert!(matches!(short, Err(WireError::Bytes { limit: 13 })));
    let mut reader = PktReader::new(&bytes[..], Budget { lines: 1, bytes: 5 });
    assert_eq!(reader.next().unwrap(), Pkt::Data(b"a"));
    reader.set_budget(Budget { lines: 1, bytes: 5 });
    assert_eq!(reader.next().unwrap(), Pkt::Data(b"b"));
    assert!(reader.next().is_err());
}

#[test]
fn bands_are_cut_to_their_lines() {
    for (kind, len_max) in [(BandKind::Small, BAND_LEN_MAX), (BandKind::Large, BAND_64K_LEN_MAX)] {
        let mut out = Vec::new();
        let mut bands = Sideband::new(&mut out, kind);
        bands.pack().write_all(&vec![7; len_max + 1]).unwrap();
        bands.progress("half\r").unwrap();
        bands.keep_alive().unwrap();
        bands.fatal("why\n").unwrap();
        bands.finish().unwrap();
        let lines = read_all(&out, WIDE).unwrap();
        let expected = [Some(len_max + 1), Some(2), Some(6), Some(1), Some(5), None].map(|len| len);
        assert_eq!(lines.iter().map(|l| l.as_ref().map(Vec::len)).collect::<Vec<_>>(), expected);
        let bands: Vec<u8> = lines.iter().flatten().map(|line| line[0]).collect();
        assert_eq!(bands, [1, 1, 2, 1, 3]);
    }
    let mut out = Vec::new();
    let mut bands = Sideband::new(&mut out, BandKind::Off);
    bands.pack().write_all(b"PACK").unwrap();
    bands.progress("half").unwrap();
    bands.keep_alive().unwrap();
    bands.fatal("why").unwrap();
    bands.finish().unwrap();
    assert_eq!(out, b"PACK");
}

#[test]
fn text_of_others_moves_no_cursor() {
    assert_eq!(sanitise(b"a\r\nb\rc\td\x1b[2J\x07\xff\n"), "a\nb\nc\td\\u{1b}[2J\\u{7}\u{fffd}\n");
}

#[test]
fn capabilities_are_words_with_values() {
    let list = Capabilities::parse(b" report-status  symref=HEAD:a symref=B:c agent=git/2 x=\n");
    assert!(list.has("report-status") && list.has("agent") && !list.has("report"));
    assert_eq!(list.value("agent"), Some("git/2"));
    assert_eq!(list.values("symref").collect::<Vec<_>>(), ["HEAD:a", "B:c"]);
    assert_eq!(list.value("x"), Some(""));
    assert_eq!(list.value("report-status"), None);
    assert_eq!(list.agent(), "git/2");
    let mut lines = Capabilities::default();
    lines.push(b"object-format=sha1\n");
    assert_eq!(lines.value("object-format"), Some("sha1"));
}
