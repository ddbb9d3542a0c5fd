//! The protocol as a small machine, all of whose interleavings are tried: two takers-in, a deleter
//! and gc over one object (or chunk) `X`, which `P` names.
//!
//! Each step is what the code does in one hold of a lock. The machine is searched to its end; a
//! state in which something acknowledged is not there is a failure, with the steps that led to it.
//! Then each safeguard is left out in turn, and the search must find the failure that it prevents:
//! else the model would prove nothing.

use std::collections::{HashMap, HashSet, VecDeque};

/// Safeguards that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Without {
    Nothing,
    /// A taker enters ids after it has looked them up.
    EnterFirst,
    /// Leases live at the beginning of a sweep are not asked.
    OldLeases,
    /// What is entered during a sweep is forgotten when the lease ends.
    EnteredStays,
    /// A lease ends when the objects are in, before the reference is.
    LeaseUntilNamed,
    /// gc does not look at the registry in the hold in which it removes.
    LookAtRemoval,
    /// Members that came to be reachable after the snapshot are not marked.
    MarkTouched,
    /// Memberships go one by one, named before naming, and a crash comes between.
    AllAtOnce,
    /// A stored row's base goes before the row.
    DeepestFirst,
    /// Living deltas are left on bases that go.
    Rebase,
}

/// What a taker-in does: `P` names `X`; it brings both, and skips what it finds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Taker {
    at: u8,
    has_lease: bool,
    /// Found stored, so it is not written.
    skips_x: bool,
    skips_p: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Machine {
    // Members of the repository, and rows of objects; `X` is stored as a delta of `B`, which is
    // nobody's.
    member_x: bool,
    member_p: bool,
    row_x: bool,
    row_p: bool,
    row_b: bool,
    x_is_delta: bool,
    /// A reference names `P`.
    named: bool,
    takers: [Taker; 2],
    deleter: u8,
    gc: u8,
    /// gc's marks, and what was entered since its snapshot.
    marked: bool,
    sweeping: bool,
    entered: bool,
    /// What it will remove of rows.
    dead_x: bool,
    dead_p: bool,
    dead_b: bool,
    crashed: bool,
}

const DONE: u8 = 99;

impl Machine {
    fn begin() -> Self {
        Self {
            member_x: true,
            member_p: true,
            row_x: true,
            row_p: true,
            row_b: true,
            x_is_delta: true,
            named: true,
            ..Self::default()
        }
    }

    fn any_lease(&self) -> bool {
        self.takers.iter().any(|taker| taker.has_lease)
    }

    fn enter(&mut self) {
        self.entered |= self.sweeping;
    }

    /// What a taker can do next.
    fn take(mut self, index: usize, without: Without) -> Option<Self> {
        let mut taker = self.takers[index];
        let late = without == Without::EnterFirst;
        match taker.at {
            // Enters the ids, then looks them up; or, wrongly, the other way round.
            0 if !late => {
                taker.has_lease = true;
                self.enter();
            }
            0 | 1 if late == (taker.at == 0) => {
                (taker.skips_x, taker.skips_p) = (self.row_x, self.row_p);
            }
            1 => {
                taker.has_lease = true;
                self.enter();
            }
            // Commits: writes what it did not skip, and its memberships.
            2 => {
                // What is stored keeps its row; what is written here is whole.
                self.x_is_delta &= self.row_x;
                self.row_x |= !taker.skips_x;
                self.row_p |= !taker.skips_p;
                self.member_x = true;
                self.member_p = true;
                if without == Without::LeaseUntilNamed {
                    taker.has_lease = false;
                    self.forget(without);
                }
            }
            // The reference.
            3 => {
                self.named = true;
                if without != Without::MarkTouched {
                    self.enter();
                }
            }
            4 => {
                taker.has_lease = false;
            }
            _ => return None,
        }
        taker.at += 1;
        self.takers[index] = taker;
        if taker.at == 5 {
            self.forget(without);
        }
        Some(self)
    }

    fn forget(&mut self, without: Without) {
        if without == Without::EnteredStays && !self.any_lease() {
            self.entered = false;
        }
    }

    /// Deletes the reference, at any time.
    fn delete(mut self) -> Option<Self> {
        if self.deleter >= 1 || !self.named {
            return None;
        }
        self.deleter += 1;
        self.named = false;
        Some(self)
    }

