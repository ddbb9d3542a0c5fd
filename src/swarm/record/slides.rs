//! A record as the slides draw it: `{origin,name,latest,forks:[{peer,latest,timestamp}],timestamp}`
//! in JSON, in that order, with whole ids and times in seconds.
//!
//! It is written from records and read from anybody. Nothing in it is signed, so what is read is a
//! hint of where to look, of a type that no rule takes for a record. Reading allows what older
//! programs wrote: `.git` behind the name, times in milliseconds, ids of commits cut to 7 digits,
//! fields besides.

use libp2p::PeerId;
use mega_storage::RepoName;
use serde::{Deserialize, Serialize};

use super::claims::RecordClaims;
use super::key::parse_peer_id;

/// Longest text that is read, in bytes.
pub const SLIDES_LEN_MAX: usize = 64 << 10;

/// Times above this are in milliseconds: in seconds it is the year 5138, which no time is past.
const SECONDS_MAX: u64 = 100_000_000_000;

/// What somebody says of a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlidesHint {
    /// The peer that made it.
    pub origin: PeerId,
    /// Its name there.
    pub name: RepoName,
    /// The commit that its HEAD leads to, 4 to 40 hexadecimal digits; absent while it is empty.
    pub latest: Option<String>,
    /// Forks.
    pub forks: Vec<SlidesFork>,
    /// Of when that is, in seconds since 1970.
    pub timestamp_unix: u64,
}

/// What somebody says of a fork.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlidesFork {
    /// The peer that has it.
    pub peer: PeerId,
    /// As in [`SlidesHint`].
    pub latest: Option<String>,
    /// As in [`SlidesHint`].
    pub timestamp_unix: u64,
}

/// A text is not what the slides draw.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SlidesError {
    /// It is larger than any.
    #[error("it has {len} bytes, the limit is {SLIDES_LEN_MAX}")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// It is not JSON of this shape.
    #[error("it is not {{origin,name,latest,forks,timestamp}} in JSON: {reason}")]
    Shape {
        /// What the parser says.
        reason: String,
    },
    /// A field holds what it cannot.
    #[error("its {field} '{text}' is not {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds, cut short.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
struct HintForm {
    origin: String,
    name: String,
    latest: Option<String>,
    #[serde(default)]
    forks: Vec<ForkForm>,
    timestamp: u64,
}

#[derive(Serialize, Deserialize)]
struct ForkForm {
    peer: String,
    latest: Option<String>,
    timestamp: u64,
}

impl SlidesHint {
    /// What the slides draw of a record.
    pub fn of(claims: &RecordClaims) -> Self {
        let forks = claims.forks.iter().map(|fork| SlidesFork {
            peer: fork.peer,
            latest: fork.head.map(|id| id.to_string()),
            timestamp_unix: fork.issued_unix,
        });
        Self {
            origin: claims.origin,
            name: claims.current_name().clone(),
            latest: claims.head.map(|id| id.to_string()),
            forks: forks.collect(),
            timestamp_unix: claims.issued_unix,
        }
    }

    /// As JSON on one line.
    pub fn to_json(&self) -> String {
        let forks = self.forks.iter().map(|fork| ForkForm {
            peer: fork.peer.to_base58(),
            latest: fork.latest.clone(),
            timestamp: fork.timestamp_unix,
        });
        let form = HintForm {
            origin: self.origin.to_base58(),
            name: self.name.as_str().to_owned(),
            latest: self.latest.clone(),
            forks: forks.collect(),
            timestamp: self.timestamp_unix,
        };
        serde_json::to_string(&form).expect("texts and numbers have this form")
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// [`SlidesError`].
    pub fn parse(json: &[u8]) -> Result<Self, SlidesError> {
        if json.len() > SLIDES_LEN_MAX {
            return Err(SlidesError::TooLong { len: json.len() });
        }
        let form: HintForm = serde_json::from_slice(json)
            .map_err(|error| SlidesError::Shape { reason: short(&error.to_string()) })?;
        let name = form.name.strip_suffix(".git").unwrap_or(&form.name);
        let name = RepoName::new(name);
        Ok(Self {
            origin: peer("origin", &form.origin)?,
            name: name.map_err(|_| wrong("name", &form.name, "a repository's name"))?,
            latest: commit(form.latest)?,
            forks: form.forks.into_iter().map(fork).collect::<Result<_, _>>()?,
            timestamp_unix: seconds(form.timestamp)?,
        })
    }
}

fn fork(form: ForkForm) -> Result<SlidesFork, SlidesError> {
    let peer = peer("peer", &form.peer)?;
    let latest = commit(form.latest)?;
    Ok(SlidesFork { peer, latest, timestamp_unix: seconds(form.timestamp)? })
}

fn peer(field: &'static str, text: &str) -> Result<PeerId, SlidesError> {
    parse_peer_id(text).ok_or_else(|| wrong(field, text, "a peer's id"))
}

fn commit(text: Option<String>) -> Result<Option<String>, SlidesError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let is_id = (4..=40).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match is_id {
        true => Ok(Some(text)),
        false => Err(wrong("latest", &text, "a commit's id")),
    }
}

