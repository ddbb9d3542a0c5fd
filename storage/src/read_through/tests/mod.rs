//! A repository read through sources that are whole, partial, failing, lying or slow.

mod chunks;
mod model;
mod objects;
mod pages;
mod world;

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{ReadThrough, ReadThroughOptions, Sources};
use crate::chunks::{ChunkBytes, StoredChunk};
use crate::id::{FileId, ObjectId};
use crate::object::ObjectHeader;
use crate::read::{ChunkSpan, Pointer, ReadStore, Urgency};
use crate::source::{
    ChunkSource, ChunkTake, ManifestPage, ObjectSource, ObjectWant, SourceError, SourceResult,
};
use world::{Target, World};

/// How a source behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Good,
    /// It answers that it has nothing.
    Empty,
    /// Every question fails.
    Failing,
    /// Bytes are others than asked for.
    Lying,
    /// Answers wait until the gate is opened.
    Gated,
    /// It breaks off in the middle.
    Breaking,
    /// It cannot say lengths.
    NoLens,
    /// Chunks come as they are stored.
    Stored,
    /// They come in a stored form that is none, in one of several ways.
    Forged(u8),
}

/// A source over a repository in another store.
struct Fake {
    world: Arc<World>,
    mode: Mutex<Mode>,
    gate: (Mutex<bool>, Condvar),
    packs: AtomicU64,
    lens: AtomicU64,
    files: AtomicU64,
    pages: AtomicU64,
    runs: AtomicU64,
    chunks: AtomicU64,
    /// What each question for chunks was asked with.
    urgencies: Mutex<Vec<Urgency>>,
    /// Chunks in a page.
    page_len: usize,
}

impl Fake {
    fn new(world: &Arc<World>, mode: Mode) -> Arc<Self> {
        let (packs, lens, files, pages, runs, chunks) = Default::default();
        let gate = (Mutex::new(false), Condvar::new());
        let (world, mode, page_len) = (world.clone(), Mutex::new(mode), 5);
        let urgencies = Mutex::default();
        Arc::new(Self {
            world,
            mode,
            gate,
            packs,
            lens,
            files,
            pages,
            runs,
            chunks,
            urgencies,
            page_len,
        })
    }

    fn turn(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    fn open_gate(&self) {
        *self.gate.0.lock() = true;
        self.gate.1.notify_all();
    }

    /// Counts a question; fails when it should.
    fn asked(&self, counter: &AtomicU64) -> SourceResult<Mode> {
        counter.fetch_add(1, Ordering::SeqCst);
        let mode = *self.mode.lock();
        if mode == Mode::Gated {
            let mut open = self.gate.0.lock();
            while !*open {
                self.gate.1.wait(&mut open);
            }
        }
        match mode {
            Mode::Failing => Err(SourceError::Unreachable { reason: "on purpose".to_owned() }),
            mode => Ok(mode),
        }
    }

    fn count(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

impl ObjectSource for Fake {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn headers(&self, ids: &[ObjectId]) -> SourceResult<Vec<Option<ObjectHeader>>> {
        let mode = self.asked(&self.lens)?;
        if mode == Mode::NoLens {
            return Err(SourceError::Unsupported { what: "lengths" });
        }
        let stats = self.world.view().stat(ids).expect("read");
        let lie = u64::from(mode == Mode::Lying);
        let header = |stat: crate::read::ObjectStat| ObjectHeader {
            len: stat.header.len + lie,
            ..stat.header
        };
        let empty = mode == Mode::Empty;
        Ok(stats.into_iter().map(|stat| stat.filter(|_| !empty).map(header)).collect())
    }

    fn objects<'a>(
        &'a self,
        want: &ObjectWant<'_>,
    ) -> SourceResult<Option<Box<dyn Read + Send + 'a>>> {
        let mode = self.asked(&self.packs)?;
        let mut pack = match mode {
            Mode::Empty => return Ok(None),
            Mode::Lying => world::pack(&[(crate::ObjectKind::Blob, Bytes::from_static(b"lie"))]),
            _ => self.world.pack_for(want),
        };
        if mode == Mode::Breaking {
            pack.truncate(pack.len() / 2);
            return Ok(Some(Box::new(std::io::Cursor::new(pack).chain(Broken))));
        }
        Ok(Some(Box::new(std::io::Cursor::new(pack))))
    }
}

/// A stream that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("cut off"))
    }
}

