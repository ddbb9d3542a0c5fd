//! The rules one by one, at a scheduler alone: who is asked, when, and what old or false news does.

use mega_storage::ChunkSpan;

use super::{FAST, FileShape};
use crate::swarm::schedule::limits::{
    BAN_US, CHUNKS_MAX, DENIALS_MAX, FIND_US_STARVED, HAVE_US_MAX, HAVE_US_MIN, HEDGE_US_MIN,
    HOLDERS_MAX, MS, PEERS_MAX, PEERS_UP_MAX, SECOND, SLOW_US, STALL_NOW_US, STALL_US, TICKETS_MAX,
    WAITS_MAX,
};
use crate::swarm::schedule::{
    Action, Event, FailReason, FileKey, Have, Lane, PeerKey, Rates, RequestKey, Schedule,
    TicketKey, Time, Urgency,
};

const FILE: FileKey = FileKey(0);
const RTT: Time = 50 * MS;

/// A scheduler, and what it was heard to say.
struct Alone {
    schedule: Schedule,
    now: Time,
    file: FileShape,
}

/// An ask, as a test looks at it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ask {
    peer: u32,
    lane: Lane,
    request: RequestKey,
    offsets: Vec<u64>,
}

impl Ask {
    fn indexes(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.offsets.len()).expect("a batch is small")
    }
}

impl Alone {
    fn new(chunks: u32) -> Self {
        let schedule = Schedule::new(1, Rates::default());
        Self { schedule, now: 0, file: FileShape::even(0, chunks) }
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.schedule.handle(self.now, event, &mut out);
        out
    }

    /// Lets time pass as a driver does, tick by tick; gives what was said meanwhile.
    fn pass(&mut self, time: Time) -> Vec<(Time, Action)> {
        let (end, mut said) = (self.now + time, Vec::new());
        while self.now < end {
            self.now = (self.now + 10 * MS).min(end);
            let now = self.now;
            said.extend(self.tell(Event::Tick).into_iter().map(|action| (now, action)));
        }
        said
    }

    fn up(&mut self, peer: u32, rtt_us: Time) -> Vec<Action> {
        let peer = PeerKey(peer);
        self.tell(Event::PeerUp { peer, rtt_us, relayed: false, in_flight_len_max: 16 << 20 })
    }

    fn serves(&mut self, peer: u32, have: Have) -> Vec<Action> {
        self.tell(Event::Serves { peer: PeerKey(peer), file: FILE, have })
    }

    /// A peer that has all.
    fn seeder(&mut self, peer: u32, rtt_us: Time) -> Vec<Action> {
        self.up(peer, rtt_us);
        self.serves(peer, Have::All)
    }

    fn want(&mut self, ticket: u64, chunks: std::ops::Range<usize>, u: Urgency) -> Vec<Action> {
        let deadline = self.now + 30 * SECOND;
        let spans = self.file.spans[chunks].to_vec();
        let ticket = TicketKey(ticket);
        self.tell(Event::Want { ticket, file: FILE, spans, urgency: u, deadline })
    }

    /// Wants all of the file, however long it takes.
    fn want_all(&mut self, ticket: u64, urgency: Urgency) -> Vec<Action> {
        let (spans, deadline) = (self.file.spans.clone(), Time::MAX);
        let ticket = TicketKey(ticket);
        self.tell(Event::Want { ticket, file: FILE, spans, urgency, deadline })
    }

    fn came(&mut self, ask: &Ask, index: u16, good: bool) -> Vec<Action> {
        let (peer, request) = (PeerKey(ask.peer), ask.request);
        self.tell(Event::Came { peer, request, index, wire_len: 65_536, good })
    }

    /// All chunks of a request come at once.
    fn answer(&mut self, ask: &Ask) -> Vec<Action> {
        ask.indexes().flat_map(|index| self.came(ask, index, true)).collect()
    }
}

