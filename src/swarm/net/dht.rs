//! What this node keeps of the DHT for others: bounded, nobody can fill it alone, values only when
//! they have been found right.
//!
//! It is in memory: what was announced comes again within its publisher's interval, and a node that
//! has been away has stale rows, not useful ones.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Values;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::kad::store::{Error, RecordStore, Result};
use libp2p::kad::{KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey};

use super::limits::{
    ADDRESS_LEN_MAX, ADDRESSES_MAX, OWN_KEYS_MAX, PROVIDED_KEYS_MAX, PROVIDED_KEYS_PER_PEER_MAX,
    PROVIDERS_PER_KEY_MAX, VALUE_LEN_MAX, VALUES_MAX,
};

/// Values and provider records, by key.
pub(super) struct DhtRows {
    own: PeerId,
    own_key: KBucketKey<PeerId>,
    values: HashMap<RecordKey, Record>,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    /// Keys that each peer is named a provider of.
    counts: HashMap<PeerId, usize>,
}

impl DhtRows {
    pub(super) fn new(own: PeerId) -> Self {
        Self {
            own,
            own_key: KBucketKey::from(own),
            values: HashMap::new(),
            providers: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    /// Keys that others named themselves providers of.
    fn others_key_count(&self) -> usize {
        self.providers.len().saturating_sub(self.counts.get(&self.own).copied().unwrap_or(0))
    }

    fn distance(&self, key: &RecordKey) -> KBucketDistance {
        self.own_key.distance(&KBucketKey::new(key.clone()))
    }

    /// Makes room for another value: what is farthest from us others keep, too.
    fn evict_value(&mut self, key: &RecordKey) -> bool {
        let is_own = |record: &Record| record.publisher.as_ref() == Some(&self.own);
        let others = self.values.iter().filter(|(_, record)| !is_own(record));
        let farthest = others.map(|(key, _)| (self.distance(key), key)).max_by_key(|(far, _)| *far);
        match farthest.map(|(far, key)| (far, key.clone())) {
            Some((far, farthest)) if far > self.distance(key) => {
                self.values.remove(&farthest);
                true
            }
            _ => false,
        }
    }

    /// Every row: its key, and its value, or its provider with where that is.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let values = self.values.values().map(|row| (row.key.to_vec(), row.value.clone()));
        let provider = |row: &ProviderRecord| {
            let addresses = row.addresses.iter().flat_map(|address| address.to_vec());
            let whole = row.provider.to_bytes().into_iter().chain(addresses).collect();
            (row.key.to_vec(), whole)
        };
        values.chain(self.providers.values().flatten().map(provider)).collect()
    }

    /// Drops provider records whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let counts = &mut self.counts;
        self.providers.retain(|_, rows| {
            rows.retain(|row| {
                let is_over = row.is_expired(now);
                if is_over {
                    less(counts, &row.provider);
                }
                !is_over
            });
            !rows.is_empty()
        });
        self.values.retain(|_, record| !record.is_expired(now));
    }
}

fn less(counts: &mut HashMap<PeerId, usize>, peer: &PeerId) {
    if let Some(count) = counts.get_mut(peer) {
        *count -= 1;
        if *count == 0 {
            counts.remove(peer);
        }
    }
}

/// Kept as the trait asks for it.
type Rows<'a, T> = std::vec::IntoIter<Cow<'a, T>>;

