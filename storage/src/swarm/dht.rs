//! Rows that this store keeps for others in the DHT: values and providers by key.
//!
//! Strangers write here, so each peer, each key and all together have a limit, and nothing is
//! thrown away unasked: the caller, who knows what is near, makes room. Losing rows costs nobody
//! but a little time: whoever put them puts them again.

use std::collections::HashMap;

use super::{DHT_KEYS_PER_PEER_MAX, DHT_PROVIDERS_MAX, DHT_PROVIDERS_PER_KEY_MAX, DHT_VALUES_MAX};
use super::{DhtKey, PROVIDER, PeerIdBytes, ROW_VERSION, SWARM_RECORD_LEN_MAX, SwarmStore, VALUE};
use super::{check_addresses, damaged, key, limit, put_addresses, take_addresses};
use crate::db::{Durability, Family};
use crate::error::Result;
use crate::row::{RowReader, put_counted};

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DhtValue {
    /// The peer that put it here.
    pub source: PeerIdBytes,
    /// When it ends, in seconds since 1970.
    pub expires_unix: u64,
    /// When it came, in seconds since 1970.
    pub stored_unix: u64,
    /// The value.
    pub bytes: Vec<u8>,
}

/// A provider of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DhtProvider {
    /// When that ends, in seconds since 1970.
    pub expires_unix: u64,
    /// When it said so, in seconds since 1970.
    pub stored_unix: u64,
    /// Where it is.
    pub addresses: Vec<Vec<u8>>,
}

/// How many rows there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DhtCounts {
    /// Values.
    pub values: usize,
    /// Providers of all keys together.
    pub providers: usize,
}

/// Counts of the rows, kept up to date under the lock.
#[derive(Default)]
pub(super) struct Tally {
    counts: DhtCounts,
    by_peer: HashMap<PeerIdBytes, usize>,
}

impl Tally {
    fn of(&self, peer: &PeerIdBytes) -> usize {
        self.by_peer.get(peer).copied().unwrap_or(0)
    }

    fn add(&mut self, peer: &PeerIdBytes) {
        *self.by_peer.entry(peer.clone()).or_default() += 1;
    }

    fn remove(&mut self, peer: &PeerIdBytes) {
        if let Some(count) = self.by_peer.get_mut(peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_peer.remove(peer);
            }
        }
    }
}

