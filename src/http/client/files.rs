//! Files over HTTP: which are there (one LFS batch), their chunk lists, runs of chunks by range.
//!
//! A run of neighbours is one Range request of the file, not one request a chunk: on one connection
//! that is as many round trips less, and each chunk is verified by itself all the same.

use std::collections::HashMap;
use std::io::Read;
use std::ops::ControlFlow;

use mega_storage::{
    ChunkId, ChunkRef, ChunkSource, ChunkSpan, ChunkTake, FileId, ManifestPage, Pointer,
    SourceError, SourceResult, Urgency,
};
use reqwest::StatusCode;
use reqwest::header::RANGE;
use serde::{Deserialize, Serialize};

use super::HttpSource;
use super::limits::PAGE_CHUNKS;
use super::web::{whole, wrong};

/// The LFS protocol's media type.
const LFS_JSON: &str = "application/vnd.git-lfs+json";

#[derive(Serialize)]
struct Batch {
    operation: &'static str,
    transfers: [&'static str; 1],
    objects: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct BatchAnswer {
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    size: u64,
    #[serde(default)]
    actions: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct ChunkList {
    size: u64,
    chunks: Vec<ListedChunk>,
}

#[derive(Deserialize)]
struct ListedChunk {
    id: String,
    offset: u64,
    size: u32,
}

impl ChunkSource for HttpSource {
    fn name(&self) -> String {
        self.url.as_shown()
    }

    fn files(&self, files: &[Pointer]) -> SourceResult<Vec<Option<u64>>> {
        let address = format!("{}/info/lfs/objects/batch", self.url.as_shown());
        let named = |pointer: &Pointer| Named { oid: pointer.file.to_string(), size: pointer.len };
        let batch = Batch {
            operation: "download",
            transfers: ["basic"],
            objects: files.iter().map(named).collect(),
        };
        let body = serde_json::to_vec(&batch).map_err(|e| wrong(e.to_string()))?;
        let response = self.web.send(&|| {
            self.web
                .client()
                .post(&address)
                .header("Accept", LFS_JSON)
                .header("Content-Type", LFS_JSON)
                .body(body.clone())
        })?;
        let Some(response) = response else { return Ok(vec![None; files.len()]) };
        let answer: BatchAnswer =
            serde_json::from_slice(&whole(response)?).map_err(|e| wrong(e.to_string()))?;
        let there = |a: &Answered| a.error.is_none() && a.actions.is_some();
        let lens: HashMap<String, u64> =
            answer.objects.into_iter().filter(there).map(|a| (a.oid, a.size)).collect();
        Ok(files.iter().map(|file| lens.get(&file.file.to_string()).copied()).collect())
    }

    fn manifest(&self, file: &FileId, offset: u64) -> SourceResult<Option<ManifestPage>> {
        let address = format!(
            "{}/v1/file/{file}/chunks?repo={}&from={offset}&limit={PAGE_CHUNKS}",
            self.url.base(),
            self.url.repo()
        );
        let Some(response) = self.web.send(&|| self.web.client().get(&address))? else {
            return Ok(None);
        };
        let list: ChunkList =
            serde_json::from_slice(&whole(response)?).map_err(|e| wrong(e.to_string()))?;
        let span = |listed: ListedChunk| -> SourceResult<ChunkSpan> {
            let id: ChunkId = listed.id.parse().map_err(|_| wrong("a chunk's id is none"))?;
            Ok(ChunkSpan { chunk: ChunkRef { id, len: listed.size }, offset: listed.offset })
        };
        let spans = list.chunks.into_iter().map(span).collect::<SourceResult<_>>()?;
        Ok(Some(ManifestPage::unsigned(list.size, spans)))
    }

    fn chunks(
        &self,
        file: &FileId,
        spans: &[ChunkSpan],
        _urgency: Urgency,
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<()> {
        let end = |span: &ChunkSpan| span.offset + u64::from(span.chunk.len);
        for run in spans.chunk_by(|a, b| end(a) == b.offset) {
            if self.run(file, run, take)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl HttpSource {
    /// Brings neighbours in one request.
    fn run(
        &self,
        file: &FileId,
        run: &[ChunkSpan],
        take: &mut ChunkTake<'_>,
    ) -> SourceResult<ControlFlow<()>> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(ControlFlow::Continue(()));
        };
        let address = format!("{}/v1/file/{file}?repo={}", self.url.base(), self.url.repo());
        let last_byte = last.offset + u64::from(last.chunk.len).saturating_sub(1);
        let range = format!("bytes={}-{last_byte}", first.offset);
        let send = || self.web.client().get(&address).header(RANGE, &range);
        let Some(mut response) = self.web.send(&send)? else {
            return Ok(ControlFlow::Continue(()));
        };
        // A whole file instead of the range would pass for other chunks' bytes.
        if response.status() != StatusCode::PARTIAL_CONTENT && first.offset > 0 {
            return Err(wrong("it answered another range"));
        }
        for span in run {
            let mut bytes = vec![0; span.chunk.len as usize];
            let read = response.read_exact(&mut bytes);
            read.map_err(|e| SourceError::Unreachable {
                reason: format!("the connection broke: {e}"),
            })?;
            if take(span, bytes.into()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