fn asks(actions: &[Action]) -> Vec<Ask> {
    let asks = actions.iter().filter_map(|action| match action {
        Action::Ask { peer, lane, request, spans, .. } => Some(Ask {
            peer: peer.0,
            lane: *lane,
            request: *request,
            offsets: spans.iter().map(|span| span.offset).collect(),
        }),
        _ => None,
    });
    asks.collect()
}

fn asks_later(said: &[(Time, Action)]) -> Vec<(Time, Ask)> {
    let asks = said.iter().flat_map(|(at, action)| {
        asks(std::slice::from_ref(action)).into_iter().map(|ask| (*at, ask))
    });
    asks.collect()
}

fn fails(actions: &[Action]) -> Vec<FailReason> {
    let fails = actions.iter().filter_map(|action| match action {
        Action::Fail { reason, .. } => Some(*reason),
        _ => None,
    });
    fails.collect()
}

#[test]
fn who_waits_is_served_by_the_nearest_and_in_parallel() {
    let mut alone = Alone::new(64);
    alone.seeder(1, 180 * MS);
    alone.seeder(2, 20 * MS);
    let asked = asks(&alone.want(1, 5..6, Urgency::Now));
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].peer, asked[0].lane), (2, Lane::Urgent));
    let asked = asks(&alone.want(2, 10..22, Urgency::Now));
    assert!(asked.iter().all(|ask| ask.lane == Lane::Urgent && ask.offsets.len() <= 4));
    let by_peer = |peer| asked.iter().filter(|ask| ask.peer == peer).count();
    assert!(by_peer(1) > 0 && by_peer(2) > by_peer(1), "{asked:?}");
}

#[test]
fn urgent_goes_before_bulk() {
    let mut alone = Alone::new(640);
    alone.want(1, 0..600, Urgency::Background);
    alone.want(2, 600..640, Urgency::Now);
    let asked = asks(&alone.seeder(1, RTT));
    let lanes: Vec<Lane> = asked.iter().map(|ask| ask.lane).collect();
    assert!(lanes.iter().all(|lane| *lane == Lane::Urgent), "{lanes:?}");
    assert_eq!(asked.iter().map(|ask| ask.offsets.len()).sum::<usize>(), 16, "one megabyte");
    let next = asks(&alone.answer(&asked[0]));
    assert!(!next.is_empty() && next.iter().all(|ask| ask.lane == Lane::Urgent), "{next:?}");
}

#[test]
fn a_late_chunk_is_asked_of_others_too() {
    let mut alone = Alone::new(8);
    for peer in 1..6 {
        alone.seeder(peer, RTT);
    }
    let first = asks(&alone.want(1, 0..1, Urgency::Now));
    let hedges = asks_later(&alone.pass(SECOND));
    let times: Vec<Time> = hedges.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [HEDGE_US_MIN, 2 * HEDGE_US_MIN], "never of a fourth");
    let (_, second) = &hedges[0];
    assert!(second.peer != first[0].peer && second.lane == Lane::Urgent);
    let done = alone.came(second, 0, true);
    let cancel = Action::Cancel { peer: PeerKey(first[0].peer), request: first[0].request };
    assert!(done.contains(&cancel) && done.contains(&Action::Done { ticket: TicketKey(1) }));
    assert_eq!(alone.schedule.progress().hedges, 2);
    // What the first one had sent already is a duplicate.
    assert!(alone.came(&first[0], 0, true).is_empty());
    assert_eq!(alone.schedule.progress().counts.duplicate_len, 65_536);
}

#[test]
fn a_chunk_that_turns_urgent_under_way_is_not_asked_again_but_hedged() {
    let mut alone = Alone::new(8);
    alone.seeder(1, RTT);
    let first = asks(&alone.want(1, 0..4, Urgency::Soon));
    alone.seeder(2, RTT);
    assert!(asks(&alone.want(2, 0..1, Urgency::Now)).is_empty());
    let mut hedges = asks_later(&alone.pass(600 * MS));
    hedges.retain(|(_, ask)| ask.lane == Lane::Urgent);
    assert_eq!(hedges.len(), 1, "{hedges:?}");
    assert_eq!(hedges[0].1.offsets, [0]);
    let came = alone.came(&first[0], 0, true);
    let delivered = came.iter().filter(|action| matches!(action, Action::Deliver { .. }));
    assert_eq!(delivered.count(), 2, "one chunk, two tickets");
}