impl SwarmStore {
    /// The value of a key, ended or not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn dht_value(&self, at: &DhtKey) -> Result<Option<DhtValue>> {
        let key = value_key(at);
        self.db.get(Family::Swarm, &key)?.map(|row| decode_value(&key, &row)).transpose()
    }

    /// All values, by key.
    pub fn dht_values(&self) -> impl Iterator<Item = Result<(DhtKey, DhtValue)>> + '_ {
        self.db.scan(Family::Swarm, &[VALUE]).map(|row| {
            let (key, value) = row?;
            let at = key.get(1..).and_then(DhtKey::from_slice);
            Ok((at.ok_or_else(|| damaged(&key, "not a value's key"))?, decode_value(&key, &value)?))
        })
    }

    /// Adds or replaces the value of a key.
    ///
    /// # Errors
    /// [`crate::StoreError::Limit`] for a value past [`SWARM_RECORD_LEN_MAX`], more than
    /// [`DHT_KEYS_PER_PEER_MAX`] keys of its source or [`DHT_VALUES_MAX`] values.
    pub fn put_dht_value(&self, at: &DhtKey, value: &DhtValue) -> Result<()> {
        limit("bytes of a value in the DHT", SWARM_RECORD_LEN_MAX, value.bytes.len())?;
        let mut tallies = self.tallies.lock();
        let mut tally = self.tally(tallies.dht.take())?;
        let old = self.dht_value(at)?;
        let checked = match &old {
            None => limit("values in the DHT", DHT_VALUES_MAX, tally.counts.values + 1)
                .and_then(|()| check_share(&tally, &value.source)),
            Some(old) if old.source == value.source => Ok(()),
            Some(_) => check_share(&tally, &value.source),
        };
        if checked.is_ok() {
            let mut batch = self.db.batch();
            batch.put(Family::Swarm, &value_key(at), &encode_value(value));
            self.db.commit(batch, Durability::Logged)?;
            match &old {
                Some(old) => tally.remove(&old.source),
                None => tally.counts.values += 1,
            }
            tally.add(&value.source);
        }
        tallies.dht = Some(tally);
        checked
    }

    /// Takes the value of a key away; says whether there was one.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_dht_value(&self, at: &DhtKey) -> Result<bool> {
        let mut tallies = self.tallies.lock();
        let Some(old) = self.dht_value(at)? else { return Ok(false) };
        let mut batch = self.db.batch();
        batch.delete(Family::Swarm, &value_key(at));
        self.db.commit(batch, Durability::Logged)?;
        if let Some(tally) = &mut tallies.dht {
            tally.counts.values = tally.counts.values.saturating_sub(1);
            tally.remove(&old.source);
        }
        Ok(true)
    }

    /// The providers of a key, ended or not, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn dht_providers(&self, at: &DhtKey) -> Result<Vec<(PeerIdBytes, DhtProvider)>> {
        let rows = self.db.scan_few(Family::Swarm, &key(PROVIDER, &[at.as_bytes()]));
        rows.map(|row| provider_row(&row?).map(|(_, peer, provider)| (peer, provider))).collect()
    }

    /// All providers of all keys, by key and id.
    pub fn all_dht_providers(
        &self,
    ) -> impl Iterator<Item = Result<(DhtKey, PeerIdBytes, DhtProvider)>> + '_ {
        self.db.scan(Family::Swarm, &[PROVIDER]).map(|row| provider_row(&row?))
    }

    /// Adds or replaces a provider of a key.
    ///
    /// # Errors
    /// [`crate::StoreError::Limit`] for too many or too long addresses, more than
    /// [`DHT_KEYS_PER_PEER_MAX`] keys of the provider, [`DHT_PROVIDERS_PER_KEY_MAX`] providers of
    /// the key or [`DHT_PROVIDERS_MAX`] in all.
    pub fn put_dht_provider(
        &self,
        at: &DhtKey,
        peer: &PeerIdBytes,
        provider: &DhtProvider,
    ) -> Result<()> {
        check_addresses(&provider.addresses)?;
        let mut tallies = self.tallies.lock();
        let mut tally = self.tally(tallies.dht.take())?;
        let row_key = provider_key(at, peer);
        let is_new = !self.db.contains(Family::Swarm, &row_key)?;
        let checked = if is_new { self.check_new_provider(&tally, at, peer) } else { Ok(()) };
        if checked.is_ok() {
            let mut batch = self.db.batch();
            batch.put(Family::Swarm, &row_key, &encode_provider(provider));
            self.db.commit(batch, Durability::Logged)?;
            if is_new {
                tally.counts.providers += 1;
                tally.add(peer);
            }
        }
        tallies.dht = Some(tally);
        checked
    }

    fn check_new_provider(&self, tally: &Tally, at: &DhtKey, peer: &PeerIdBytes) -> Result<()> {
        limit("providers in the DHT", DHT_PROVIDERS_MAX, tally.counts.providers + 1)?;
        check_share(tally, peer)?;
        let count = self.dht_providers(at)?.len();
        limit("providers of one key in the DHT", DHT_PROVIDERS_PER_KEY_MAX, count + 1)
    }

    /// Takes a provider of a key away; says whether it was one.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn remove_dht_provider(&self, at: &DhtKey, peer: &PeerIdBytes) -> Result<bool> {
        let mut tallies = self.tallies.lock();
        let row_key = provider_key(at, peer);
        if !self.db.contains(Family::Swarm, &row_key)? {
            return Ok(false);
        }
        let mut batch = self.db.batch();
        batch.delete(Family::Swarm, &row_key);
        self.db.commit(batch, Durability::Logged)?;
        if let Some(tally) = &mut tallies.dht {
            tally.counts.providers = tally.counts.providers.saturating_sub(1);
            tally.remove(peer);
        }
        Ok(true)
    }

    /// Takes away what has ended by `now_unix`; says how many rows that were.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn drop_ended_dht(&self, now_unix: u64) -> Result<usize> {
        let mut count = 0;
        for row in self.dht_values() {
            let (at, value) = row?;
            if value.expires_unix <= now_unix {
                count += usize::from(self.remove_dht_value(&at)?);
            }
        }
        for row in self.all_dht_providers() {
            let (at, peer, provider) = row?;
            if provider.expires_unix <= now_unix {
                count += usize::from(self.remove_dht_provider(&at, &peer)?);
            }
        }
        Ok(count)
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn dht_counts(&self) -> Result<DhtCounts> {
        let mut tallies = self.tallies.lock();
        let tally = self.tally(tallies.dht.take())?;
        let counts = tally.counts;
        tallies.dht = Some(tally);
        Ok(counts)
    }

    /// The counts, made from the rows when nobody has needed them yet.
    fn tally(&self, known: Option<Tally>) -> Result<Tally> {
        if let Some(tally) = known {
            return Ok(tally);
        }
        let mut tally = Tally::default();
        for row in self.dht_values() {
            tally.counts.values += 1;
            tally.add(&row?.1.source);
        }
        for row in self.all_dht_providers() {
            tally.counts.providers += 1;
            tally.add(&row?.1);
        }
        Ok(tally)
    }
}

