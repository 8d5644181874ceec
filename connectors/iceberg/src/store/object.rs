//! Files in object stores, on opendal. `iceberg-storage-opendal` opens a store, and looks its credentials up,
//! for every request, fixes the time limits, and leaves the parts of an upload that is given up: hence our own.
//!
//! What must hold: an upload is in the store whole or not at all; its parts are removed when it is given up.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileMetadata, FileRead, FileWrite};
use iceberg::{Error, ErrorKind, Result};
use opendal::layers::{RetryEvent, RetryLayer, TimeoutLayer};
use opendal::{Operator, Writer};
use tokio::runtime::Handle;

use super::{Scheme, Settings, services};

/// A file goes up in parts of so many bytes: at most 10,000 of them make a file, and an open file buffers
/// one and uploads [`PARTS_AT_A_TIME`].
const PART: usize = 8 << 20;
/// Parts of one file that are on their way at a time.
const PARTS_AT_A_TIME: usize = 2;
/// How often a request that failed for a passing reason is repeated.
const RETRIES: usize = 4;
/// The first wait between two attempts; it doubles, with up to as much again by chance.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The buckets in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    settings: Settings,
    open: Arc<RwLock<HashMap<String, Operator>>>,
}

/// An object, or the place for one.
pub(super) struct Object {
    store: Operator,
    key: String,
}

impl Objects {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, open: Arc::default() }
    }

    /// The object that a location names.
    pub(super) fn of(&self, scheme: Scheme, location: &str) -> Result<Object> {
        let wrong = |what: &str| Error::new(ErrorKind::DataInvalid, format!("{what}: {location}"));
        let (_, rest) = Scheme::of(location).map_err(|m| wrong(&m))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("a location without a bucket"));
        }
        // The store's client would take these for the same object, which other readers do not.
        if key.contains("//") || key.starts_with('/') || key.trim() != key {
            return Err(wrong("a location with an empty level or with spaces at its ends is not supported"));
        }
        let root = &location[..location.len() - rest.len() + bucket.len()];
        if let Some(store) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(root) {
            return Ok(Object { store: store.clone(), key: key.to_owned() });
        }
        let store = services::open(scheme, root, bucket, &self.settings)?
            // Inside the retries: each attempt has the time for itself.
            .layer(TimeoutLayer::new().with_timeout(self.settings.timeout).with_io_timeout(self.settings.timeout))
            .layer(
                RetryLayer::new()
                    .with_max_times(RETRIES)
                    .with_min_delay(FIRST_WAIT)
                    .with_max_delay(LONGEST_WAIT)
                    .with_factor(2.0)
                    .with_jitter()
                    .with_notify(|event: RetryEvent<'_>| {
                        tracing::debug!(error = %event.err, "the object store is asked again");
                    }),
            );
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let store = open.entry(root.to_owned()).or_insert(store).clone();
        Ok(Object { store, key: key.to_owned() })
    }
}

impl Object {
    pub(super) async fn exists(self) -> Result<bool> {
        self.store.exists(&self.key).await.map_err(failed)
    }

    pub(super) async fn metadata(self) -> Result<FileMetadata> {
        let size = self.store.stat(&self.key).await.map_err(failed)?.content_length();
        Ok(FileMetadata { size })
    }

    pub(super) async fn read(self) -> Result<Bytes> {
        Ok(self.store.read(&self.key).await.map_err(failed)?.to_bytes())
    }

    pub(super) async fn reader(self) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader(self.store.reader(&self.key).await.map_err(failed)?)))
    }

    pub(super) async fn write(self, bytes: Bytes) -> Result<()> {
        self.store.write(&self.key, bytes).await.map(drop).map_err(failed)
    }

    pub(super) async fn writer(self) -> Result<Box<dyn FileWrite>> {
        let writer = self.store.writer_with(&self.key).chunk(PART).concurrent(PARTS_AT_A_TIME);
        let writer = Some(writer.await.map_err(failed)?);
        Ok(Box::new(Upload { object: self, writer, bytes: 0, runtime: Handle::current() }))
    }

    pub(super) async fn delete(self) -> Result<()> {
        self.store.delete(&self.key).await.map_err(failed)
    }

    pub(super) async fn delete_prefix(self) -> Result<()> {
        let prefix = format!("{}/", self.key.trim_end_matches('/'));
        self.store.delete_with(&prefix).recursive(true).await.map_err(failed)
    }
}

struct Reader(opendal::Reader);

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: std::ops::Range<u64>) -> Result<Bytes> {
        Ok(self.0.read(range).await.map_err(failed)?.to_bytes())
    }
}

/// A file on its way. Nothing of it is there before it is closed; dropping it unclosed takes its parts away.
struct Upload {
    object: Object,
    /// None once it has ended, one way or the other.
    writer: Option<Writer>,
    bytes: u64,
    runtime: Handle,
}

#[async_trait]
impl FileWrite for Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Err(ended()) };
        self.bytes += bytes.len() as u64;
        writer.write(bytes).await.map_err(failed)
    }

    async fn close(&mut self) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Err(ended()) };
        let Err(e) = writer.close().await else { return Ok(()) };
        // The answer may have been lost, and the upload have ended before it was asked for again. Names are
        // used once, so an object of this size is this file.
        let there = self.object.store.stat(&self.object.key).await;
        if there.is_ok_and(|object| object.content_length() == self.bytes) {
            return Ok(());
        }
        abort(writer).await;
        Err(failed(e))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if Handle::try_current().is_ok() {
            self.runtime.spawn(abort(writer));
        } else {
            // A writer's own thread: whoever waits for it finds nothing left.
            self.runtime.block_on(abort(writer));
        }
    }
}

async fn abort(mut writer: Writer) {
    if let Err(e) = writer.abort().await {
        tracing::debug!(error = %e, "parts of an upload that was given up may stay behind");
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unexpected, "the file is closed already")
}

fn failed(e: opendal::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "the object store failed").with_source(e)
}

/// What an object store said, without the request's details.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: opendal::ErrorKind,
    message: String,
}

impl Refusal {
    /// Whether it will go on refusing: no permission, no bucket, no such object. Credentials that have expired
    /// can be renewed.
    pub(crate) fn is_permanent(&self) -> bool {
        use opendal::ErrorKind::{ConfigInvalid, NotFound, PermissionDenied, Unsupported};
        matches!(self.kind, ConfigInvalid | NotFound | PermissionDenied | Unsupported)
            && !self.message.contains("ExpiredToken")
            || self.message.contains(services::NO_CREDENTIALS)
    }

    pub(super) fn is_permission(&self) -> bool {
        self.kind == opendal::ErrorKind::PermissionDenied
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for Refusal {}

/// What the object store said, where that is what an error is about.
pub(crate) fn refusal(e: &iceberg::Error) -> Option<Refusal> {
    let mut cause = std::error::Error::source(e);
    while let Some(error) = cause {
        if let Some(e) = error.downcast_ref::<opendal::Error>() {
            let mut message = e.message().to_owned();
            let mut deeper = std::error::Error::source(e);
            while let Some(cause) = deeper {
                message = format!("{message}: {cause}");
                deeper = cause.source();
            }
            return Some(Refusal { kind: e.kind(), message });
        }
        cause = error.source();
    }
    None
}
