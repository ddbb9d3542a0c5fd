//! Access tokens: who but the owner may read and write over the network.
//!
//! A token's secret is not here, only its SHA-256, which whoever makes the secret computes. Numbers
//! come from a counter and are never reused; that the counter is there says that a token was once
//! made, whatever was revoked since.
//!
//! Invariant: a token of one repository is bound to its number, not to its name. A repository that
//! gets the name later is not opened by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::db::{Db, Durability, Family};
use crate::error::{Result, StoreError};
use crate::id::RepoId;
use crate::outbox::damaged;
use crate::row::{RowReader, put_counted};

/// Longest note, in bytes.
pub const TOKEN_NOTE_LEN_MAX: usize = 200;
/// Most tokens at a time: they are listed whole.
pub const TOKENS_MAX: usize = 10_000;

/// Row of family `store` that holds the next token's number.
const NEXT_KEY: &[u8] = b"token_next";
/// From the secret's hash to the number.
const HASH_PREFIX: &[u8] = b"token_hash/";
/// From the number to the record.
const RECORD_PREFIX: &[u8] = b"token_record/";
const RECORD_VERSION: u8 = 1;

/// What a token opens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TokenScope {
    /// Every repository, those that are made later too.
    All,
    /// One repository.
    Repo(RepoId),
}

/// What a new token is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewToken {
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it opens.
    pub scope: TokenScope,
    /// It may write.
    pub can_write: bool,
    /// When it ends, in seconds since 1970; never when absent.
    pub expires_unix: Option<u64>,
    /// What its owner calls it.
    pub note: String,
}

/// A token's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its number.
    pub id: u32,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it opens.
    pub scope: TokenScope,
    /// It may write.
    pub can_write: bool,
    /// When it was made, in seconds since 1970.
    pub created_unix: u64,
    /// When it ends, in seconds since 1970; never when absent.
    pub expires_unix: Option<u64>,
    /// What its owner calls it.
    pub note: String,
}

impl Token {
    /// Whether it still opens anything at `now_unix`.
    pub fn is_live(&self, now_unix: u64) -> bool {
        self.expires_unix.is_none_or(|end| now_unix < end)
    }
}

/// Tokens by number and by hash.
pub struct TokenStore {
    db: Arc<Db>,
    /// Kept because every request asks.
    was_one_made: AtomicBool,
}

impl TokenStore {
    pub(crate) fn new(db: Arc<Db>) -> Result<Self> {
        let was_one_made = AtomicBool::new(db.contains(Family::Store, NEXT_KEY)?);
        Ok(Self { db, was_one_made })
    }

    /// Whether a token was ever made in this store, revoked or not. Does not block.
    pub fn was_one_made(&self) -> bool {
        self.was_one_made.load(Ordering::Acquire)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a note past [`TOKEN_NOTE_LEN_MAX`] or more than [`TOKENS_MAX`]
    /// tokens.
    pub fn create(&self, new: &NewToken) -> Result<Token> {
        limit("bytes of a note", TOKEN_NOTE_LEN_MAX, new.note.len())?;
        let _lock = self.db.commit_lock();
        limit("tokens", TOKENS_MAX, self.list()?.len() + 1)?;
        let id = self.next_id()?;
        let token = Token {
            id,
            hash: new.hash,
            scope: new.scope,
            can_write: new.can_write,
            created_unix: now_unix(),
            expires_unix: new.expires_unix,
            note: new.note.clone(),
        };
        let next = id.checked_add(1).ok_or(StoreError::Limit {
            what: "tokens ever made",
            limit: u64::from(u32::MAX),
            actual: u64::from(u32::MAX) + 1,
        })?;
        let mut batch = self.db.batch();
        batch.put(Family::Store, NEXT_KEY, &next.to_be_bytes());
        batch.put(Family::Store, &hash_key(&token.hash), &id.to_be_bytes());
        batch.put(Family::Store, &record_key(id), &encode(&token));
        self.db.commit(batch, Durability::Synced)?;
        self.was_one_made.store(true, Ordering::Release);
        Ok(token)
    }

    /// The token whose secret has this SHA-256, ended or not. The caller compares
    /// [`Token::hash`] in constant time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find(&self, hash: &[u8; 32]) -> Result<Option<Token>> {
        let key = hash_key(hash);
        let Some(row) = self.db.get(Family::Store, &key)? else { return Ok(None) };
        let id = row.as_ref().try_into();
        let id = id.map_err(|_| damaged(Family::Store, &key, "not a token's number"))?;
        let id = u32::from_be_bytes(id);
        // Revoked between the two reads: then there is none.
        let row = self.db.get(Family::Store, &record_key(id))?;
        row.map(|row| decode(id, &row)).transpose()
    }

    /// All tokens by number, ended ones too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self) -> Result<Vec<Token>> {
        let mut tokens = Vec::new();
        for row in self.db.scan(Family::Store, RECORD_PREFIX) {
            let (key, value) = row?;
            let id = key.strip_prefix(RECORD_PREFIX).and_then(|id| id.try_into().ok());
            let id = id.ok_or_else(|| damaged(Family::Store, &key, "not a token's key"))?;
            tokens.push(decode(u32::from_be_bytes(id), &value)?);
        }
        Ok(tokens)
    }

    /// Takes a token away; says whether there was one.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn revoke(&self, id: u32) -> Result<bool> {
        let _lock = self.db.commit_lock();
        let Some(row) = self.db.get(Family::Store, &record_key(id))? else { return Ok(false) };
        let token = decode(id, &row)?;
        drop(row);
        let mut batch = self.db.batch();
        batch.delete(Family::Store, &hash_key(&token.hash));
        batch.delete(Family::Store, &record_key(id));
        self.db.commit(batch, Durability::Synced)?;
        Ok(true)
    }

    fn next_id(&self) -> Result<u32> {
        match self.db.get(Family::Store, NEXT_KEY)? {
            None => Ok(1),
            Some(row) => match row.as_ref().try_into() {
                Ok(bytes) => Ok(u32::from_be_bytes(bytes)),
                Err(_) => Err(damaged(Family::Store, NEXT_KEY, "not a counter")),
            },
        }
    }
}

