//! A server with two repositories, `open` for everyone and `secret`, and somebody of every kind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mega_storage::{
    FileId, NewToken, NoProgress, RefName, Repo, RepoName, Store, StoreOptions, TokenScope,
    Visibility,
};
use reqwest::blocking::{Client, RequestBuilder, Response};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::super::secret::Secret;
use super::super::{Limits, ServeError, ServeOptions, Server};
use crate::audit::Audit;

/// `printf 'Hello, World!\n' | git hash-object --stdin`.
pub const HELLO: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";

/// Everything that a test needs. Fields are dropped in their order.
pub struct World {
    pub server: Option<Server>,
    pub runtime: Option<Runtime>,
    pub store: Store,
    pub address: SocketAddr,
    pub client: Client,
    pub dir: TempDir,
}

/// What a world is made with.
pub struct Plan {
    pub limits: Limits,
    pub is_read_only: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let head_timeout = Duration::from_secs(20);
        let limits = Limits { head_timeout, ..Limits::default() };
        Self { limits, is_read_only: false }
    }
}

/// Somebody who asks: nobody, or whoever has this token.
#[derive(Clone)]
pub struct Person(pub Option<String>);

/// Everybody: nobody in particular, whoever has a token for another repository, a reader and a
/// writer of `secret`, and whoever has a token for everything.
pub struct People {
    pub anonymous: Person,
    pub stranger: Person,
    pub reader: Person,
    pub writer: Person,
    pub operator: Person,
}

impl World {
    /// A server without tokens: whoever asks is the owner.
    pub fn new(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::create(&dir.path().join("s"), &StoreOptions::default()).expect("made");
        let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let listen = vec!["127.0.0.1:0".parse().expect("an address")];
        let options = options(listen, &plan);
        let server = runtime.block_on(Server::start(&store, &audit(&store), &options));
        let server = server.expect("started");
        let address = server.addresses()[0];
        let client = Client::builder()
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client");
        Self { server: Some(server), runtime: Some(runtime), store, address, client, dir }
    }

    /// With the two repositories, pushed by git, each with the blob [`HELLO`].
    pub fn with_repos() -> Self {
        let world = Self::new(Plan::default());
        world.push("open");
        world.push("secret");
        world.set_public("open");
        world
    }

    pub fn set_public(&self, name: &str) {
        self.set_visibility(name, Visibility::Public);
    }

    pub fn set_visibility(&self, name: &str, visibility: Visibility) {
        let name = RepoName::new(name).expect("a name");
        self.store.repos().set_visibility(&name, visibility).expect("set");
    }

    pub fn repo(&self, name: &str) -> Repo {
        self.store.repos().get(&RepoName::new(name).expect("a name")).expect("is there")
    }

    /// Where a repository's branch `main` stands; without the repository, an id of nothing.
    pub fn tip(&self, name: &str) -> String {
        let repo = self.store.repos().find(&RepoName::new(name).expect("a name")).expect("read");
        let main = RefName::new(b"refs/heads/main").expect("a name");
        let tip = repo.and_then(|r| self.store.refs().resolve(r.id, &main).expect("read"));
        tip.map_or_else(|| "0".repeat(40), |id| id.to_string())
    }

    /// Makes the people. From now on nobody is the owner.
    pub fn people(&self) -> People {
        let other = self.store.repos().find(&RepoName::new("other").expect("a name"));
        if other.expect("read").is_none() {
            let name = RepoName::new("other").expect("a name");
            self.store.repos().create(&name, Visibility::Private).expect("made");
        }
        let of = |name: &str| TokenScope::Repo(self.repo(name).id);
        People {
            anonymous: Person(None),
            stranger: self.token(of("other"), true, None),
            reader: self.token(of("secret"), false, None),
            writer: self.token(of("secret"), true, None),
            operator: self.token(TokenScope::All, true, None),
        }
    }

