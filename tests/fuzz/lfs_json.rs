//! LFS messages: batches, locks, claims of chunks. The first byte of an input says which. Answers
//! are JSON that can be read, in the order of the request; an object of another repository is never
//! offered.

use mega_storage::{FileId, NoProgress, Repo};
use mega_store::lfs::server::slices::SliceCache;
use mega_store::lfs::server::{
    BatchRequest, ErrorBody, LfsContext, LfsError, Links, Rights, VerifyRequest, batch, chunked,
    locks, parse, verify,
};
use mega_tools::fuzz::{Ending, Target, mutate};
use mega_tools::random::Random;
use serde::Serialize;

use crate::seeds::Scratch;

const OWN: &[u8] = b"a file of this repository";
const FOREIGN: &[u8] = b"a file of another repository";

pub struct LfsJson {
    scratch: Scratch,
    repo: Repo,
    own: FileId,
    foreign: FileId,
    slices: SliceCache,
}

impl LfsJson {
    pub fn new() -> Self {
        let mut scratch = Scratch::new();
        let (repo, other) = (scratch.fresh(), scratch.fresh());
        let add = |repo: &Repo, bytes: &[u8]| {
            let files = scratch.store.files();
            files.ingest(Some(repo.id), &mut &bytes[..], None, &NoProgress).expect("kept").id
        };
        let (own, foreign) = (add(&repo, OWN), add(&other, FOREIGN));
        Self { repo, own, foreign, slices: SliceCache::default(), scratch }
    }
}

fn json<T: Serialize>(result: Result<T, LfsError>) -> Result<(serde_json::Value, String), String> {
    match result {
        Ok(answer) => {
            let value = serde_json::to_value(&answer).map_err(|e| e.to_string())?;
            Ok((value, "answered".to_owned()))
        }
        Err(error) if error.status() == 500 => {
            Err(format!("a message made the store fail: {error:?}"))
        }
        Err(error) => {
            let body: ErrorBody = error.body(None);
            if !(400..600).contains(&error.status()) || body.message.is_empty() {
                return Err(format!("status {} for {error}", error.status()));
            }
            let value = serde_json::to_value(&body).map_err(|e| e.to_string())?;
            Ok((value, format!("{} {error}", error.status())))
        }
    }
}

impl Target for LfsJson {
    fn name(&self) -> &'static str {
        "lfs-json"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let (own, foreign) = (self.own, self.foreign);
        let batch = format!(
            "\0{{\"operation\":\"download\",\"transfers\":[\"basic\",\"mega\"],\"ref\":{{\"name\":\
             \"refs/heads/main\"}},\"objects\":[{{\"oid\":\"{own}\",\"size\":25}},{{\"oid\":\
             \"{foreign}\",\"size\":28}}],\"hash_algo\":\"sha256\"}}"
        );
        let upload = batch.replace("download", "upload");
        let texts = [
            upload,
            batch,
            "\x01{\"path\":\"models/a.bin\",\"ref\":{\"name\":\"refs/heads/main\"}}".to_owned(),
            "\x02{\"cursor\":\"\",\"limit\":100,\"ref\":{\"name\":\"refs/heads/main\"}}".to_owned(),
            "\x03{\"force\":true}".to_owned(),
            format!("\x04{{\"oid\":\"{own}\",\"size\":25}}"),
            format!("\x04{{\"oid\":\"{foreign}\",\"size\":28}}"),
            "\x05{\"ranges\":[{\"offset\":0,\"len\":25},{\"offset\":5,\"len\":3}]}".to_owned(),
            format!("\x06\0\0\0\x60{{\"size\":25,\"bases\":[\"{own}\"]}}"),
        ];
        texts.into_iter().map(String::into_bytes).collect()
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"\"operation\":",
            b"\"upload\"",
            b"\"download\"",
            b"\"objects\":[",
            b"\"oid\":\"",
            b"\"size\":",
            b"null",
            b"true",
            b"-1",
            b"1e400",
            b"9223372036854775808",
            b"\\u0000",
            b"\\ud800",
            b"[[[[[[[[",
            b"{\"a\":",
            b"\"transfers\":",
            b"\"hash_algo\":\"sha512\"",
            b"\"ref\":null",
            b"\"path\":\"",
            b"../",
            b"\"force\":",
            b"\"limit\":",
            b"\"cursor\":",
            b"\"ranges\":",
            b"\"offset\":",
            b"\"len\":",
            b"\xff",
            b"\"bases\":",
            b",",
        ]
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut input = mutate::bytes(corpus, self.dictionary(), random);
        if let Some(kind) = input.first_mut() {
            *kind %= 7;
        }
        input
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let Some((kind, body)) = input.split_first() else { return Ok(Ending::of("empty")) };
        let context = LfsContext {
            store: &self.scratch.store,
            repo: &self.repo,
            rights: Rights::Write,
            actor: "fuzz",
            quota: Some(1 << 40),
            slices: &self.slices,
            stop: &NoProgress,
        };
        let id = self.own;
        let (value, words) = match kind % 7 {
            0 => return self.batch(&context, body),
            1 => {
                let made = parse(body).and_then(|request| locks::create(&context, &request));
                if let Ok(made) = &made {
                    let request = locks::DeleteRequest::default();
                    let deleted = locks::delete(&context, &made.lock.id, &request);
                    deleted.map_err(|e| format!("a fresh lock cannot be deleted: {e}"))?;
                }
                json(made)?
            }
            2 => json(parse(body).and_then(|request| locks::verify(&context, &request)))?,
            3 => json(parse(body).and_then(|request| locks::delete(&context, "1", &request)))?,
            4 => json(parse(body).and_then(|r: VerifyRequest| verify(&context, &r)))?,
            5 => json(chunked::fetch(&context, &id, body).and_then(|outgoing| {
                let mut out = Vec::new();
                outgoing.write_to(&mut out)?;
                Ok(out.len())
            }))?,
            _ => {
                let mut out = Vec::new();
                json(chunked::missing(&context, &id, &mut &body[..]).map(|_| out.push(0)))?
            }
        };
        Ok(Ending::of(&words).and(value.to_string().len()))
    }
}

impl LfsJson {
    fn batch(&self, context: &LfsContext<'_>, body: &[u8]) -> Result<Ending, String> {
        let request: BatchRequest = match parse(body) {
            Ok(request) => request,
            Err(error) => return json::<()>(Err(error)).map(|(_, words)| Ending::of(&words)),
        };
        let links = Links {
            base_url: "http://127.0.0.1/r.git/info/lfs",
            authorization: None,
            expires_in_s: None,
        };
        let answer = batch(context, &request, &links);
        let count = answer.as_ref().map_or(0, |answer| answer.objects.len());
        if answer.is_ok() && count != request.objects.len() {
            return Err(format!("{count} answers for {} objects", request.objects.len()));
        }
        if let Ok(answer) = &answer {
            for (asked, told) in request.objects.iter().zip(&answer.objects) {
                let actions = told.actions.as_ref();
                let is_offered = actions.is_some_and(|actions| actions.download.is_some());
                if is_offered && asked.oid != self.own.to_string() {
                    return Err(format!("'{}' is offered", asked.oid));
                }
                let is_there = told.error.is_none() && told.actions.is_none();
                if is_there && asked.oid != self.own.to_string() {
                    return Err(format!("'{}' is said to be there", asked.oid));
                }
            }
        }
        let (_, words) = json(answer)?;
        Ok(Ending::of(&words).and(count))
    }
}
