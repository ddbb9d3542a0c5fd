//! Holds the answers of one request against the request: what comes must be what was asked for, in
//! its order, and end.

use super::error::WireError;
use super::reply::Reply;
use super::request::Request;

/// What an answer means for its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// More comes.
    More,
    /// It was the last one.
    Last,
}

/// A request that waits for its answers.
#[derive(Clone, Debug)]
pub struct Answering {
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// One answer of a kind, with so many items.
    One(Expected),
    /// A pack.
    Pack,
    /// Chunks: the plain length of each, and which came.
    Chunks {
        lens: Vec<u32>,
        came: Vec<bool>,
        next: usize,
    },
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Record,
    Refs,
    Headers(usize),
    Files(usize),
    Have,
    Manifest,
}

impl Answering {
    /// For a request that has been sent. CANCEL and BYE have no answer.
    pub fn new(request: &Request) -> Self {
        let state = match request {
            Request::Resolve { .. } => State::One(Expected::Record),
            Request::Refs { .. } => State::One(Expected::Refs),
            Request::Headers { ids, .. } => State::One(Expected::Headers(ids.len())),
            Request::Objects { .. } => State::Pack,
            Request::Files { files, .. } => State::One(Expected::Files(files.len())),
            Request::Have { .. } => State::One(Expected::Have),
            Request::Manifest { .. } => State::One(Expected::Manifest),
            Request::Chunks { spans, .. } => State::Chunks {
                lens: spans.iter().map(|span| span.chunk.len).collect(),
                came: vec![false; spans.len()],
                next: 0,
            },
            Request::Cancel | Request::Bye { .. } => State::Over,
        };
        Self { state }
    }

    /// Takes the next answer.
    ///
    /// # Errors
    /// [`WireError::NoAnswer`] for one that does not belong to the request, or comes after its last
    /// one.
    pub fn take(&mut self, reply: &Reply) -> Result<Step, WireError> {
        let refuse = |reason| Err(WireError::NoAnswer { kind: reply.kind(), reason });
        let step = match (&mut self.state, reply) {
            (State::Over, _) => return refuse("nothing was asked, or all is answered"),
            (_, Reply::NotFound | Reply::Busy { .. } | Reply::Bye { .. }) => Step::Last,
            (State::One(Expected::Record), Reply::Record(_))
            | (State::One(Expected::Refs), Reply::Refs { .. })
            | (State::One(Expected::Have), Reply::Have { .. })
            | (State::One(Expected::Manifest), Reply::Manifest(_)) => Step::Last,
            (State::One(Expected::Headers(count)), Reply::Headers(headers))
                if headers.len() == *count =>
            {
                Step::Last
            }
            (State::One(Expected::Files(count)), Reply::Files(lens)) if lens.len() == *count => {
                Step::Last
            }
            (State::Pack, Reply::Bytes(_)) => Step::More,
            (State::Pack, Reply::End { absent }) if absent.is_empty() => Step::Last,
            (State::Chunks { lens, came, next }, Reply::Chunk { index, chunk }) => {
                let index = usize::from(*index);
                if index < *next {
                    return refuse("the chunks do not come in the order of the request");
                }
                *next = index + 1;
                let (Some(len), Some(came)) = (lens.get(index), came.get_mut(index)) else {
                    return refuse("so many chunks were not asked for");
                };
                if chunk.plain_len != *len {
                    return refuse("the chunk has another length than was asked for");
                }
                *came = true;
                Step::More
            }
            (State::Chunks { came, .. }, Reply::End { absent }) => {
                let indexes = came.iter().enumerate().filter(|(_, came)| !**came);
                let missing = indexes.map(|(index, _)| index);
                if !missing.eq(absent.iter().map(|index| usize::from(*index))) {
                    return refuse("what it says is absent is not what did not come");
                }
                Step::Last
            }
            _ => return refuse("it is of another kind, or has more or fewer items"),
        };
        if step == Step::Last {
            self.state = State::Over;
        }
        Ok(step)
    }

    /// Whether the last answer has come.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}
