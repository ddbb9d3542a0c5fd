//! Mending: a sound copy from somewhere else, or from what is left here, in the place of what is
//! damaged.
//!
//! Sources are asked as for a repository that is filled as it is read, and trusted as little:
//! objects come as packs and pass the ingest of a store of their own, made for the purpose; chunks
//! have their hash; a file's list of chunks counts when all of it together has the file's hash.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use tempfile::TempDir;

use super::fault::{self, Look};
use super::finding::{Damage, DamagedThing, Mend};
use super::scan::Scan;
use super::{VerifyReport, replace};
use crate::chunks::{ChunkBytes, ChunkMeta};
use crate::db::Family;
use crate::error::{Result, StoreError};
use crate::id::{ChunkId, FileId, ObjectId, RepoId};
use crate::manifest::ChunkRef;
use crate::name::RepoName;
use crate::object::Object;
use crate::objects::row::Row;
use crate::objects::{IngestOptions, PackInput};
use crate::progress::{NoProgress, Progress, Unit};
use crate::read::{ChunkSpan, Urgency};
use crate::read_through::Sources;
use crate::repos::Visibility;
use crate::source::{ChunkSource, ObjectSource, ObjectWant};
use crate::store::{Store, StoreOptions};

/// Objects in one question.
const WANT_COUNT: usize = 256;
/// What the store for what comes keeps in memory.
const SMALL: StoreOptions =
    StoreOptions { block_cache_len: 8 << 20, base_cache_len: 8 << 20, chunk_cache_len: 1 << 20 };
/// What a file's mending says of it.
const OWN_BYTES: &str = "what is here";

/// Somewhere that sound copies may be.
#[derive(Clone)]
pub struct MendSource {
    /// What it is called: without password.
    pub name: String,
    /// The repository whose content it has; any when absent.
    pub repo: Option<String>,
    /// Itself.
    pub sources: Sources,
}

/// A store for objects that came, until they are put where they belong.
struct Scratch {
    store: Store,
    repo: RepoId,
    _dir: TempDir,
}

struct Mender<'a> {
    store: &'a Store,
    sources: &'a [MendSource],
    progress: &'a dyn Progress,
    scratch: Option<Scratch>,
    /// Where what is in there came from.
    came_from: HashMap<ObjectId, String>,
    /// What each source said when it was of no help.
    words: Vec<String>,
}

impl Store {
    /// Mends what can be, and notes in each damage what came of it.
    ///
    /// # Errors
    /// When the store fails; [`StoreError::Interrupted`]: what was mended stays.
    pub fn mend(
        &self,
        report: &mut VerifyReport,
        sources: &[MendSource],
        progress: &dyn Progress,
    ) -> Result<()> {
        let count = report.damages.len() as u64;
        progress.start("mending", Some(count), Unit::Objects);
        let (scratch, came_from, words) = Default::default();
        let mut mender = Mender { store: self, sources, progress, scratch, came_from, words };
        // Lists of chunks before chunks, bases before what is made of them, blobs before what is
        // noted of them; ranges when all else is done.
        mender.files(&mut report.damages)?;
        mender.chunks(&mut report.damages)?;
        mender.objects(&mut report.damages)?;
        for damage in &mut report.damages {
            mender.rest(damage)?;
        }
        Ok(())
    }
}

impl VerifyReport {
    /// Damages that are not mended.
    pub fn open_count(&self) -> u64 {
        let open = self.damages.iter().filter(|damage| !matches!(damage.mend, Mend::Done(_)));
        self.more + open.count() as u64
    }
}

