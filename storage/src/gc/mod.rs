//! Garbage collection: mark and sweep of git objects, files and chunks, online.
//!
//! # What lives
//! - **Objects** that some repository has (`repo_object`) and in which they are reachable from its
//!   references, from references that ended or moved within the grace (`gone`), or from what
//!   somebody counts on (leases: a running push, a clone, a mount). And bases of such, until their
//!   deltas have been rebased.
//! - **Rights** to files (`repo_file`): of the owner himself; of a repository in which a living
//!   blob is the file's pointer; one that was made for a push, for [`UNNAMED_TIME_S`]. Files live
//!   by rights, by rights taken away within the grace, and by who reads or takes them in.
//! - **Chunks** of living files, of uploads under way (`lease`), of what is being filled
//!   (`partial`), and those written within the grace.
//! - All that a repository has that is filled as it is read, that has no record yet, that was
//!   deleted within the grace, that somebody imports into, or that cannot be walked to its ends.
//!   Absence in a repository that is filled as it is read is no damage.
//!
//! # Steps, and why each interleaving is safe
//! 1. **Members of a repository** (`repos`). Under the commit lock: a snapshot is taken, and the
//!    registry of leases begins to note what is entered for the repository. Marking then needs no
//!    lock. What is unreachable in the snapshot is reachable later only if (a) a reference came to
//!    name it: the reference's batch notes its target under the commit lock; or (b) an object that
//!    came names it: its pack entered what it names, and its own ids, before it looked for them.
//!    Both are marked, too, and this is repeated until a look under the commit lock and the
//!    registry's finds nothing new. In that same hold *all* dead memberships go in one step (a
//!    sorted file of removals). Hence **a repository's members always have all that they name as
//!    members**, also after a crash: pushes rely on it and look at their own objects only.
//!    - A push that looks for a member first and enters it afterwards would be lost: it enters
//!      first. A push whose pack is in and whose references are not holds its lease meanwhile.
//!    - Imports count on packs that came in earlier runs: while one lives its repository is left
//!      alone. The notes of such packs (`p` rows) go before the members do.
//!    - Two holders of one object have each their membership: what a fork has is its own.
//! 2. **Rights**, after the members: each under its lock, only if it is as it was in the snapshot.
//!    Who tells a client that it need not upload renews the right first (`has_for_push`).
//! 3. **Rows of objects** (`rows`). Under the commit lock: a snapshot, and the registry begins to
//!    note everything that any pack enters. A row that is no repository's member there, and was
//!    not entered since, is nobody's. Deltas that live are rebased off bases that do not, each
//!    under the commit lock if its row is as it was. Then rows go, the deepest deltas first, in
//!    small batches under the commit lock and the registry's; one that was entered stays, and its
//!    base is entered for it. Hence **a row's base is there as long as the row**.
//! 4. **Heads of files**, then **chunks** (`content`), in small batches under the registry of
//!    content, around what ingests and readers have entered. An ingest enters a chunk before it
//!    looks for it or writes it, and a file before it looks for its head; so gc, in the hold in
//!    which it deletes, sees the entry, or has deleted before the look.
//!    A chunk's two rows go in one batch.
//! 5. **Space** (`space`): what is kept beside the database of what went; the families that lost
//!    much are compacted, files of values rewritten when a twentieth of them is garbage.
//!
//! Invariants, each with a test:
//! - I1 whatever a reference or a right holds is there, with all it needs, before and after each
//!   step; a crash between any two leaves garbage at most. All that gc knows is in memory: run
//!   again it begins anew.
//! - I2 nothing goes that was entered, marked, or came after the snapshot.
//! - I3 anything that cannot be read stops the step, or keeps the repository: absence is never
//!   taken for an end.
//! - I4 time decides only what *more* is kept, never that something goes which is reachable.
//! - I5 locks that others wait for are held for one batch of [`BATCH_COUNT`] rows, or for one file
//!   to be taken in.
//! - I6 memory: eight bytes an id of what lives, of one repository or one family at a time.