impl RecordStore for DhtRows {
    type RecordsIter<'a> =
        std::iter::Map<Values<'a, RecordKey, Record>, fn(&'a Record) -> Cow<'a, Record>>;
    type ProvidedIter<'a> = Rows<'a, ProviderRecord>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.values.get(key).map(Cow::Borrowed)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        if record.value.len() > VALUE_LEN_MAX {
            return Err(Error::ValueTooLarge);
        }
        let is_new = !self.values.contains_key(&record.key);
        if is_new && self.values.len() >= VALUES_MAX && !self.evict_value(&record.key) {
            return Err(Error::MaxRecords);
        }
        self.values.insert(record.key.clone(), record);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.values.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.values.values().map(Cow::Borrowed)
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        record.addresses.retain(|address| address.len() <= ADDRESS_LEN_MAX);
        record.addresses.truncate(ADDRESSES_MAX);
        let is_own = record.provider == self.own;
        let count = self.counts.get(&record.provider).copied().unwrap_or(0);
        let most = if is_own { OWN_KEYS_MAX } else { PROVIDED_KEYS_PER_PEER_MAX };
        let is_full = !is_own && self.others_key_count() >= PROVIDED_KEYS_MAX;
        let rows = self.providers.get_mut(&record.key);
        let is_new_key = rows.is_none();
        if let Some(rows) = rows {
            if let Some(row) = rows.iter_mut().find(|row| row.provider == record.provider) {
                *row = record;
                return Ok(());
            }
            // Those that came first stay: a flood does not push anybody out.
            if rows.len() >= PROVIDERS_PER_KEY_MAX && !is_own {
                return Ok(());
            }
        }
        if count >= most || (is_new_key && is_full) {
            return Err(Error::MaxProvidedKeys);
        }
        *self.counts.entry(record.provider).or_default() += 1;
        self.providers.entry(record.key.clone()).or_default().push(record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.providers.get(key).cloned().unwrap_or_default()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        let own = |row: &&ProviderRecord| row.provider == self.own;
        let rows: Vec<_> =
            self.providers.values().flatten().filter(own).map(Cow::Borrowed).collect();
        rows.into_iter()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let Some(rows) = self.providers.get_mut(key) else { return };
        let before = rows.len();
        rows.retain(|row| row.provider != *provider);
        let has_gone = rows.len() < before;
        if rows.is_empty() {
            self.providers.remove(key);
        }
        if has_gone {
            less(&mut self.counts, provider);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> RecordKey {
        RecordKey::new(&number.to_be_bytes())
    }

    #[test]
    fn one_peer_cannot_fill_the_rows() {
        let (own, other, third) = (PeerId::random(), PeerId::random(), PeerId::random());
        let mut rows = DhtRows::new(own);
        let put = |rows: &mut DhtRows, number, peer| {
            rows.add_provider(ProviderRecord::new(key(number), peer, Vec::new()))
        };
        for number in 0..PROVIDED_KEYS_PER_PEER_MAX {
            put(&mut rows, number, other).expect("within its share");
        }
        assert!(put(&mut rows, PROVIDED_KEYS_PER_PEER_MAX, other).is_err());
        put(&mut rows, 0, other).expect("it may say it again");
        put(&mut rows, PROVIDED_KEYS_PER_PEER_MAX, third).expect("another may");
        rows.remove_provider(&key(7), &other);
        put(&mut rows, 9999, other).expect("there is room again");
        for number in 0..OWN_KEYS_MAX {
            put(&mut rows, number, own).expect("our own have their own share");
        }
        assert_eq!(rows.provided().count(), OWN_KEYS_MAX);
    }

    #[test]
    fn many_peers_cannot_fill_the_rows_either() {
        let mut rows = DhtRows::new(PeerId::random());
        let mut refused = 0;
        for number in 0..PROVIDED_KEYS_MAX + 100 {
            let row = ProviderRecord::new(key(number), PeerId::random(), Vec::new());
            refused += usize::from(rows.add_provider(row).is_err());
        }
        assert_eq!((rows.providers.len(), refused), (PROVIDED_KEYS_MAX, 100));
        for _ in 0..2 * PROVIDERS_PER_KEY_MAX {
            let row = ProviderRecord::new(key(1), PeerId::random(), Vec::new());
            rows.add_provider(row).expect("not kept, not refused");
        }
        assert_eq!(rows.providers(&key(1)).len(), PROVIDERS_PER_KEY_MAX);
    }

    #[test]
    fn addresses_and_values_are_bounded() {
        let mut rows = DhtRows::new(PeerId::random());
        let address = "/ip4/1.2.3.4/tcp/5".parse().expect("an address");
        let row = ProviderRecord::new(key(1), PeerId::random(), vec![address; 100]);
        rows.add_provider(row).expect("kept");
        assert_eq!(rows.providers(&key(1))[0].addresses.len(), ADDRESSES_MAX);
        rows.put(Record::new(key(1), vec![0; VALUE_LEN_MAX])).expect("at the limit");
        assert!(rows.put(Record::new(key(2), vec![0; VALUE_LEN_MAX + 1])).is_err());
        for number in 0..VALUES_MAX + 50 {
            let _ = rows.put(Record::new(key(number), Vec::new()));
        }
        assert_eq!(rows.values.len(), VALUES_MAX);
    }

    #[test]
    fn what_is_over_goes() {
        let mut rows = DhtRows::new(PeerId::random());
        let now = Instant::now();
        let (old, other) = (PeerId::random(), PeerId::random());
        let mut row = ProviderRecord::new(key(1), old, Vec::new());
        row.expires = Some(now);
        rows.add_provider(row).expect("kept");
        rows.add_provider(ProviderRecord::new(key(1), other, Vec::new())).expect("kept");
        rows.expire(now);
        let left: Vec<PeerId> = rows.providers(&key(1)).iter().map(|row| row.provider).collect();
        assert_eq!(left, [other]);
        assert!(!rows.counts.contains_key(&old));
    }
}