#[test]
fn a_silent_peer_loses_its_chunks_but_may_still_bring_them() {
    for (urgency, limit) in [(Urgency::Now, STALL_NOW_US), (Urgency::Background, STALL_US)] {
        let mut alone = Alone::new(4);
        alone.seeder(1, RTT);
        let first = asks(&alone.want(1, 0..1, urgency));
        assert!(asks_later(&alone.pass(limit + SECOND)).is_empty(), "there is nobody else");
        assert!(alone.schedule.peer(PeerKey(1)).unwrap().is_stalled);
        assert_eq!(alone.schedule.progress().queued, 1);
        let done = alone.came(&first[0], 0, true);
        assert!(done.contains(&Action::Done { ticket: TicketKey(1) }));
        assert!(!alone.schedule.peer(PeerKey(1)).unwrap().is_stalled);
    }
    let mut alone = Alone::new(4);
    alone.seeder(1, RTT);
    let first = asks(&alone.want(1, 0..1, Urgency::Now));
    alone.pass(STALL_NOW_US + SECOND);
    let out = alone.seeder(2, RTT);
    let cancel = Action::Cancel { peer: PeerKey(1), request: first[0].request };
    assert!(out.contains(&cancel), "told to stop before another is asked: {out:?}");
    assert_eq!(asks(&out)[0].peer, 2);
}

#[test]
fn a_slow_peer_loses_its_chunks_and_gets_another_try() {
    let mut alone = Alone::new(8000);
    alone.seeder(1, RTT);
    alone.seeder(2, RTT);
    let mut open = asks(&alone.want_all(1, Urgency::Soon));
    let slow: Vec<Ask> = open.extract_if(.., |ask| ask.peer == 2).collect();
    // The quick one answers a megabyte every tenth of a second, the slow one nothing at all.
    let (mut taken_at, mut tried_at) = (None, None);
    let mut is_told = false;
    while tried_at.is_none() && alone.now < 60 * SECOND {
        let said = alone.pass(100 * MS);
        let mut new: Vec<Ask> = asks_later(&said).into_iter().map(|(_, ask)| ask).collect();
        for ask in open.drain(..open.len().min(1)).collect::<Vec<_>>() {
            new.extend(asks(&alone.answer(&ask)));
        }
        if alone.schedule.progress().counts.cancels > 0 && !is_told {
            is_told = true;
            let (peer, request) = (PeerKey(2), slow[0].request);
            alone.tell(Event::Ended { peer, request, absent: Vec::new() });
        }
        let is_taken = |ask: &Ask| ask.peer == 1 && ask.offsets.contains(&slow[0].offsets[0]);
        taken_at = taken_at.or(new.iter().any(is_taken).then_some(alone.now));
        tried_at = new.iter().any(|ask| ask.peer == 2).then_some(alone.now);
        open.extend(new);
    }
    let taken_at = taken_at.expect("somebody else is asked");
    assert!((SECOND..2 * SECOND).contains(&taken_at), "{taken_at} us");
    let tried_at = tried_at.expect("it is asked again");
    assert!((SLOW_US..SLOW_US + 3 * SECOND).contains(&tried_at), "{tried_at} us");
}