pub(crate) mod content;
pub(crate) mod ids;
mod mark;
mod members;
mod repos;
mod rows;
mod space;
#[cfg(feature = "synthetic")]
mod synthetic;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use ids::ShortSet;
#[cfg(feature = "synthetic")]
pub use synthetic::Synthetic;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::db::Db;
use crate::error::{Result, StoreError};
use crate::files::UNNAMED_TIME_S;
use crate::id::{FileId, ObjectId, RepoId};
use crate::name::{RefName, RepoName};
use crate::progress::{Progress, Unit};
use crate::repos::now_unix;
use crate::store::Store;

/// Rows that go in one hold of a lock: under a millisecond.
const BATCH_COUNT: usize = 512;

/// How long a gc waits for another before it asks whether to go on.
const TURN_WAIT: Duration = Duration::from_millis(200);

/// Ids that come in during a sweep, at most, before it ends early.
const AROUND_MAX: usize = 8 << 20;

/// How to collect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GcOptions {
    /// How long what was given up stays, in seconds: what a reference named, a deleted repository's
    /// content, files that were removed, chunks of an upload that failed. 0: no longer.
    pub grace_s: u64,
    /// Say what would go, and change nothing.
    pub dry_run: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { grace_s: 14 * 24 * 3600, dry_run: false }
    }
}

/// Why a repository's content goes, or stays although it would not have to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GcWhy {
    /// No reference, mount, transfer or pointer reaches it.
    Unreachable,
    /// The repository was deleted longer ago than the grace.
    Deleted,
    /// Rows of a number that no repository has: a crash cut something off.
    Leftover,
    /// All of it stays this time: why.
    Kept(String),
}

/// What goes of one repository, or why all of it stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GcRepo {
    /// Its number.
    pub id: RepoId,
    /// Its name, or what it was.
    pub name: Option<RepoName>,
    /// Why.
    pub why: GcWhy,
    /// Objects that it has no more. Others may have them.
    pub object_count: u64,
    /// Their length as stored, in bytes.
    pub object_len: u64,
    /// Files that it has no right to any more. Others may.
    pub file_count: u64,
    /// Their length, in bytes.
    pub file_len: u64,
    /// References that ended or moved longer ago than the grace: name, what it was, and when, in
    /// seconds since 1970. At most [`GcReport::REFS_MAX`].
    pub refs: Vec<(RefName, ObjectId, u64)>,
}

/// What went, or would go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GcReport {
    /// By repository; those that lose nothing and are not kept for a reason are not listed.
    pub repos: Vec<GcRepo>,
    /// Objects that nobody has any more.
    pub object_count: u64,
    /// Their length as stored, in bytes.
    pub object_len: u64,
    /// Objects that were rewritten because what they were deltas of goes.
    pub rebased_count: u64,
    /// Files that nobody has any more.
    pub file_count: u64,
    /// Their length, in bytes.
    pub file_len: u64,
    /// Chunks that no file has any more.
    pub chunk_count: u64,
    /// Their length as stored, in bytes.
    pub chunk_len: u64,
    /// What the store takes on the disk before and after, in bytes.
    pub before_len: u64,
    /// After; as before for a dry run.
    pub after_len: u64,
    /// What was left for the next time, and why.
    pub notes: Vec<String>,
}

impl GcReport {
    /// References listed for one repository, at most.
    pub const REFS_MAX: usize = 20;
}

