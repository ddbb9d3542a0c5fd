//! Whole HTTP requests by TCP, to a real server of the library with one public and one private
//! repository. Nobody has the token: what is private never leaves, nothing is written, and no
//! request makes the server fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mega_storage::{NewToken, NoProgress, Repo, TokenScope, Visibility};
use mega_store::audit::Audit;
use mega_store::http::{Limits, ServeOptions};
use mega_store::node::Serving;
use mega_tools::fuzz::{Ending, Target};

use crate::pack_write::{Entry, Pack, id_of};
use crate::seeds::Scratch;

const SECRET: &[u8] = b"nobody may see this";
const OPEN: &[u8] = b"Hello, World!\n";
/// Sent behind the input, so that the connection ends.
const LAST: &[u8] =
    b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

pub struct Http {
    scratch: Scratch,
    _serving: Serving,
    address: SocketAddr,
    secret: Repo,
    ids: [String; 4],
    repo_count: usize,
}

impl Http {
    pub fn new() -> Self {
        let mut scratch = Scratch::new();
        let (open, secret) = (scratch.fresh(), scratch.fresh());
        let repos = scratch.store.repos();
        repos.set_visibility(&open.name, Visibility::Public).expect("set");
        let fill = |repo: &Repo, content: &[u8]| {
            let blob = Entry::whole(3, content);
            scratch.ingest(repo, &Pack::new(vec![blob.clone()]).write());
            let id = mega_storage::ObjectId::from_bytes(id_of(&blob).expect("no attack"));
            scratch.set_refs(repo, &[("refs/heads/main", id)]);
            let files = scratch.store.files();
            let file = files.ingest(Some(repo.id), &mut &content[..], None, &NoProgress);
            (id.to_string(), file.expect("kept").id.to_string())
        };
        let (open_ids, secret_ids) = (fill(&open, OPEN), fill(&secret, SECRET));
        let token = NewToken {
            hash: [7; 32],
            scope: TokenScope::All,
            can_write: true,
            expires_unix: None,
            note: String::new(),
        };
        scratch.store.tokens().create(&token).expect("made");
        // What a body lacks is not waited for: that is an ending as any.
        let timeout = Duration::from_millis(150);
        let limits = Limits { head_timeout: timeout, body_timeout: timeout, ..Limits::default() };
        let listen = vec!["127.0.0.1:0".parse().expect("an address")];
        let options = ServeOptions { listen, tls: None, is_read_only: false, limits };
        let audit = Arc::new(Audit::new(scratch.store.path()));
        let serving = Serving::start(&scratch.store, &audit, &options).expect("started");
        let url = serving.urls().remove(0);
        let address = url.trim_start_matches("http://").parse().expect("an address");
        let ids = [open_ids.0, open_ids.1, secret_ids.0, secret_ids.1];
        let repo_count = scratch.store.repos().list().expect("reads").len();
        Self { scratch, _serving: serving, address, secret, ids, repo_count }
    }
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes()
}

