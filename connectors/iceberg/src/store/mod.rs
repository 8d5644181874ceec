//! Where files lie: folders of this machine and object stores, told apart by a location's scheme.
//!
//! What must hold: every request ends within its time limit; a file that is not closed leaves nothing, not
//! even parts of an upload; credentials are never shown. Must not know what the files mean.

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod object;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod services;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use connector_api::config::Secret;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, LocalFsStorage, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) use object::refusal;

/// Hands out a store's properties anew: those that hold credentials with an end.
#[async_trait]
pub(crate) trait Renew: fmt::Debug + Send + Sync {
    /// The properties as they are from now on.
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only credentials of S3 are renewed"))]
    async fn properties(&self) -> connector_api::Result<BTreeMap<String, Secret>>;
}

/// How to reach stores.
#[cfg_attr(
    not(any(feature = "s3", feature = "gcs", feature = "azure")),
    expect(dead_code, reason = "local files need no settings")
)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Iceberg's own properties of stores: `s3.endpoint`, `gcs.credentials-json` …
    pub(crate) properties: BTreeMap<String, Secret>,
    /// Longest time of one request.
    pub(crate) timeout: Duration,
    /// Asked before credentials among the properties expire, where they tell when they do.
    pub(crate) renewal: Option<Arc<dyn Renew>>,
}

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Files of this machine.
    Local,
    /// `s3://`, `s3a://`, `s3n://`.
    S3,
    /// `gs://`.
    Gcs,
    /// `abfss://`, `abfs://`.
    Azure,
}

impl Scheme {
    /// The store of a location, and what follows the scheme.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(location: &str) -> std::result::Result<(Self, &str), String> {
        let Some((scheme, rest)) = location.split_once("://") else { return Ok((Self::Local, location)) };
        match scheme {
            "file" => Ok((Self::Local, rest)),
            "s3" | "s3a" | "s3n" => Ok((Self::S3, rest)),
            "gs" => Ok((Self::Gcs, rest)),
            "abfss" | "abfs" => Ok((Self::Azure, rest)),
            other => Err(format!("storage \"{other}\" is not supported: use a path, file, s3, gs or abfss")),
        }
    }

    /// The feature that this program was built without and that the store needs.
    pub(crate) fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::S3 if !cfg!(feature = "s3") => Some("s3"),
            Self::Gcs if !cfg!(feature = "gcs") => Some("gcs"),
            Self::Azure if !cfg!(feature = "azure") => Some("azure"),
            _ => None,
        }
    }
}

/// Storage of every kind.
pub(crate) fn file_io(settings: &Settings) -> FileIO {
    FileIOBuilder::new(Arc::new(Factory { settings: settings.clone() })).build()
}

/// Asks a location's store for something, so that wrong settings, missing credentials and a store that is not
/// there show before any table is begun.
pub(crate) async fn probe(storage: &FileIO, location: &str) -> Result<()> {
    match storage.exists(format!("{location}/metadata/probe")).await {
        // What may be written need not be readable.
        #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
        Err(e) if object::refusal(&e).is_some_and(|r| r.is_permission()) => Ok(()),
        other => other.map(drop),
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Factory {
    // Not part of what is written: it holds credentials.
    #[serde(skip)]
    settings: Settings,
}

#[typetag::serde(name = "ConnectStores")]
impl StorageFactory for Factory {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(Stores::new(&self.settings)))
    }
}

/// The stores in use, each opened once, so that its credentials are looked up once.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stores {
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    #[serde(skip)]
    objects: object::Objects,
}

/// Where a path leads.
enum Place<'a> {
    Local(LocalFsStorage, &'a str),
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    Object(object::Object),
}

/// Does the same thing in whichever place a path leads to.
macro_rules! in_place {
    ($self:ident, $path:ident, $call:ident $(, $argument:expr)*) => {
        match $self.of($path)? {
            Place::Local(local, path) => local.$call(path $(, $argument)*).await,
            #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
            Place::Object(object) => object.$call($($argument),*).await,
        }
    };
}

impl Stores {
    #[cfg_attr(
        not(any(feature = "s3", feature = "gcs", feature = "azure")),
        expect(unused_variables, reason = "local files need no settings")
    )]
    fn new(settings: &Settings) -> Self {
        Self {
            #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
            objects: object::Objects::new(settings.clone()),
        }
    }

    fn of<'a>(&self, path: &'a str) -> Result<Place<'a>> {
        let (scheme, _) = Scheme::of(path).map_err(|m| Error::new(ErrorKind::FeatureUnsupported, m))?;
        match scheme {
            Scheme::Local => Ok(Place::Local(LocalFsStorage::new(), path)),
            #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
            scheme if scheme.missing_feature().is_none() => self.objects.of(scheme, path).map(Place::Object),
            scheme => {
                let feature = scheme.missing_feature().unwrap_or_default();
                let message = format!("this program was built without the feature \"{feature}\"");
                Err(Error::new(ErrorKind::FeatureUnsupported, message))
            }
        }
    }
}

#[async_trait]
#[typetag::serde(name = "ConnectStores")]
impl Storage for Stores {
    async fn exists(&self, path: &str) -> Result<bool> {
        in_place!(self, path, exists)
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        in_place!(self, path, metadata)
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        in_place!(self, path, read)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        in_place!(self, path, reader)
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        in_place!(self, path, write, bytes)
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        in_place!(self, path, writer)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        in_place!(self, path, delete)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        in_place!(self, path, delete_prefix)
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}