impl ChunkSource for Fake {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        let mode = self.asked(&self.files)?;
        let lens = files.iter().map(|p| self.world.view().file_len(&p.file).expect("read"));
        Ok(lens.map(|len| len.filter(|_| mode != Mode::Empty)).collect())
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let mode = self.asked(&self.pages)?;
        let view = self.world.view();
        let len = view.file_len(file).expect("read").filter(|_| mode != Mode::Empty);
        let Some(len) = len else { return Ok(None) };
        let mut spans = view.chunk_spans(file, offset, u64::MAX).expect("read");
        spans.truncate(self.page_len);
        if mode == Mode::Lying {
            spans.rotate_left(1);
        }
        Ok(Some(ManifestPage::unsigned(len, spans)))
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        urgency: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        let mode = self.asked(&self.runs)?;
        self.urgencies.lock().push(urgency);
        for (index, span) in spans.iter().enumerate() {
            if matches!(mode, Mode::Stored | Mode::Forged(_)) {
                let mut stored = self.world.stored(file, span);
                if let Mode::Forged(how) = mode {
                    forge(&mut stored, how);
                }
                self.chunks.fetch_add(1, Ordering::SeqCst);
                if let ControlFlow::Break(()) = take(span, ChunkBytes::Stored(stored)) {
                    return Ok(());
                }
                continue;
            }
            let mut bytes = self.world.view().chunk(file, &span.chunk).expect("read").to_vec();
            match mode {
                Mode::Empty => return Ok(()),
                Mode::Lying => bytes[0] ^= 1,
                Mode::Breaking if index > 0 => {
                    return Err(SourceError::Unreachable { reason: "cut off".to_owned() });
                }
                _ => {}
            }
            self.chunks.fetch_add(1, Ordering::SeqCst);
            if let ControlFlow::Break(()) = take(span, bytes.into()) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Ways in which [`forge`] makes a stored form wrong.
const FORGERIES: u8 = 5;

/// Makes a chunk's stored form one that must not be kept.
fn forge(stored: &mut StoredChunk, how: u8) {
    let (plain_len, noise) = (stored.plain_len as usize, world::noise(77, 100));
    match how {
        0 => stored.codec = 200,
        1 => stored.plain_len += 1,
        // Far more than was announced, from next to nothing.
        2 => {
            stored.codec = 1;
            stored.payload = zstd::bulk::compress(&vec![0; 9 << 20], 9).expect("made").into();
        }
        3 => {
            stored.codec = 0;
            stored.payload = world::noise(78, plain_len).into();
        }
        // The right bytes, and more of them than there are.
        _ => stored.payload = [&stored.payload[..], &noise].concat().into(),
    }
}

/// Opens a partial repository over sources.
fn open(target: &Target, fakes: &[&Arc<Fake>]) -> ReadThrough {
    open_with(target, fakes, Duration::from_secs(20))
}

fn open_with(target: &Target, fakes: &[&Arc<Fake>], wait: Duration) -> ReadThrough {
    let sources = Sources {
        objects: fakes.iter().map(|f| (*f).clone() as Arc<dyn ObjectSource>).collect(),
        chunks: fakes.iter().map(|f| (*f).clone() as Arc<dyn ChunkSource>).collect(),
    };
    let options =
        ReadThroughOptions { wait, rest: Duration::ZERO, ..ReadThroughOptions::default() };
    ReadThrough::new(&target.store, &target.repo, &sources, options).expect("opened")
}