/// Where a test can look, or end the run as a crash would.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Point {
    /// A repository's snapshot is taken.
    Begun,
    /// A repository is marked; nothing has gone.
    Marked,
    /// Its dead memberships are about to go.
    BeforeFlip,
    /// They have gone.
    Flipped,
    /// So have its dead rights.
    RightsGone,
    /// Rows of objects: the snapshot is taken.
    RowsBegun,
    /// What goes and what has to be rebased is known.
    RowsMarked,
    /// All has been rebased.
    Rebased,
    /// A batch of rows has gone.
    RowsGone,
    /// Files: the snapshot is taken.
    FilesBegun,
    /// What goes is known.
    FilesMarked,
    /// A batch of heads has gone.
    HeadsGone,
    /// Chunks: the snapshot is taken.
    ChunksBegun,
    /// What lives is known.
    ChunksMarked,
    /// A batch of chunks has gone.
    ChunksGone,
    /// Space is about to be given back.
    Swept,
}

/// Called at each point.
pub(crate) type Watch<'a> = &'a dyn Fn(Point) -> Result<()>;

/// One run.
struct Run<'a> {
    store: &'a Store,
    db: &'a Db,
    options: GcOptions,
    now_unix: u64,
    progress: &'a dyn Progress,
    watch: Watch<'a>,
    report: GcReport,
    /// A dry run's: what would have gone.
    planned: Planned,
    /// Files that went.
    gone_files: Vec<FileId>,
    /// Rows that went by family.
    gone_rows: space::GoneRows,
}

/// What a dry run would have removed.
#[derive(Default)]
struct Planned {
    /// The first eight bytes of memberships, ascending.
    members: HashMap<RepoId, Vec<u64>>,
    rights: HashSet<(RepoId, FileId)>,
    repos: HashSet<RepoId>,
    files: HashSet<FileId>,
}

impl Store {
    /// Removes what nobody has any more and gives the space back. Others go on meanwhile. It may be
    /// ended between any two steps, and cut off anywhere: run again it begins anew.
    ///
    /// # Errors
    /// When something cannot be read that decides what lives: nothing that depends on it has gone
    /// then. [`StoreError::Interrupted`].
    pub fn gc(&self, options: &GcOptions, progress: &dyn Progress) -> Result<GcReport> {
        self.gc_watched(options, progress, &|_| Ok(()))
    }

    pub(crate) fn gc_watched(
        &self,
        options: &GcOptions,
        progress: &dyn Progress,
        watch: Watch<'_>,
    ) -> Result<GcReport> {
        let _turn = loop {
            match self.gc_turn().try_lock_for(TURN_WAIT) {
                Some(turn) => break turn,
                None if progress.interrupted() => return Err(StoreError::Interrupted),
                None => {}
            }
        };
        if !options.dry_run {
            self.db().room().release();
        }
        let mut run = Run {
            store: self,
            db: self.db(),
            options: *options,
            now_unix: now_unix(),
            progress,
            watch,
            report: GcReport::default(),
            planned: Planned::default(),
            gone_files: Vec::new(),
            gone_rows: space::GoneRows::default(),
        };
        run.report.before_len = run.disk_len();
        run.repos()?;
        run.rows()?;
        run.content()?;
        run.space()?;
        self.db().room().restore();
        Ok(run.report)
    }
}

/// Says how far it came, and ends what is not wanted any more.
fn step(progress: &dyn Progress, count: usize) -> Result<()> {
    progress.advance(count as u64);
    if progress.interrupted() { Err(StoreError::Interrupted) } else { Ok(()) }
}

impl Run<'_> {
    fn at(&self, point: Point) -> Result<()> {
        (self.watch)(point)
    }

    fn start(&self, what: &'static str) {
        self.progress.start(what, None, Unit::Objects);
    }

    fn step(&self, count: usize) -> Result<()> {
        step(self.progress, count)
    }

    /// Whether what was given up at a time stays.
    fn is_within_grace(&self, at_unix: u64) -> bool {
        let grace = self.options.grace_s;
        grace > 0 && at_unix.saturating_add(grace) > self.now_unix
    }

    /// Whether a right that waits for something to name its file is young enough.
    fn is_awaited(&self, since_unix: u64) -> bool {
        let time = self.options.grace_s.max(UNNAMED_TIME_S);
        since_unix.abs_diff(self.now_unix) < time
    }
}