    /// gc: members, then rows; two runs.
    fn collect(mut self, without: Without) -> Option<Self> {
        let asks_old = without != Without::OldLeases;
        let is_kept = |m: &Self| m.entered && (without != Without::MarkTouched || m.any_lease());
        match self.gc % 20 {
            // The members' snapshot.
            0 => {
                self.sweeping = true;
                self.entered = asks_old && self.any_lease();
                self.marked = self.named;
            }
            // Their end, in one hold.
            1 => {
                let kept = self.marked
                    || match without {
                        Without::LookAtRemoval => false,
                        Without::MarkTouched => self.any_lease() && asks_old,
                        _ => is_kept(&self),
                    };
                if !kept && without == Without::AllAtOnce {
                    self.member_x = false;
                    self.gc += 1;
                    return Some(self);
                }
                if !kept {
                    self.member_x = false;
                    self.member_p = false;
                }
                self.gc += 1;
            }
            2 => self.member_p = false,
            // The rows' snapshot.
            3 => {
                self.sweeping = true;
                self.entered = asks_old && self.any_lease();
                self.dead_x = self.row_x && !self.member_x;
                self.dead_p = self.row_p && !self.member_p;
                self.dead_b = self.row_b;
                // A living delta is taken off its base first.
                self.x_is_delta &= self.dead_x || without == Without::Rebase;
            }
            // Removal, batch by batch: P, then X, then what X is made from.
            4..=6 => {
                let step = self.gc % 20;
                let step = match without {
                    Without::DeepestFirst => 10 - step,
                    _ => step,
                };
                let keeps = self.entered && without != Without::LookAtRemoval;
                match step {
                    4 if self.dead_p && !keeps => self.row_p = false,
                    5 if self.dead_x && !keeps => self.row_x = false,
                    6 if self.dead_b && !keeps => self.row_b = false,
                    _ => {}
                }
            }
            7 => {
                self.sweeping = false;
                self.entered = false;
                self.gc = if self.gc < 20 { 19 } else { DONE - 1 };
            }
            _ => return None,
        }
        self.gc += 1;
        Some(self)
    }

    /// The process ends: takers and gc go, what is stored stays.
    fn crash(mut self) -> Option<Self> {
        if self.crashed {
            return None;
        }
        self.crashed = true;
        for taker in &mut self.takers {
            // Those that were acknowledged are done; the others never began.
            *taker = Taker { at: 5, ..Taker::default() };
        }
        (self.sweeping, self.entered, self.gc) = (false, false, 0);
        Some(self)
    }

    /// What must hold at any time.
    fn is_sound(&self) -> Result<(), &'static str> {
        if self.named && !(self.member_p && self.member_x && self.row_p && self.row_x) {
            return Err("a reference reaches what is not there");
        }
        if self.member_p && !self.member_x {
            return Err("a member has lost what it names");
        }
        if (self.member_p && !self.row_p) || (self.member_x && !self.row_x) {
            return Err("a member has no row");
        }
        if self.row_x && self.x_is_delta && !self.row_b {
            return Err("a row has lost its base");
        }
        Ok(())
    }
}

/// Searches all interleavings; the first failure, with the steps to it.
fn search(without: Without) -> (usize, Option<(&'static str, Vec<&'static str>)>) {
    let begin = Machine::begin();
    let mut from: HashMap<Machine, Option<(Machine, &'static str)>> = HashMap::new();
    from.insert(begin, None);
    let mut queue = VecDeque::from([begin]);
    let mut seen = HashSet::from([begin]);
    while let Some(machine) = queue.pop_front() {
        if let Err(why) = machine.is_sound() {
            let (mut steps, mut at) = (Vec::new(), machine);
            while let Some(Some((before, step))) = from.get(&at) {
                steps.push(*step);
                at = *before;
            }
            steps.reverse();
            return (seen.len(), Some((why, steps)));
        }
        let next = [
            ("first takes", machine.take(0, without)),
            ("second takes", machine.take(1, without)),
            ("delete", machine.delete()),
            ("gc", machine.collect(without)),
            ("crash", machine.crash()),
        ];
        for (step, next) in next {
            if let Some(next) = next.filter(|next| seen.insert(*next)) {
                from.insert(next, Some((machine, step)));
                queue.push_back(next);
            }
        }
    }
    (seen.len(), None)
}

#[test]
fn no_interleaving_loses_anything() {
    let (count, failure) = search(Without::Nothing);
    assert_eq!(failure, None);
    assert!(count > 1_000, "only {count} states");
}

#[test]
fn each_safeguard_is_needed() {
    for without in [
        Without::EnterFirst,
        Without::OldLeases,
        Without::EnteredStays,
        Without::LeaseUntilNamed,
        Without::LookAtRemoval,
        Without::MarkTouched,
        Without::AllAtOnce,
        Without::DeepestFirst,
        Without::Rebase,
    ] {
        let (count, failure) = search(without);
        let Some((why, steps)) = failure else { panic!("{without:?}: nothing in {count} states") };
        println!("without {without:?}: {why}: {}", steps.join(", "));
    }
}