fn check_share(tally: &Tally, peer: &PeerIdBytes) -> Result<()> {
    limit("keys of one peer in the DHT", DHT_KEYS_PER_PEER_MAX, tally.of(peer) + 1)
}

fn value_key(at: &DhtKey) -> Vec<u8> {
    key(VALUE, &[at.as_bytes()])
}

fn provider_key(at: &DhtKey, peer: &PeerIdBytes) -> Vec<u8> {
    key(PROVIDER, &[at.as_bytes(), peer.as_bytes()])
}

fn encode_value(value: &DhtValue) -> Vec<u8> {
    let mut row = vec![ROW_VERSION];
    row.extend_from_slice(&value.expires_unix.to_be_bytes());
    row.extend_from_slice(&value.stored_unix.to_be_bytes());
    put_counted(&mut row, value.source.as_bytes());
    row.extend_from_slice(&value.bytes);
    row
}

fn decode_value(key: &[u8], value: &[u8]) -> Result<DhtValue> {
    let read = || {
        let mut row = RowReader::new(value);
        if row.u8()? != ROW_VERSION {
            return None;
        }
        let (expires_unix, stored_unix) = (row.u64()?, row.u64()?);
        let source = PeerIdBytes::new(row.counted()?)?;
        Some(DhtValue { source, expires_unix, stored_unix, bytes: row.rest().to_vec() })
    };
    read().ok_or_else(|| damaged(key, "not a value of the DHT"))
}

fn encode_provider(provider: &DhtProvider) -> Vec<u8> {
    let mut row = vec![ROW_VERSION];
    row.extend_from_slice(&provider.expires_unix.to_be_bytes());
    row.extend_from_slice(&provider.stored_unix.to_be_bytes());
    put_addresses(&mut row, &provider.addresses);
    row
}

fn provider_row(row: &(Box<[u8]>, Box<[u8]>)) -> Result<(DhtKey, PeerIdBytes, DhtProvider)> {
    let (key, value) = row;
    let read = || {
        let (at, peer) = key.get(1..)?.split_at_checked(32)?;
        let (at, peer) = (DhtKey::from_slice(at)?, PeerIdBytes::new(peer)?);
        let mut row = RowReader::new(value);
        if row.u8()? != ROW_VERSION {
            return None;
        }
        let (expires_unix, stored_unix) = (row.u64()?, row.u64()?);
        let addresses = take_addresses(&mut row)?;
        let provider = DhtProvider { expires_unix, stored_unix, addresses };
        row.rest().is_empty().then_some((at, peer, provider))
    };
    read().ok_or_else(|| damaged(key, "not a provider of the DHT"))
}