impl Mender<'_> {
    fn step(&self) -> Result<()> {
        self.progress.advance(1);
        if self.progress.interrupted() { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    fn sources_for<'s>(
        sources: &'s [MendSource],
        damage: &Damage,
    ) -> impl Iterator<Item = &'s MendSource> {
        let repos: Vec<String> = damage.uses.iter().filter_map(|u| u.repo.clone()).collect();
        sources.iter().filter(move |s| s.repo.as_ref().is_none_or(|repo| repos.contains(repo)))
    }

    fn say(&mut self, source: &MendSource, words: &dyn std::fmt::Display) {
        let line = format!("{}: {words}", source.name);
        if !self.words.contains(&line) {
            self.words.push(line);
        }
    }

    /// Why something was not mended.
    fn failure(&self, what: &DamagedThing) -> Mend {
        if self.sources.is_empty() {
            return Mend::Failed(replace::no_source(what).to_owned());
        }
        let said = self.words.join("; ");
        Mend::Failed(if said.is_empty() { "no source has it".to_owned() } else { said })
    }

    /// Makes lists of chunks anew.
    fn files(&mut self, damages: &mut [Damage]) -> Result<()> {
        for damage in damages {
            let DamagedThing::File(file) = damage.what else { continue };
            self.words.clear();
            let mut mend = None;
            for source in Self::sources_for(self.sources, damage) {
                for chunks in &source.sources.chunks {
                    match self.file_from(&file, &**chunks) {
                        Ok(true) => mend = Some(Mend::Done(source.name.clone())),
                        Ok(false) => {}
                        Err(StoreError::Interrupted) => return Err(StoreError::Interrupted),
                        Err(error @ StoreError::DiskFull { .. }) => return Err(error),
                        Err(error) => self.say(source, &error),
                    }
                    if mend.is_some() {
                        break;
                    }
                }
                if mend.is_some() {
                    break;
                }
            }
            damage.mend = mend.unwrap_or_else(|| self.failure(&damage.what));
            self.step()?;
        }
        Ok(())
    }

    /// Makes a file's list anew as a source tells it; `false` when the source does not have it.
    fn file_from(&self, file: &FileId, source: &dyn ChunkSource) -> Result<bool> {
        let refused = |error: crate::source::SourceError| StoreError::NotFetched {
            what: format!("file {file}"),
            reason: error.to_string(),
        };
        let wrong = |reason: &str| StoreError::NotFetched {
            what: format!("file {file}"),
            reason: reason.to_owned(),
        };
        let Some(first) = source.manifest(file, 0).map_err(refused)? else { return Ok(false) };
        let (len, mut spans) = (first.len, first.spans);
        while let Some(last) = spans.last() {
            let end = last.offset + u64::from(last.chunk.len);
            if end >= len {
                break;
            }
            let page = source.manifest(file, end).map_err(refused)?;
            let page = page.ok_or_else(|| wrong("the source does not have all of it"))?;
            let next = page.spans.into_iter().skip_while(|span| span.offset < end);
            let before = spans.len();
            spans.extend(next);
            if spans.len() == before {
                return Err(wrong("the source's list of its chunks has a gap"));
            }
        }
        let mut end = 0;
        for span in &spans {
            if span.offset != end || span.chunk.len > crate::chunk::CHUNK_LEN_MAX {
                return Err(wrong("the source's list of its chunks makes no sense"));
            }
            end += u64::from(span.chunk.len);
        }
        if end != len {
            return Err(wrong("the source's list of its chunks is not all of it"));
        }
        let mut missing: Vec<ChunkSpan> = Vec::new();
        for span in &spans {
            let is_noted = self.store.db().contains(Family::ChunkMeta, span.chunk.id.as_bytes());
            let is_here = match is_noted {
                Ok(true) => matches!(fault::chunk(self.store.db(), &span.chunk)?, Look::Sound(_)),
                _ => self.chunk_from_itself(&span.chunk)?,
            };
            if !is_here {
                missing.push(*span);
            }
        }
        self.fetch_chunks(file, &missing, source, &mut |_| ())?;
        let chunks = spans.iter().map(|span| Ok(span.chunk));
        let stop = || self.progress.interrupted();
        self.store.files().replace_manifest(file, chunks, &stop)?;
        Ok(true)
    }

    /// Brings chunks of a file and keeps them; tells which came.
    fn fetch_chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        source: &dyn ChunkSource,
        came: &mut dyn FnMut(&ChunkId),
    ) -> Result<()> {
        if spans.is_empty() {
            return Ok(());
        }
        let mut failed = None;
        let answer = source.chunks(file, spans, Urgency::Soon, &mut |span, bytes: ChunkBytes| {
            if self.progress.interrupted() {
                failed = Some(StoreError::Interrupted);
                return ControlFlow::Break(());
            }
            // Other bytes are none.
            let Ok(verified) = bytes.verify(&span.chunk) else { return ControlFlow::Continue(()) };
            match self.store.files().replace_chunk(&verified) {
                Ok(()) => {
                    came(&span.chunk.id);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        answer.map_err(|error| StoreError::NotFetched {
            what: format!("file {file}"),
            reason: error.to_string(),
        })
    }

    /// Mends chunks: what is noted of them from themselves, their bytes from a source of a file
    /// that has them.
    fn chunks(&mut self, damages: &mut [Damage]) -> Result<()> {
        let mut by_file: BTreeMap<FileId, Vec<(ChunkSpan, usize)>> = BTreeMap::new();
        for (index, damage) in damages.iter_mut().enumerate() {
            let DamagedThing::Chunk(id) = damage.what else { continue };
            match self.span_of(&id, damage.files())? {
                None if self.is_lone_chunk_sound(&id)? => {
                    damage.mend = Mend::Done("a file that was mended".to_owned());
                }
                None => {
                    let why = "no file that is here has it: reading what needs it brings it, else \
                               gc removes it";
                    damage.mend = Mend::Failed(why.to_owned());
                }
                Some((file, span)) => match self.chunk_from_itself(&span.chunk)? {
                    true => damage.mend = Mend::Done(OWN_BYTES.to_owned()),
                    false => by_file.entry(file).or_default().push((span, index)),
                },
            }
            self.step()?;
        }
        for (file, wanted) in by_file {
            self.chunks_of(&file, wanted, damages)?;
        }
        Ok(())
    }

    /// Mends chunks of one file.
    fn chunks_of(
        &mut self,
        file: &FileId,
        mut wanted: Vec<(ChunkSpan, usize)>,
        damages: &mut [Damage],
    ) -> Result<()> {
        wanted.sort_by_key(|(span, _)| span.offset);
        self.words.clear();
        let sources = self.sources;
        let all = sources.iter().flat_map(|s| s.sources.chunks.iter().map(move |c| (s, c)));
        for (source, chunks) in all {
            let may_have = |damage: &Damage| {
                Self::sources_for(sources, damage).any(|s| std::ptr::eq(s, source))
            };
            let spans: Vec<ChunkSpan> = wanted
                .iter()
                .filter(|(_, index)| {
                    damages[*index].mend == Mend::Open && may_have(&damages[*index])
                })
                .map(|(span, _)| *span)
                .collect();
            let fetched = self.fetch_chunks(file, &spans, &**chunks, &mut |id| {
                let these = wanted.iter().filter(|(span, _)| span.chunk.id == *id);
                these.for_each(|(_, i)| damages[*i].mend = Mend::Done(source.name.clone()));
            });
            match fetched {
                Err(error @ (StoreError::Interrupted | StoreError::DiskFull { .. })) => {
                    return Err(error);
                }
                Err(error) => self.say(source, &error),
                Ok(()) => {}
            }
        }
        for (_, index) in wanted {
            if damages[index].mend == Mend::Open {
                damages[index].mend = self.failure(&damages[index].what);
            }
        }
        Ok(())
    }

    /// Whether a chunk is what is noted of it.
    fn is_lone_chunk_sound(&self, id: &ChunkId) -> Result<bool> {
        let Ok(Some(row)) = self.store.db().get(Family::ChunkMeta, id.as_bytes()) else {
            return Ok(false);
        };
        let Ok(meta) = ChunkMeta::decode(id.as_bytes(), &row) else { return Ok(false) };
        let look = fault::chunk(self.store.db(), &ChunkRef { id: *id, len: meta.len })?;
        Ok(matches!(look, Look::Sound(_)))
    }

    /// A file that has the chunk, and where.
    fn span_of(&self, id: &ChunkId, files: &[FileId]) -> Result<Option<(FileId, ChunkSpan)>> {
        for file in files {
            let Ok(spans) = self.store.files().spans_of(file) else { continue };
            for span in spans.map_while(Result::ok) {
                if span.chunk.id == *id {
                    return Ok(Some((*file, span)));
                }
            }
        }
        Ok(None)
    }

    /// Writes a chunk again whose bytes are right; whether they are.
    fn chunk_from_itself(&self, chunk: &ChunkRef) -> Result<bool> {
        let Look::Sound((plain, _)) = fault::chunk(self.store.db(), chunk)? else {
            return Ok(false);
        };
        let Ok(verified) = ChunkBytes::Plain(plain).verify(chunk) else { return Ok(false) };
        self.store.files().replace_chunk(&verified)?;
        Ok(true)
    }

    /// Mends objects, those that others are made from first.
    fn objects(&mut self, damages: &mut [Damage]) -> Result<()> {
        let mut todo: Vec<(u8, usize, ObjectId)> = Vec::new();
        for (index, damage) in damages.iter().enumerate() {
            if let DamagedThing::Object(id) = damage.what {
                todo.push((self.depth(&id), index, id));
            }
        }
        todo.sort_unstable();
        self.words.clear();
        let sources = self.sources;
        for source in sources {
            let wanted: Vec<ObjectId> = todo
                .iter()
                .filter(|(_, index, _)| {
                    Self::sources_for(sources, &damages[*index]).any(|s| std::ptr::eq(s, source))
                })
                .map(|(_, _, id)| *id)
                .collect();
            for objects in &source.sources.objects {
                for ids in wanted.chunks(WANT_COUNT) {
                    self.fetch_objects(source, &**objects, ids)?;
                }
            }
        }
        for (_, index, id) in todo {
            damages[index].mend = match self.object(&id)? {
                Some(from) => Mend::Done(from),
                None => self.failure(&damages[index].what),
            };
            self.step()?;
        }
        Ok(())
    }

    /// Deltas from an object to a whole one, as far as its row can be read.
    fn depth(&self, id: &ObjectId) -> u8 {
        let Ok(Some(row)) = self.store.db().get(Family::Object, id.as_bytes()) else { return 0 };
        Row::parse(id, &row).map_or(0, |row| row.encoding.depth())
    }

    /// Puts an object that came in its place; where it is right now from.
    fn object(&mut self, id: &ObjectId) -> Result<Option<String>> {
        if let Look::Sound(_) = fault::object(self.store, id)? {
            // What it is made from has been mended.
            return Ok(Some(OWN_BYTES.to_owned()));
        }
        let Some(object) = self.fetched(id)? else { return Ok(None) };
        replace::object(self.store, id, &object)?;
        let is_sound = matches!(fault::object(self.store, id)?, Look::Sound(_));
        Ok(self.came_from.get(id).cloned().filter(|_| is_sound))
    }

    fn fetched(&self, id: &ObjectId) -> Result<Option<Object>> {
        match &self.scratch {
            Some(scratch) => scratch.store.objects().read_verified(id),
            None => Ok(None),
        }
    }

    /// Brings those of `ids` that have not come yet.
    fn fetch_objects(
        &mut self,
        source: &MendSource,
        objects: &dyn ObjectSource,
        ids: &[ObjectId],
    ) -> Result<()> {
        let mut ids = ids.to_vec();
        for parts in [WANT_COUNT, 1] {
            ids = self.not_fetched(&ids)?;
            // One by one where some are not there: not all are refused then.
            for part in ids.chunks(parts) {
                if self.progress.interrupted() {
                    return Err(StoreError::Interrupted);
                }
                if let Err(reason) = self.take_pack(objects, part)? {
                    self.say(source, &reason);
                }
            }
            let left = self.not_fetched(&ids)?;
            let came = ids.iter().filter(|id| !left.contains(id));
            self.came_from.extend(came.map(|id| (*id, source.name.clone())));
        }
        Ok(())
    }

    fn not_fetched(&self, ids: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let Some(scratch) = &self.scratch else { return Ok(ids.to_vec()) };
        let kinds = scratch.store.objects().kinds(ids)?;
        Ok(ids.iter().zip(kinds).filter(|(_, kind)| kind.is_none()).map(|(id, _)| *id).collect())
    }

    /// Takes what a source sends into the store for that.
    fn take_pack(
        &mut self,
        objects: &dyn ObjectSource,
        ids: &[ObjectId],
    ) -> Result<Result<(), String>> {
        let mut pack = match objects.objects(&ObjectWant::exactly(ids)) {
            Ok(Some(pack)) => pack,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        if self.scratch.is_none() {
            self.scratch = Some(Scratch::new(self.store)?);
        }
        let Some(scratch) = &self.scratch else { return Ok(Ok(())) };
        let input = PackInput::Stream(&mut pack);
        let options = IngestOptions::default();
        match scratch.store.objects().ingest_pack(scratch.repo, input, &options, &NoProgress) {
            Ok(_) => Ok(Ok(())),
            Err(error @ StoreError::DiskFull { .. }) => Err(error),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Mends what only needs what is here.
    fn rest(&mut self, damage: &mut Damage) -> Result<()> {
        let done = || Mend::Done(OWN_BYTES.to_owned());
        damage.mend = match &damage.what {
            DamagedThing::Object(_) | DamagedThing::Chunk(_) | DamagedThing::File(_) => {
                return Ok(());
            }
            DamagedThing::Pointer(id) => match fault::object(self.store, id)? {
                Look::Sound(object) => {
                    replace::pointer(self.store, id, &object)?;
                    done()
                }
                Look::Absent | Look::Bad(_) => Mend::Failed("its blob is damaged".to_owned()),
            },
            DamagedThing::Right(repo, file) => {
                replace::right(self.store, *repo, file)?;
                done()
            }
            DamagedThing::Range { family, from, .. } => {
                match can_be_read(self.store, family, from)? {
                    true => done(),
                    false => Mend::Failed(replace::no_source(&damage.what).to_owned()),
                }
            }
            DamagedThing::Row { .. } => Mend::Failed(replace::no_source(&damage.what).to_owned()),
        };
        self.step()
    }
}

/// Whether rows of a family can be read from a key on.
fn can_be_read(store: &Store, family: &str, from: &str) -> Result<bool> {
    let Some(family) = Family::ALL.into_iter().find(|f| f.name() == family) else {
        return Ok(false);
    };
    let digits = from.as_bytes().chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok();
        text.and_then(|text| u8::from_str_radix(text, 16).ok())
    });
    let Some(from) = digits.collect::<Option<Vec<u8>>>() else { return Ok(false) };
    let part = Scan::from(family, &from).part(store.db())?;
    Ok(part.is_none_or(|part| part.gap.is_none()))
}

impl Scratch {
    fn new(store: &Store) -> Result<Self> {
        let made = tempfile::Builder::new().prefix("mend-").tempdir_in(store.tmp());
        let dir = made.map_err(|e| StoreError::io("making a directory in the store", e))?;
        let store = Store::create(&dir.path().join("s"), &SMALL)?;
        let repo = store.repos().create(&RepoName::new("mend")?, Visibility::Private)?.id;
        Ok(Self { store, repo, _dir: dir })
    }
}
