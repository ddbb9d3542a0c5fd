//! Rows of objects that are nobody's: deltas are taken off them, then they go.

use super::ids::{ShortSet, Spool};
use super::{AROUND_MAX, BATCH_COUNT, Point, Run};
use crate::db::{Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::ObjectId;
use crate::lease::{ObjectLeases, short};
use crate::object::ObjectKind;
use crate::object::pointer::POINTER_LEN_MAX;
use crate::objects::limits::DEPTH_MAX;
use crate::objects::row::{Body, Encoding, Row};
use crate::outbox::damaged;

/// Rebased rows that are written in one hold of the lock, in bytes.
const REBASE_LEN: usize = 1 << 20;
/// Length of a record of what goes: id, base, what it has beside its row.
const RECORD_LEN: usize = 41;

const HAS_BASE: u8 = 1;
const HAS_PARTS: u8 = 2;
const MAY_BE_POINTER: u8 = 4;

/// Ends the sweep however it ends.
struct Sweeping(ObjectLeases);

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.0.lock().end_sweeping();
    }
}

/// What the rows tell.
struct Found {
    /// What goes, by depth.
    dead: Vec<Option<Spool<RECORD_LEN>>>,
    /// Living deltas of what goes.
    stranded: Spool<20>,
}

impl Run<'_> {
    /// Removes rows of objects that no repository has.
    pub(super) fn rows(&mut self) -> Result<()> {
        self.start("looking for objects");
        let _sweeping = Sweeping(self.db.leases().clone());
        let snapshot = {
            let _lock = self.db.commit_lock();
            self.db.leases().lock().begin_sweeping();
            self.db.snapshot()
        };
        self.at(Point::RowsBegun)?;
        let mut living = ShortSet::default();
        let mut cursor = snapshot.cursor(Family::RepoObject, &[]);
        while let Some((key, _)) = cursor.at()? {
            let id = key.get(4..).filter(|id| id.len() == ObjectId::LEN);
            let id = id.ok_or_else(|| damaged(Family::RepoObject, key, "no member's key"))?;
            if !self.is_planned(key, short(id)) {
                living.add(short(id));
            }
            cursor.advance();
        }
        drop(cursor);
        let living = living.finish();
        let mut found = Found {
            dead: (0..=DEPTH_MAX).map(|_| None).collect(),
            stranded: Spool::new(self.db.tmp())?,
        };
        let mut at_once = living.ascending();
        let mut cursor = snapshot.cursor(Family::Object, &[]);
        let mut count = 0;
        while let Some((key, value)) = cursor.at()? {
            self.look_at(key, value, &living, at_once.has(short(key)), &mut found)?;
            cursor.advance();
            count += 1;
            if count % 4_096 == 0 {
                self.step(4_096)?;
            }
        }
        drop(cursor);
        self.at(Point::RowsMarked)?;
        self.report.rebased_count = found.stranded.count();
        if self.options.dry_run {
            return Ok(());
        }
        self.rebase(found.stranded)?;
        self.at(Point::Rebased)?;
        self.sweep_rows(found.dead)?;
        self.sweep_pointers(&living)?;
        self.sweep_parts()
    }

    /// Whether a dry run would have removed the membership.
    fn is_planned(&self, key: &[u8], id: u64) -> bool {
        if !self.options.dry_run {
            return false;
        }
        let repo = key.first_chunk().map(|repo| crate::id::RepoId(u32::from_be_bytes(*repo)));
        repo.is_some_and(|repo| {
            let of_repo = self.planned.members.get(&repo);
            self.planned.repos.contains(&repo)
                || of_repo.is_some_and(|dead| dead.binary_search(&id).is_ok())
        })
    }

    /// Sorts one row in.
    fn look_at(
        &mut self,
        key: &[u8],
        value: &[u8],
        living: &ShortSet,
        lives: bool,
        found: &mut Found,
    ) -> Result<()> {
        let id = ObjectId::from_slice(key);
        let id = id.ok_or_else(|| damaged(Family::Object, key, "no object's key"))?;
        let row = Row::parse(&id, value)?;
        let base = match row.encoding {
            Encoding::Whole => None,
            Encoding::Delta { base, .. } => Some(base),
        };
        if lives {
            if base.is_some_and(|base| !living.has(short(base.as_bytes()))) {
                found.stranded.push(id.as_bytes())?;
            }
            return Ok(());
        }
        self.report.object_count += 1;
        self.report.object_len += row.body.len();
        let mut record = [0; RECORD_LEN];
        record[..20].copy_from_slice(id.as_bytes());
        if let Some(base) = base {
            record[20..40].copy_from_slice(base.as_bytes());
            record[40] |= HAS_BASE;
        }
        if matches!(row.body, Body::Parts(_)) {
            record[40] |= HAS_PARTS;
        }
        if row.header.kind == ObjectKind::Blob && row.header.len <= POINTER_LEN_MAX as u64 {
            record[40] |= MAY_BE_POINTER;
        }
        let spool = &mut found.dead[usize::from(row.encoding.depth())];
        if spool.is_none() {
            *spool = Some(Spool::new(self.db.tmp())?);
        }
        if let Some(spool) = spool {
            spool.push(&record)?;
        }
        Ok(())
    }

    /// Makes living deltas of what goes whole.
    fn rebase(&mut self, stranded: Spool<20>) -> Result<()> {
        let mut waiting: Vec<(ObjectId, Vec<u8>, Vec<u8>)> = Vec::new();
        let (mut len, mut has_parts) = (0, false);
        for id in stranded.read()? {
            let id = ObjectId::from_bytes(id?);
            let Some(was) = self.db.get(Family::Object, id.as_bytes())? else { continue };
            let missing = || StoreError::MissingObject { id };
            // Hashed again: what is written now stays.
            let object = self.store.objects().read_verified(&id)?.ok_or_else(missing)?;
            let (row, parts) = self.store.objects().whole_row(&id, &object)?;
            has_parts |= parts;
            len += row.len();
            waiting.push((id, was.to_vec(), row));
            if len >= REBASE_LEN || waiting.len() >= BATCH_COUNT {
                self.replace(std::mem::take(&mut waiting), has_parts)?;
                (len, has_parts) = (0, false);
            }
        }
        self.replace(waiting, has_parts)
    }

    /// Replaces rows that are as they were.
    fn replace(&self, rows: Vec<(ObjectId, Vec<u8>, Vec<u8>)>, has_parts: bool) -> Result<()> {
        if has_parts {
            self.db.flush(&[Family::ObjectPart])?;
        }
        let _lock = self.db.commit_lock();
        let mut batch = self.db.batch();
        for (id, was, row) in &rows {
            if self.db.get(Family::Object, id.as_bytes())?.as_deref() == Some(&was[..]) {
                batch.put(Family::Object, id.as_bytes(), row);
            }
        }
        // So that what they are deltas of can go.
        batch.use_reserve();
        self.db.commit(batch, Durability::Logged)?;
        rows.iter().for_each(|(id, ..)| self.store.objects().forget_cached(id));
        self.step(rows.len())
    }

    /// Removes rows, those of the deepest deltas first: a row's base stays as long as the row.
    fn sweep_rows(&mut self, dead: Vec<Option<Spool<RECORD_LEN>>>) -> Result<()> {
        self.start("removing objects");
        for spool in dead.into_iter().rev().flatten() {
            let mut batch = Vec::with_capacity(BATCH_COUNT);
            for record in spool.read()? {
                batch.push(record?);
                if batch.len() == BATCH_COUNT {
                    if self.db.leases().lock().swept_around().len() > AROUND_MAX {
                        let note =
                            "so many objects came meanwhile that some were left for the next time";
                        self.report.notes.push(note.to_owned());
                        return Ok(());
                    }
                    self.sweep_batch(&batch)?;
                    batch.clear();
                }
            }
            self.sweep_batch(&batch)?;
        }
        Ok(())
    }

    fn sweep_batch(&mut self, records: &[[u8; RECORD_LEN]]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        {
            let _lock = self.db.commit_lock();
            let mut leases = self.db.leases().lock();
            let around = leases.swept_around();
            let mut batch = self.db.batch();
            let mut gone = 0;
            for record in records {
                let (id, rest) = record.split_at(ObjectId::LEN);
                let (base, flags) = (&rest[..ObjectId::LEN], rest[ObjectId::LEN]);
                if around.contains(&short(id)) {
                    // It stays, and so does what it is made from.
                    if flags & HAS_BASE != 0 {
                        around.insert(short(base));
                    }
                    self.report.object_count -= 1;
                    continue;
                }
                batch.delete(Family::Object, id);
                if flags & MAY_BE_POINTER != 0 {
                    batch.delete(Family::ObjectPointer, id);
                }
                if flags & HAS_PARTS != 0 {
                    batch.delete_prefix(Family::ObjectPart, id);
                    self.gone_rows.add(Family::ObjectPart, 1);
                }
                gone += 1;
            }
            self.db.commit(batch, Durability::Logged)?;
            self.db.bump_swept();
            self.gone_rows.add(Family::Object, gone);
        }
        self.at(Point::RowsGone)?;
        self.step(records.len())
    }

    /// Removes what a crash left of pointers whose blob never came.
    fn sweep_pointers(&mut self, living: &ShortSet) -> Result<()> {
        let mut dead = Vec::new();
        let mut at_once = living.ascending();
        for row in self.db.scan(Family::ObjectPointer, &[]) {
            let (key, _) = row?;
            if !at_once.has(short(&key)) && !self.db.contains(Family::Object, &key)? {
                dead.push(key);
            }
        }
        for keys in dead.chunks(BATCH_COUNT) {
            let _lock = self.db.commit_lock();
            let mut leases = self.db.leases().lock();
            let around = leases.swept_around();
            let mut batch = self.db.batch();
            let dead = keys.iter().filter(|key| !around.contains(&short(key)));
            dead.for_each(|key| batch.delete(Family::ObjectPointer, key));
            self.db.commit(batch, Durability::Logged)?;
        }
        Ok(())
    }

    /// Removes streams that no row names: of pushes that were refused, or came second. One part of
    /// each stream is read on the way.
    fn sweep_parts(&mut self) -> Result<()> {
        let snapshot = self.db.snapshot();
        let mut cursor = snapshot.cursor(Family::ObjectPart, &[]);
        while let Some((key, _)) = cursor.at()? {
            let bad = || damaged(Family::ObjectPart, key, "its key does not have 40 bytes");
            let stream: [u8; 36] = *key.first_chunk().ok_or_else(bad)?;
            let mut last = [0xff; 40];
            last[..36].copy_from_slice(&stream);
            cursor.seek(&last);
            if cursor.at()?.is_some_and(|(key, _)| *key == last[..]) {
                cursor.advance();
            }
            self.sweep_stream(&stream)?;
        }
        Ok(())
    }

    fn sweep_stream(&mut self, stream: &[u8; 36]) -> Result<()> {
        let (id, name) = stream.split_at(ObjectId::LEN);
        let oid = ObjectId::from_slice(id).expect("split at its length");
        let is_named = || -> Result<bool> {
            let Some(value) = self.db.get(Family::Object, id)? else { return Ok(false) };
            Ok(match Row::parse(&oid, &value)?.body {
                Body::Parts(parts) => parts.stream == name,
                Body::Inline(_) => false,
            })
        };
        if is_named()? {
            return Ok(());
        }
        let _lock = self.db.commit_lock();
        let mut leases = self.db.leases().lock();
        if leases.swept_around().contains(&short(id)) || is_named()? {
            return Ok(());
        }
        let mut batch = self.db.batch();
        batch.delete_prefix(Family::ObjectPart, stream);
        self.db.commit(batch, Durability::Logged)?;
        self.gone_rows.add(Family::ObjectPart, 1);
        Ok(())
    }
}
