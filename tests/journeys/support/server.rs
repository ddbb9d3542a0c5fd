//! A running `mega-store serve` on a port of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use reqwest::blocking::{Client, Response};

use super::World;

/// `printf 'Hello, World!\n' | git hash-object --stdin`
pub const HELLO: &str = "8ab686eafeb1f44702738c8b0f24f2567c36da6d";

/// What a program has said, and a bell for each line.
#[derive(Default)]
struct Said(Mutex<String>, Condvar);

/// A line that is waited for comes within this.
const LINE_WITHIN: Duration = Duration::from_secs(30);

/// A server of a world's store. Killed when it is dropped.
pub struct Server<'w> {
    world: &'w World,
    args: Vec<String>,
    env: Vec<(String, PathBuf)>,
    child: Option<Child>,
    /// Without a slash at its end.
    pub url: String,
    said: Arc<Said>,
}

impl<'w> Server<'w> {
    /// Starts a server of the world's store.
    #[track_caller]
    pub fn start(world: &'w World) -> Self {
        Self::start_with(world, &[])
    }

    /// Starts a server with more arguments.
    #[track_caller]
    pub fn start_with(world: &'w World, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self::begin_new(world, args, Vec::new())
    }

    /// Starts a server that has more in its environment.
    #[track_caller]
    pub fn start_in(world: &'w World, env: &[(&str, &Path)]) -> Self {
        let env = env.iter().map(|(name, path)| ((*name).to_owned(), path.to_path_buf()));
        Self::begin_new(world, Vec::new(), env.collect())
    }

    #[track_caller]
    fn begin_new(world: &'w World, args: Vec<String>, env: Vec<(String, PathBuf)>) -> Self {
        let (url, said) = (String::new(), Arc::default());
        let mut server = Self { world, args, env, child: None, url, said };
        server.begin("127.0.0.1:0");
        server
    }

    /// Starts it again, where it was before.
    #[track_caller]
    pub fn restart(&mut self) {
        let address = self.address().to_owned();
        self.begin(&address);
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.split_once("//").expect("a URL").1
    }

    #[track_caller]
    fn begin(&mut self, address: &str) {
        let mut command = self.world.mega();
        command.args(["serve", "--listen", address]).args(&self.args);
        command.envs(self.env.iter().map(|(name, path)| (name, path)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let (found, url) = mpsc::channel();
        self.read(child.stdout.take().expect("a pipe"), Some(found));
        self.read(child.stderr.take().expect("a pipe"), None);
        self.child = Some(child);
        self.url = url.recv().unwrap_or_else(|_| panic!("it names no URL: {}", self.said()));
    }

    /// Keeps what it says, and tells what is a URL.
    fn read(&self, stream: impl Read + Send + 'static, found: Option<mpsc::Sender<String>>) {
        let said = self.said.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let (Some(found), true) = (&found, line.starts_with("http")) {
                    let _ = found.send(line.clone());
                }
                let mut text = said.0.lock().expect("whole");
                text.push_str(&line);
                text.push('\n');
                said.1.notify_all();
            }
        });
    }

    /// Everything that it has said.
    pub fn said(&self) -> String {
        self.said.0.lock().expect("whole").clone()
    }

    /// The rest of the first line that begins so; waits for it.
    #[track_caller]
    pub fn line(&self, front: &str) -> String {
        let find = |said: &str| said.lines().find_map(|l| l.strip_prefix(front)).map(str::to_owned);
        let said = self.said.0.lock().expect("whole");
        let wait = self.said.1.wait_timeout_while(said, LINE_WITHIN, |said| find(said).is_none());
        let (said, _) = wait.expect("whole");
        find(&said).unwrap_or_else(|| panic!("no line '{front}...' in {said}"))
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The most memory that it has had at once, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let pid = self.child.as_ref().expect("running").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
        let kib = line.trim().trim_end_matches(" kB");
        kib.parse::<u64>().expect("a number") << 10
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().expect("running"));
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sent");
    }

    /// Waits until it has ended; its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.take().expect("running").wait().expect("ended").code()
    }

    /// The URL of a repository.
    pub fn repo(&self, name: &str) -> String {
        format!("{}/{name}.git", self.url)
    }

    /// Asks for a path.
    pub fn get(&self, path: &str) -> Response {
        client().get(format!("{}{path}", self.url)).send().expect("an answer")
    }

    /// The text that a path has; it has to be there.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text().expect("text"));
        answer.text().expect("text")
    }

    /// The sum of a counter over its labels.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.text("/metrics");
        let is_it =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values = text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next());
        let values: Vec<f64> = values.map(|value| value.parse().expect("a number")).collect();
        assert!(!values.is_empty(), "no {name} in {text}");
        values.iter().sum::<f64>() as u64
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("the server said:\n{}", self.said());
        }
    }
}

/// An HTTP client that follows nothing and knows no proxy.
pub fn client() -> Client {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client")
}

/// An answer's body.
pub fn bytes(answer: Response) -> Vec<u8> {
    answer.bytes().expect("a body").to_vec()
}