fn limit(what: &'static str, limit: usize, actual: usize) -> Result<()> {
    match actual > limit {
        true => Err(StoreError::Limit { what, limit: limit as u64, actual: actual as u64 }),
        false => Ok(()),
    }
}

fn hash_key(hash: &[u8; 32]) -> Vec<u8> {
    [HASH_PREFIX, hash].concat()
}

fn record_key(id: u32) -> Vec<u8> {
    [RECORD_PREFIX, &id.to_be_bytes()].concat()
}

fn encode(token: &Token) -> Vec<u8> {
    let mut value = vec![RECORD_VERSION, u8::from(token.can_write)];
    let repo = match token.scope {
        TokenScope::All => 0,
        TokenScope::Repo(id) => id.0,
    };
    value.extend_from_slice(&repo.to_be_bytes());
    value.extend_from_slice(&token.created_unix.to_be_bytes());
    value.extend_from_slice(&token.expires_unix.unwrap_or(0).to_be_bytes());
    value.extend_from_slice(&token.hash);
    put_counted(&mut value, token.note.as_bytes());
    value
}

fn decode(id: u32, value: &[u8]) -> Result<Token> {
    let read = || -> Option<Token> {
        let mut row = RowReader::new(value);
        if row.u8()? != RECORD_VERSION {
            return None;
        }
        let can_write = match row.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let scope = match row.u32()? {
            0 => TokenScope::All,
            repo => TokenScope::Repo(RepoId(repo)),
        };
        let created_unix = row.u64()?;
        let expires_unix = Some(row.u64()?).filter(|end| *end != 0);
        let hash = row.bytes(32)?.try_into().ok()?;
        let note = std::str::from_utf8(row.counted()?).ok()?.to_owned();
        let token = Token { id, hash, scope, can_write, created_unix, expires_unix, note };
        row.rest().is_empty().then_some(token)
    };
    read().ok_or_else(|| damaged(Family::Store, &record_key(id), "not a token"))
}

fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDb;

    fn new(hash: u8, scope: TokenScope) -> NewToken {
        let note = format!("note {hash}");
        NewToken { hash: [hash; 32], scope, can_write: hash > 1, expires_unix: None, note }
    }

    #[test]
    fn tokens_are_found_by_their_hash_until_they_are_revoked() {
        let test = TestDb::new();
        let tokens = TokenStore::new(test.db.clone()).expect("opened");
        assert!(!tokens.was_one_made());
        let one = tokens.create(&new(1, TokenScope::All)).expect("made");
        let two = tokens.create(&new(2, TokenScope::Repo(RepoId(7)))).expect("made");
        assert_eq!((one.id, two.id), (1, 2));
        assert_eq!(tokens.find(&[1; 32]).expect("read"), Some(one.clone()));
        assert_eq!(tokens.find(&[2; 32]).expect("read"), Some(two.clone()));
        assert_eq!(tokens.find(&[3; 32]).expect("read"), None);
        assert_eq!(tokens.list().expect("read"), [one, two.clone()]);
        assert!(tokens.revoke(1).expect("written") && !tokens.revoke(1).expect("written"));
        assert_eq!(tokens.find(&[1; 32]).expect("read"), None);
        assert_eq!(tokens.list().expect("read"), [two]);
        assert!(tokens.revoke(2).expect("written"));
        drop(tokens);
        let test = test.reopen();
        let tokens = TokenStore::new(test.db.clone()).expect("opened");
        assert!(tokens.was_one_made(), "none is left, but one was made");
        assert_eq!(tokens.create(&new(9, TokenScope::All)).expect("made").id, 3, "never reused");
    }

    #[test]
    fn a_token_ends_at_its_second() {
        let test = TestDb::new();
        let tokens = TokenStore::new(test.db.clone()).expect("opened");
        let ending = NewToken { expires_unix: Some(100), ..new(1, TokenScope::All) };
        let token = tokens.create(&ending).expect("made");
        assert!(token.is_live(99) && !token.is_live(100));
        assert_eq!(tokens.find(&[1; 32]).expect("read"), Some(token));
    }

    #[test]
    fn a_note_has_a_limit() {
        let test = TestDb::new();
        let tokens = TokenStore::new(test.db.clone()).expect("opened");
        let with = |len| NewToken { note: "x".repeat(len), ..new(1, TokenScope::All) };
        tokens.create(&with(TOKEN_NOTE_LEN_MAX)).expect("at the limit");
        assert!(matches!(
            tokens.create(&with(TOKEN_NOTE_LEN_MAX + 1)),
            Err(StoreError::Limit { .. })
        ));
    }

    #[test]
    fn golden_rows() {
        let token = Token {
            id: 5,
            hash: [0xab; 32],
            scope: TokenScope::Repo(RepoId(3)),
            can_write: true,
            created_unix: 1,
            expires_unix: Some(2),
            note: "ci".to_owned(),
        };
        let hex: String = encode(&token).iter().map(|b| format!("{b:02x}")).collect();
        let hash = "ab".repeat(32);
        let expected = format!("0101000000030000000000000001{:016x}{hash}02{}", 2, "6369");
        assert_eq!(hex, expected);
        assert_eq!(decode(5, &encode(&token)).expect("a token"), token);
        for cut in 0..encode(&token).len() {
            assert!(decode(5, &encode(&token)[..cut]).is_err(), "{cut}");
        }
    }
}
