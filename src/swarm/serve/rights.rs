//! What a peer may do with a repository.

use libp2p::PeerId;
use mega_storage::{Repo, RepoSettings, Visibility};

/// Who asks: a peer whose key has been proven by the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asker {
    /// Its id as text, as settings name it.
    peer: String,
    /// Whether the owner of this store let it into the mesh.
    is_mesh: bool,
}

/// What a peer may do with one repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PeerRights {
    /// Not even know that it is there.
    None,
    /// Read all of it.
    Read,
    /// Push too.
    Write,
}

impl Asker {
    /// A peer, and whether it is one of the mesh.
    pub fn new(peer: &PeerId, is_mesh: bool) -> Self {
        Self { peer: peer.to_base58(), is_mesh }
    }

    /// What it may do. Settings that name the peer count whatever the visibility.
    pub fn rights(&self, repo: &Repo, settings: &RepoSettings) -> PeerRights {
        if settings.lets_peer_write(&self.peer) {
            return PeerRights::Write;
        }
        let is_let_in = match repo.visibility {
            Visibility::Public => true,
            Visibility::Mesh => self.is_mesh,
            Visibility::Private => false,
        };
        match is_let_in || settings.lets_peer_read(&self.peer) {
            true => PeerRights::Read,
            false => PeerRights::None,
        }
    }
}
