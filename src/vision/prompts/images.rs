//! The embeddings of image files: each distinct image is encoded once, however many files and
//! callers use it.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::EncodeError;
use super::reader::{ImageReader, Input};
use crate::engine::Embeddings;
use crate::vision::DiskCache;

/// Bytes of embeddings in memory beyond which the oldest are dropped.
const MAX_BYTES: usize = 512 << 20;

/// The hash of an image's pixels.
type ContentHash = [u8; 32];
/// A value computed once: later callers wait for the first.
type Slot<T> = Arc<OnceLock<Result<T, EncodeError>>>;

/// Encodes image files and keeps recent embeddings in memory.
#[derive(Debug)]
pub(super) struct ImageEmbeddings {
    reader: ImageReader,
    cache: Option<DiskCache>,
    /// Whether the warning that the cache cannot be written was logged.
    warned: AtomicBool,
    /// The content hash of each file.
    files: Mutex<HashMap<PathBuf, Slot<ContentHash>>>,
    recent: Mutex<Recent>,
}

/// Embeddings of recent images, oldest first.
#[derive(Debug, Default)]
struct Recent(VecDeque<(ContentHash, Slot<Arc<Embeddings>>)>);

impl ImageEmbeddings {
    pub fn new(reader: ImageReader, cache: Option<DiskCache>) -> Self {
        let warned = AtomicBool::new(false);
        Self { reader, cache, warned, files: Mutex::default(), recent: Mutex::default() }
    }

    pub fn reader(&self) -> &ImageReader {
        &self.reader
    }

    /// See [`PromptEncoder::image`](super::PromptEncoder::image).
    pub fn get(&self, path: &Path) -> Result<Arc<Embeddings>, EncodeError> {
        let file = Arc::clone(lock(&self.files).entry(path.to_owned()).or_default());
        let mut fresh = None;
        let content = file.get_or_init(|| {
            let input = self.reader.read(path)?;
            let content = input.content_hash();
            fresh = Some(self.embeddings(&input, content));
            Ok(content)
        });
        let content = content.clone()?;
        if let Some(embeddings) = fresh {
            return embeddings;
        }
        let known = lock(&self.recent).find(&content);
        if let Some(embeddings) = known.and_then(|slot| slot.get().cloned()) {
            return embeddings;
        }
        let input = self.reader.read(path)?;
        self.embeddings(&input, input.content_hash())
    }

    fn embeddings(&self, input: &Input, content: ContentHash) -> Result<Arc<Embeddings>, EncodeError> {
        let slot = lock(&self.recent).slot(content);
        slot.get_or_init(|| self.encode(input, content)).clone()
    }

    /// Reads embeddings from disk, or else encodes the image.
    fn encode(&self, input: &Input, content: ContentHash) -> Result<Arc<Embeddings>, EncodeError> {
        let (width, grid) = (self.reader.width(), self.reader.grid(input));
        let known = self.cache.as_ref().and_then(|cache| cache.get(&content, self.reader.values(input)));
        let values = if let Some(values) = known {
            values
        } else {
            let values = self.reader.encode(input)?;
            self.store(content, &values);
            values
        };
        let digest = u64::from_le_bytes(*content.first_chunk().expect("a hash has 32 bytes"));
        Ok(Arc::new(Embeddings { values, width, digest, grid }))
    }

    /// Writes embeddings to disk. A failure only costs time later, so it is logged and the run
    /// continues.
    fn store(&self, content: ContentHash, values: &[f32]) {
        let Some(cache) = &self.cache else { return };
        if let Err(error) = cache.put(&content, values)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("{error}; the next run encodes these images again");
        }
    }
}

impl Recent {
    fn find(&self, content: &ContentHash) -> Option<Slot<Arc<Embeddings>>> {
        self.0.iter().find(|(known, _)| known == content).map(|(_, slot)| Arc::clone(slot))
    }

    fn slot(&mut self, content: ContentHash) -> Slot<Arc<Embeddings>> {
        if let Some(slot) = self.find(&content) {
            return slot;
        }
        while self.bytes() > MAX_BYTES {
            self.0.pop_front();
        }
        let slot = Slot::default();
        self.0.push_back((content, Arc::clone(&slot)));
        slot
    }

    fn bytes(&self) -> usize {
        let of = |slot: &Slot<Arc<Embeddings>>| match slot.get() {
            Some(Ok(embeddings)) => embeddings.values.len() * size_of::<f32>(),
            _ => 0,
        };
        self.0.iter().map(|(_, slot)| of(slot)).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