#[test]
fn a_peer_that_answers_only_bulk_is_asked_there() {
    let mut alone = Alone::new(200);
    alone.seeder(1, RTT);
    let mut bulk = asks(&alone.want(1, 0..150, Urgency::Background));
    let urgent = asks(&alone.want(2, 160..162, Urgency::Now));
    assert_eq!(urgent[0].lane, Lane::Urgent);
    let mut seen = Vec::new();
    while alone.now < 10 * SECOND {
        let said = alone.pass(SECOND / 2);
        let mut more: Vec<Ask> = asks_later(&said).into_iter().map(|(_, ask)| ask).collect();
        for ask in std::mem::take(&mut bulk) {
            more.extend(asks(&alone.answer(&ask)));
        }
        seen.extend(more.clone());
        bulk = more;
    }
    let is_there = |ask: &Ask| ask.lane == Lane::Bulk && ask.offsets.contains(&(161 << 16));
    assert_eq!(seen.iter().filter(|ask| is_there(ask)).count(), 0, "it is asked for already");
    assert!(alone.schedule.peer(PeerKey(1)).unwrap().is_stalled, "its urgent lane");
    let mut more = asks(&alone.want(3, 190..191, Urgency::Now));
    for ask in bulk {
        more.extend(asks(&alone.answer(&ask)));
    }
    let first = more.first().map(|ask| (ask.lane, ask.offsets[0]));
    assert_eq!(first, Some((Lane::Bulk, 190 << 16)), "{more:?}");
}

#[test]
fn background_takes_the_rarest_first_and_read_ahead_the_first_first() {
    let mut alone = Alone::new(100);
    // Peers 2 to 5 have all but chunks 40 to 43.
    for peer in 2..6 {
        alone.up(peer, RTT);
        alone.serves(peer, Have::Runs(vec![(0, 40 << 16), (44 << 16, 56 << 16)]));
    }
    alone.up(1, RTT);
    alone.serves(1, Have::All);
    let asked = asks(&alone.want(1, 0..100, Urgency::Background));
    let of_first: Vec<u64> =
        asked.iter().filter(|a| a.peer == 1).flat_map(|a| a.offsets.clone()).collect();
    assert_eq!(of_first, [40 << 16, 41 << 16, 42 << 16, 43 << 16]);
    let mut alone = Alone::new(100);
    alone.seeder(1, RTT);
    let asked = asks(&alone.want(1, 30..100, Urgency::Soon));
    assert_eq!(asked[0].offsets, [30 << 16, 31 << 16, 32 << 16, 33 << 16]);
}

#[test]
fn nobody_is_asked_for_what_he_has_not() {
    let mut alone = Alone::new(100);
    alone.up(1, RTT);
    alone.serves(1, Have::Bits { shift: 16, bytes: vec![0, 0, 0b0001_1000] });
    let asked = asks(&alone.want(1, 0..100, Urgency::Background));
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].offsets, [19 << 16, 20 << 16]);
    let asked = asks(&alone.want(2, 0..100, Urgency::Now));
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn a_denied_chunk_is_not_asked_again_until_the_list_is_new() {
    let mut alone = Alone::new(4);
    alone.seeder(1, RTT);
    let asked = asks(&alone.want(1, 0..1, Urgency::Now));
    let (peer, request) = (PeerKey(1), asked[0].request);
    let out = alone.tell(Event::Ended { peer, request, absent: vec![0] });
    assert!(asks(&out).is_empty());
    let said = alone.pass(2 * HAVE_US_MIN);
    let wanted = Action::AskHave { peer, file: FILE };
    assert!(said.iter().any(|(_, action)| *action == wanted), "{said:?}");
    assert!(asks_later(&said).is_empty());
    assert_eq!(asks(&alone.serves(1, Have::All)).len(), 1);
}

#[test]
fn who_denies_what_he_claims_again_and_again_is_left_alone() {
    let mut alone = Alone::new(1);
    alone.seeder(1, RTT);
    let mut asked = asks(&alone.want_all(1, Urgency::Background));
    let mut rounds = 0;
    while let Some(ask) = asked.pop() {
        let peer = PeerKey(1);
        alone.tell(Event::Ended { peer, request: ask.request, absent: vec![0] });
        asked = asks(&alone.serves(1, Have::All));
        rounds += 1;
        assert!(rounds <= DENIALS_MAX, "{rounds} rounds");
    }
    assert_eq!(rounds, DENIALS_MAX);
}