fn post(path: &str, media_type: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n\
         Content-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Target for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let [blob, file, secret_blob, secret_file] = self.ids.clone();
        let lfs = "application/vnd.git-lfs+json";
        let batch = |oid: &str| {
            format!(
                "{{\"operation\":\"download\",\"objects\":[{{\"oid\":\"{oid}\",\"size\":14}}]}}"
            )
        };
        let want = |id: &str| format!("0012command=fetch00010032want {id}\n0009done\n0000");
        let upload = "application/x-git-upload-pack-request";
        let receive = "application/x-git-receive-pack-request";
        vec![
            get(&format!("/v1/object/{blob}?repo=r1"), ""),
            get(&format!("/v1/object/{secret_blob}?repo=r2"), "Authorization: Bearer mst_x\r\n"),
            get(&format!("/v1/object/{blob}"), "Accept: application/x-git-loose-object\r\n"),
            get(&format!("/v1/file/{file}?repo=r1"), "Range: bytes=0-4,6-\r\n"),
            get(&format!("/v1/file/{secret_file}"), "If-None-Match: *\r\nRange: bytes=-5\r\n"),
            get(&format!("/v1/file/{file}/chunks?repo=r1&from=0&limit=10"), ""),
            get(&format!("/v1/file/chunks/{file}?repo=r1&file={file}&offset=0"), ""),
            get("/v1/r1/objects?list", "Accept-Encoding: gzip\r\n"),
            get("/v1/repos", "Host: 127.0.0.1\r\n"),
            get("/r1.git/info/refs?service=git-upload-pack", "Git-Protocol: version=2\r\n"),
            get("/r2.git/info/refs?service=git-receive-pack", "Authorization: Basic eDp5\r\n"),
            get(&format!("/r1.git/info/lfs/objects/{file}"), "Range: bytes=1-\r\n"),
            get("/r1.git/info/lfs/locks?path=a&limit=5&cursor=0", ""),
            post("/r1.git/info/lfs/objects/batch", lfs, &batch(&file)),
            post("/r2.git/info/lfs/objects/batch", lfs, &batch(&secret_file)),
            post("/r1.git/git-upload-pack", upload, &want(&blob)),
            post("/r2.git/git-upload-pack", upload, &want(&secret_blob)),
            post("/new.git/git-receive-pack", receive, "0000"),
            b"POST /r1.git/git-upload-pack HTTP/1.1\r\nHost: localhost\r\n\
              Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\
              Content-Type: application/x-git-upload-pack-request\r\n\
              \r\n4\r\n0000\r\n0\r\n\r\n"
                .to_vec(),
            get("/v1/status", "X-Forwarded-For: 127.0.0.1\r\n"),
        ]
    }

    fn dictionary(&self) -> &'static [&'static [u8]] {
        &[
            b"/v1/",
            b"/r2.git",
            b"/r1",
            b"?repo=r2",
            b"&",
            b"=",
            b"%2e",
            b"%2f",
            b"..",
            b"//",
            b"%00",
            b"%",
            b"\r\n",
            b"Host: evil.example\r\n",
            b"Host: [::1]:1\r\n",
            b"Range: bytes=",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"Authorization: Bearer ",
            b"Authorization: Basic Og==\r\n",
            b"HEAD ",
            b"PUT ",
            b"DELETE ",
            b"OPTIONS ",
            b"HTTP/1.0",
            b"Git-Protocol: version=1\r\n",
            b"If-Range: \"x\"\r\n",
            b"Upgrade: h2c\r\n",
            b"service=",
            b"X-HTTP-Method-Override: PUT\r\n",
            b"Accept: */*\r\n",
            b"info/lfs/objects/",
            b"chunks",
            b"?list",
            b"-",
            b",",
            b"git-receive-pack",
            b"Via: 1.1 x\r\n",
            b"@",
            b":",
            b"http://localhost",
        ]
    }

    fn feed(&mut self, input: &[u8]) -> Result<Ending, String> {
        let failed = |e: std::io::Error| format!("the server is gone: {e}");
        let mut stream = TcpStream::connect(self.address).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(15))).map_err(failed)?;
        // A server that has heard enough closes the connection; then this cannot be sent.
        let _ = stream.write_all(input).and_then(|()| stream.write_all(LAST));
        let mut said = Vec::new();
        match stream.take(16 << 20).read_to_end(&mut said) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err("the server neither answers nor ends".to_owned());
            }
            Ok(_) | Err(_) => {}
        }
        if said.windows(SECRET.len()).any(|window| window == SECRET) {
            return Err("what is private was sent".to_owned());
        }
        let text = String::from_utf8_lossy(&said);
        let statuses: Vec<&str> =
            text.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)).collect();
        if let Some(status) = statuses.iter().find(|status| **status == "500") {
            return Err(format!("status {status}: {}", text.chars().take(300).collect::<String>()));
        }
        let repos = self.scratch.store.repos().list().map_err(|e| e.to_string())?;
        if repos.len() != self.repo_count {
            return Err("a repository was made".to_owned());
        }
        let refs =
            self.scratch.store.refs().list(self.secret.id, b"").map_err(|e| e.to_string())?;
        if refs.len() != 1 {
            return Err(format!("references were written: {refs:?}"));
        }
        let body = text.rsplit("\"error\"").next().unwrap_or_default();
        let body: String = body.chars().take(60).collect();
        // Digits do not count in an ending; these do.
        let letter = |c: char| c.to_digit(10).map_or(c, |digit| (b'g' + digit as u8) as char);
        let statuses: String = statuses.join(" ").chars().map(letter).collect();
        Ok(Ending::of(&format!("{statuses} {body}")))
    }
}
