//! A schema registry with Confluent's REST interface: Apicurio's, in memory, one for all tests of a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::http;
use crate::keeper::{self, Keeper};
use crate::lake::cache;
use crate::postgres::free_port;

/// A running registry.
pub struct Registry {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _keeper: Keeper,
}

impl Registry {
    /// The registry that the tests of this process share; it ends with the process.
    ///
    /// # Panics
    /// When it is not there (`scripts/setup tests` fetches it) or does not start.
    pub fn shared() -> &'static Self {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        REGISTRY.get_or_init(|| {
            let folder: PathBuf = tempfile::Builder::new().prefix("connect-registry-").tempdir().unwrap().keep();
            let port = free_port();
            let mut files = fs::read_dir(cache().join("registry/lib")).unwrap().map(|file| file.unwrap().path());
            let jar = files.find(|path| path.to_string_lossy().ends_with("-runner.jar")).unwrap();
            let (listen, temporary) =
                (format!("-Dquarkus.http.port={port}"), format!("-Djava.io.tmpdir={}", folder.display()));
            let args =
                ["-Xmx256m", &temporary, "-Dquarkus.http.host=127.0.0.1", &listen, "-jar", jar.to_str().unwrap()];
            let keeper = Keeper::start(&folder, Path::new("java"), &args, &[]);
            keeper::until_ready(&folder, || {
                http::get(port, "/apis/ccompat/v7/subjects").is_some_and(|(status, _)| status == 200)
            });
            Self { port, _keeper: keeper }
        })
    }

    /// What a consumer sets as `schema.registry.url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// What Apicurio's own converter sets as `apicurio.registry.url`.
    pub(crate) fn own_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v2", self.port)
    }
}