#[test]
fn the_last_chunks_are_asked_of_two_when_their_owner_is_slow() {
    let mut alone = Alone::new(40);
    alone.seeder(1, RTT);
    let first = asks(&alone.want(1, 0..4, Urgency::Background));
    assert_eq!(first.len(), 1);
    alone.pass(150 * MS);
    let second = asks(&alone.seeder(2, 10 * MS));
    assert!(second.is_empty(), "not worth it yet: {second:?}");
    let second = asks_later(&alone.pass(500 * MS));
    assert!(!second.is_empty(), "overdue by more than another needs");
    assert!(second.iter().all(|(_, ask)| ask.peer == 2 && ask.lane == Lane::Bulk));
    assert!(alone.schedule.progress().ends > 0);
}

#[test]
fn what_is_not_wanted_is_cancelled() {
    let mut alone = Alone::new(40);
    alone.seeder(1, RTT);
    let asked = asks(&alone.want(1, 0..4, Urgency::Soon));
    alone.want(2, 0..1, Urgency::Soon);
    let out = alone.tell(Event::Unwant { ticket: TicketKey(1) });
    assert!(!out.iter().any(|action| matches!(action, Action::Cancel { .. })), "one is wanted");
    let out = alone.tell(Event::Unwant { ticket: TicketKey(2) });
    assert!(out.contains(&Action::Cancel { peer: PeerKey(1), request: asked[0].request }));
    assert!(alone.came(&asked[0], 0, true).is_empty());
    assert_eq!(alone.schedule.progress().counts.unwanted_len, 65_536);
    let (peer, request) = (PeerKey(1), asked[0].request);
    alone.tell(Event::Ended { peer, request, absent: Vec::new() });
    assert_eq!(alone.schedule.progress().requests, 0);
    assert_eq!(alone.schedule.peer(peer).unwrap().in_flight_len, 0);
}

#[test]
fn old_and_false_news_changes_nothing() {
    let mut alone = Alone::new(40);
    alone.seeder(1, RTT);
    alone.seeder(2, RTT);
    let asked = asks(&alone.want(1, 0..1, Urgency::Now));
    let other = PeerKey(3 - asked[0].peer);
    let (peer, request) = (PeerKey(asked[0].peer), asked[0].request);
    let before = alone.schedule.progress();
    let (wire_len, good) = (1, true);
    for event in [
        Event::Came { peer: other, request, index: 0, wire_len, good },
        Event::Came { peer, request, index: 1, wire_len, good },
        Event::Came { peer, request: RequestKey(77), index: 0, wire_len, good },
        Event::Came { peer: other, request, index: 0, wire_len, good: false },
        Event::Ended { peer: other, request, absent: vec![0] },
        Event::Ended { peer, request: RequestKey(0), absent: vec![0, 9] },
        Event::Failed { peer: other, request },
        Event::Busy { peer: PeerKey(9), request, retry_us: 1 },
        Event::Serves { peer: PeerKey(9), file: FILE, have: Have::All },
        Event::ServesNot { peer: PeerKey(9), file: FileKey(9) },
        Event::Unwant { ticket: TicketKey(9) },
        Event::PeerDown { peer: PeerKey(9) },
        Event::Rtt { peer: PeerKey(9), us: 0 },
    ] {
        let out = alone.tell(event.clone());
        assert!(asks(&out).is_empty(), "{event:?}: {out:?}");
        assert_eq!(alone.schedule.progress(), before, "{event:?}");
    }
    alone.want(1, 5..9, Urgency::Now);
    assert_eq!(alone.schedule.progress(), before, "the ticket is open already");
    assert!(alone.came(&asked[0], 0, true).contains(&Action::Done { ticket: TicketKey(1) }));
}

#[test]
fn a_ban_outlasts_a_return() {
    let mut alone = Alone::new(40);
    alone.seeder(1, RTT);
    let asked = asks(&alone.want(1, 0..1, Urgency::Now));
    let out = alone.came(&asked[0], 0, false);
    assert!(matches!(out[..], [Action::Ban { for_us: BAN_US, .. }, ..]), "{out:?}");
    alone.tell(Event::PeerDown { peer: PeerKey(1) });
    assert!(asks(&alone.seeder(1, RTT)).is_empty());
    assert!(alone.schedule.peer(PeerKey(1)).unwrap().banned_until.is_some());
    alone.now += BAN_US;
    alone.seeder(1, RTT);
    assert_eq!(asks(&alone.want(2, 0..1, Urgency::Now)).len(), 1);
}