    pub fn token(&self, scope: TokenScope, can_write: bool, expires_unix: Option<u64>) -> Person {
        let secret = Secret::new().expect("random");
        let (hash, note) = (secret.hash(), String::new());
        let token = NewToken { hash, scope, can_write, expires_unix, note };
        self.store.tokens().create(&token).expect("made");
        Person(Some(secret.reveal().to_owned()))
    }

    /// Puts content into a repository's LFS files.
    pub fn add_file(&self, repo: &str, content: &[u8]) -> FileId {
        let repo = self.repo(repo).id;
        let files = self.store.files();
        let mut content = content;
        files.ingest(Some(repo), &mut content, None, &NoProgress).expect("taken in").id
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: &str, path: &str, person: &Person) -> RequestBuilder {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, self.url(path));
        match &person.0 {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub fn get(&self, path: &str) -> Response {
        self.get_as(path, &Person(None))
    }

    pub fn get_as(&self, path: &str, person: &Person) -> Response {
        self.request("GET", path, person).send().expect("an answer")
    }

    /// Pushes one commit with the file `hello` to a repository's branch `main`.
    pub fn push(&self, name: &str) {
        let work = self.dir.path().join(format!("work-{name}"));
        std::fs::create_dir(&work).expect("made");
        std::fs::write(work.join("hello"), "Hello, World!\n").expect("written");
        git(&work, &["init", "-q", "-b", "main"]);
        git(&work, &["add", "."]);
        git(&work, &["commit", "-q", "-m", "one"]);
        let url = self.url(&format!("/{name}.git"));
        let (is_good, said) = git(&work, &["push", "-q", &url, "main"]);
        assert!(is_good, "{said}");
    }

    /// Pushes another commit, without files, to what [`Self::push`] has pushed.
    pub fn push_more(&self, name: &str) {
        let work = self.dir.path().join(format!("work-{name}"));
        git(&work, &["commit", "-q", "--allow-empty", "-m", "more"]);
        let url = self.url(&format!("/{name}.git"));
        let (is_good, said) = git(&work, &["push", "-q", &url, "main"]);
        assert!(is_good, "{said}");
    }

    /// Sends bytes and reads what comes until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A server that has read enough may close before everything was sent.
        let _ = stream.write_all(bytes);
        read_all(&mut stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        stream
    }

    /// Ends the server and starts another on the same store.
    pub fn restart(&mut self, options: &ServeOptions) {
        self.end();
        let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let server = runtime.block_on(Server::start(&self.store, &audit(&self.store), options));
        let server = server.expect("started");
        self.address = server.addresses()[0];
        (self.server, self.runtime) = (Some(server), Some(runtime));
    }

    /// Ends the server and gives the store back.
    pub fn end(&mut self) {
        let (server, runtime) = (self.server.take(), self.runtime.take());
        if let (Some(server), Some(runtime)) = (server, runtime) {
            runtime.block_on(server.end());
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // RocksDB may not be in use when the process ends.
            runtime.shutdown_timeout(Duration::from_secs(20));
        }
    }
}

fn audit(store: &Store) -> Arc<Audit> {
    Arc::new(Audit::new(store.path()))
}

pub fn options(listen: Vec<SocketAddr>, plan: &Plan) -> ServeOptions {
    let (is_read_only, limits) = (plan.is_read_only, plan.limits);
    ServeOptions { listen, tls: None, is_read_only, limits }
}

/// Tries to start a server, and ends it at once.
pub fn try_start(store: &Store, options: &ServeOptions) -> Result<(), ServeError> {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { Server::start(store, &audit(store), options).await.map(|_| ()) })
}

pub fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Runs git away from the machine's own configuration; whether it went well, and what it said.
pub fn git(dir: &Path, args: &[&str]) -> (bool, String) {
    let done = Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "gc.auto=0"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("http_proxy")
        .output()
        .expect("git runs");
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&said).into_owned())
}
