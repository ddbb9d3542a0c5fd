//! LFS pointers. What is taken for one says what it was taken for, and nothing long is.

use mega_storage::object::{POINTER_LEN_MAX, parse_pointer};
use mega_tools::fuzz::{Ending, Target};

const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

pub struct Pointers;

impl Target for Pointers {
    fn name(&self) -> &'static str {
        "pointer"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let versions = [
            "https://git-lfs.github.com/spec/v1",
            "https://hawser.github.com/spec/v1",
            "http://git-media.io/v/2",
        ];
        let with = |version: &str, more: &str| {
            format!("version {version}\n{more}oid sha256:{OID}\nsize 12345\n").into_bytes()
        };
        let mut seeds: Vec<_> = versions.iter().map(|version| with(version, "")).collect();
        seeds.push(with(versions[0], &format!("ext-0-foo sha256:{OID}\next-1-b sha256:{OID}\n")));
        seeds.push(with(versions[0], "\r\n\n"));
        seeds
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"version ",
            b"oid sha256:",
            b"size ",
            b"ext-0-a ",
            b"\r\n",
            b"\n\n",
            b"+",
            b"-",
            b" ",
            b"\xc2\xa0",
            b"\xe2\x80\x83",
            b"\xe3\x80\x80",
            b"9223372036854775807",
            b"\0",
        ]
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let Some(pointer) = parse_pointer(input) else {
            return Ok(Ending::of("none").and(input.len()));
        };
        if input.len() >= POINTER_LEN_MAX {
            return Err(format!("a pointer of {} bytes", input.len()));
        }
        let text = String::from_utf8_lossy(input);
        if !text.contains(&format!("oid sha256:{}", pointer.file)) {
            return Err("the oid is not what stands there".to_owned());
        }
        if !text.contains(&pointer.len.to_string()) || i64::try_from(pointer.len).is_err() {
            return Err(format!("a size of {}", pointer.len));
        }
        let plain = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
            pointer.file, pointer.len
        );
        if parse_pointer(plain.as_bytes()) != Some(pointer) {
            return Err("written plainly it is another".to_owned());
        }
        Ok(Ending::of("pointer").and(text.lines().count()))
    }
}