#[test]
fn deadlines_say_what_was_missing() {
    let mut alone = Alone::new(40);
    let out = alone.want(1, 0..1, Urgency::Now);
    assert!(out.contains(&Action::FindPeers { file: FILE }));
    alone.now += 31 * SECOND;
    assert_eq!(fails(&alone.tell(Event::Tick)), [FailReason::NoPeer]);
    alone.seeder(1, RTT);
    alone.want(2, 0..1, Urgency::Now);
    alone.now += 31 * SECOND;
    assert_eq!(fails(&alone.tell(Event::Tick)), [FailReason::TooSlow]);
    alone.serves(1, Have::None);
    alone.want(3, 0..1, Urgency::Now);
    alone.now += 31 * SECOND;
    assert_eq!(fails(&alone.tell(Event::Tick)), [FailReason::NobodyHas]);
    let (ticket, deadline, urgency) = (TicketKey(4), alone.now, Urgency::Now);
    let spans = alone.file.spans[..1].to_vec();
    let out = alone.tell(Event::Want { ticket, file: FILE, spans, urgency, deadline });
    assert_eq!(fails(&out).len(), 1, "it has passed already");
    assert_eq!(alone.schedule.progress().chunks, 0);
    let spans = Vec::new();
    let deadline = Time::MAX;
    let out = alone.tell(Event::Want { ticket, file: FILE, spans, urgency, deadline });
    assert_eq!(out, [Action::Done { ticket }], "nothing is wanted");
}

#[test]
fn searches_become_rare() {
    let mut alone = Alone::new(40);
    alone.want_all(1, Urgency::Now);
    let times = |said: Vec<(Time, Action)>| -> Vec<Time> {
        let finds = said.iter().filter(|(_, a)| matches!(a, Action::FindPeers { .. }));
        finds.map(|(at, _)| *at).collect()
    };
    let starved = times(alone.pass(120 * SECOND));
    let gaps: Vec<Time> = starved.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] <= 3 * SECOND, "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= FIND_US_STARVED * 5 / 4 + SECOND), "{gaps:?}");
    assert!((12..=22).contains(&starved.len()), "{} searches", starved.len());
    alone.seeder(1, RTT);
    let served = times(alone.pass(9 * SECOND));
    assert!(served.len() <= 2, "{served:?}");
}

#[test]
fn partial_holders_are_asked_again_ever_more_rarely() {
    let mut alone = Alone::new(40);
    alone.up(1, RTT);
    alone.serves(1, Have::None);
    alone.want_all(1, Urgency::Now);
    let mut times = Vec::new();
    for _ in 0..1200 {
        let said = alone.pass(100 * MS);
        if said.iter().any(|(_, action)| matches!(action, Action::AskHave { .. })) {
            times.push(alone.now);
            alone.serves(1, Have::None);
        }
    }
    let gaps: Vec<Time> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] >= HAVE_US_MIN && gaps[0] <= 4 * HAVE_US_MIN, "{gaps:?}");
    assert!(gaps.last().is_some_and(|gap| *gap >= HAVE_US_MAX / 2), "{gaps:?}");
}

#[test]
fn a_busy_peer_is_left_alone_for_as_long_as_it_says() {
    let mut alone = Alone::new(40);
    alone.seeder(1, RTT);
    let asked = asks(&alone.want(1, 0..1, Urgency::Now));
    let (peer, request) = (PeerKey(1), asked[0].request);
    assert!(asks(&alone.tell(Event::Busy { peer, request, retry_us: 700 * MS })).is_empty());
    let again = asks_later(&alone.pass(SECOND));
    assert_eq!(again.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [700 * MS]);
}