fn seconds(time: u64) -> Result<u64, SlidesError> {
    match time {
        0..=SECONDS_MAX => Ok(time),
        _ if time / 1000 <= SECONDS_MAX => Ok(time / 1000),
        _ => Err(wrong("timestamp", &time.to_string(), "a time")),
    }
}

fn wrong(field: &'static str, text: &str, expected: &'static str) -> SlidesError {
    SlidesError::Field { field, text: short(text), expected }
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    const TWO: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
    const COMMIT: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";

    fn json() -> String {
        let fork = format!(r#"{{"peer":"{TWO}","latest":null,"timestamp":2}}"#);
        let start = format!(r#"{{"origin":"{ONE}","name":"a/b","latest":"{COMMIT}","#);
        format!(r#"{start}"forks":[{fork}],"timestamp":1}}"#)
    }

    #[test]
    fn it_is_written_in_the_order_of_the_slides_and_read_again() {
        let hint = SlidesHint::parse(json().as_bytes()).expect("read");
        assert_eq!(hint.latest.as_deref(), Some(COMMIT));
        assert_eq!((hint.forks[0].peer.to_base58().as_str(), &hint.forks[0].latest), (TWO, &None));
        assert_eq!(hint.to_json(), json());
    }

    #[test]
    fn what_older_programs_wrote_is_read() {
        let start = r#"{"timestamp":1700000000123,"x":1,"name":"mega.git""#;
        let old = format!(r#"{start},"origin":"{ONE}","latest":"8ab686e"}}"#);
        let hint = SlidesHint::parse(old.as_bytes()).expect("read");
        assert_eq!((hint.name.as_str(), hint.timestamp_unix), ("mega", 1_700_000_000));
        assert_eq!((hint.latest.as_deref(), hint.forks.len()), (Some("8ab686e"), 0));
        let times = [(100_000_000_000_u64, 100_000_000_000), (100_000_000_001, 100_000_000)];
        for (time, seconds) in times {
            let json = json().replace(":1}", &format!(":{time}}}"));
            assert_eq!(SlidesHint::parse(json.as_bytes()).expect("read").timestamp_unix, seconds);
        }
        let empty = json().replace(COMMIT, "");
        assert_eq!(SlidesHint::parse(empty.as_bytes()).expect("read").latest, None);
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let parse = |text: &str| SlidesHint::parse(text.as_bytes()).expect_err("refused");
        let field = |from: &str, to: &str| match parse(&json().replace(from, to)) {
            SlidesError::Field { field, .. } => field,
            other => panic!("{other}"),
        };
        assert_eq!(field(ONE, "12D3KooW"), "origin");
        assert_eq!(field(TWO, &"1".repeat(10_000)), "peer");
        assert_eq!(field("a/b", "../b"), "name");
        for bad in ["8ab", "8AB686E", "refs/heads/main", &"0".repeat(41)] {
            assert_eq!(field(COMMIT, bad), "latest", "{bad}");
        }
        for time in [100_000_000_001_000, u64::MAX] {
            assert_eq!(field(":1}", &format!(":{time}}}")), "timestamp");
            assert_eq!(field(":2}", &format!(":{time}}}")), "timestamp");
        }
        for bad in ["", "[]", "{}", "nonsense", &json()[1..], &json().replace(":1}", ":-1}")] {
            assert!(matches!(parse(bad), SlidesError::Shape { .. }), "{bad}");
        }
        let fill = |len: usize| format!("{}{}", json(), " ".repeat(len - json().len()));
        SlidesHint::parse(fill(SLIDES_LEN_MAX).as_bytes()).expect("at the limit");
        let past = SLIDES_LEN_MAX + 1;
        assert_eq!(parse(&fill(past)), SlidesError::TooLong { len: past });
    }
}