/// Distinct spans, cheap to make.
fn many(count: usize) -> Vec<ChunkSpan> {
    FileShape::even(0, 1 << 15)
        .spans
        .into_iter()
        .cycle()
        .zip(0..count as u64)
        .map(|(mut s, i)| {
            let mut id = *s.chunk.id.as_bytes();
            id[24..].copy_from_slice(&i.to_be_bytes());
            s.chunk.id = mega_storage::ChunkId::from_bytes(id);
            s.offset = i << 16;
            s
        })
        .collect()
}

#[test]
fn wants_have_limits() {
    let want = |alone: &mut Alone, ticket: u64, spans: Vec<ChunkSpan>| {
        let (ticket, deadline, urgency) = (TicketKey(ticket), Time::MAX, Urgency::Background);
        fails(&alone.tell(Event::Want { ticket, file: FILE, spans, urgency, deadline }))
    };
    let mut alone = Alone::new(1);
    let all = many(CHUNKS_MAX + 1);
    assert_eq!(want(&mut alone, 1, all.clone()), [FailReason::TooMuch]);
    assert_eq!(want(&mut alone, 2, all[1..].to_vec()), []);
    assert_eq!(want(&mut alone, 3, all[..1].to_vec()), [FailReason::TooMuch]);
    assert_eq!(alone.schedule.progress().chunks, CHUNKS_MAX);
    alone.tell(Event::Unwant { ticket: TicketKey(2) });
    let half = WAITS_MAX / 8;
    for ticket in 0..8 {
        assert_eq!(want(&mut alone, ticket, all[..half].to_vec()), []);
    }
    assert_eq!(want(&mut alone, 9, all[..1].to_vec()), [FailReason::TooMuch]);
    let mut alone = Alone::new(1);
    for ticket in 0..TICKETS_MAX as u64 {
        assert_eq!(want(&mut alone, ticket, all[..1].to_vec()), []);
    }
    assert_eq!(want(&mut alone, u64::MAX, all[..1].to_vec()), [FailReason::TooMuch]);
}

#[test]
fn peers_and_holders_have_limits() {
    let mut alone = Alone::new(64);
    for peer in 0..PEERS_MAX as u32 + 10 {
        alone.up(peer, RTT);
        alone.serves(peer, Have::All);
        if peer as usize >= PEERS_UP_MAX {
            assert!(!alone.schedule.peer(PeerKey(peer)).is_some_and(|peer| peer.is_up));
            alone.tell(Event::PeerDown { peer: PeerKey(peer - PEERS_UP_MAX as u32) });
            alone.up(peer, RTT);
            assert!(alone.schedule.peer(PeerKey(peer)).is_some_and(|peer| peer.is_up));
        }
    }
    assert_eq!(alone.schedule.peers().count(), PEERS_MAX);
    let mut alone = Alone::new(HOLDERS_MAX as u32 * 8);
    for peer in 0..HOLDERS_MAX as u32 + 1 {
        alone.seeder(peer, RTT);
    }
    let asked = asks(&alone.want(1, 0..HOLDERS_MAX * 8, Urgency::Background));
    let peers: std::collections::BTreeSet<u32> = asked.iter().map(|ask| ask.peer).collect();
    assert_eq!(peers.len(), HOLDERS_MAX);
}

#[test]
fn a_hundred_thousand_chunks_are_no_burden() {
    let mut alone = Alone::new(1);
    for peer in 1..9 {
        alone.seeder(peer, MS);
    }
    let (ticket, deadline, urgency) = (TicketKey(1), Time::MAX, Urgency::Background);
    let spans = many(100_000);
    let out = alone.tell(Event::Want { ticket, file: FILE, spans, urgency, deadline });
    let mut open: std::collections::VecDeque<Ask> = asks(&out).into();
    let mut events = 0u64;
    while let Some(ask) = open.pop_front() {
        for index in ask.indexes() {
            alone.now += 65_536 * SECOND / (8 * FAST);
            open.extend(asks(&alone.came(&ask, index, true)));
            events += 1;
        }
    }
    assert_eq!(events, 100_000, "each came once");
    let progress = alone.schedule.progress();
    assert_eq!((progress.tickets, progress.chunks, progress.requests), (0, 0, 0));
    assert_eq!(progress.counts.duplicate_len, 0);
}
