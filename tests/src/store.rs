//! An S3 store: moto's server, which is not ours either, one for all tests of a process.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::http;
use crate::keeper::{self, Keeper};
use crate::lake::cache;
use crate::postgres::free_port;

/// The key that the tests sign with. The store takes any.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret. No output of the program may ever hold it.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI-Pflaumenkuchen";

/// A running store.
pub struct Store {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _keeper: Keeper,
}

/// A bucket of its own.
pub struct Bucket {
    store: &'static Store,
    /// Its name.
    pub name: String,
}

impl Store {
    /// The store that the tests of this process share; it ends with the process.
    ///
    /// # Panics
    /// When moto is not there (`scripts/setup` installs it) or does not start.
    pub fn shared() -> &'static Self {
        static STORE: OnceLock<Store> = OnceLock::new();
        STORE.get_or_init(|| {
            let folder: PathBuf = tempfile::Builder::new().prefix("connect-s3-").tempdir().unwrap().keep();
            let port = free_port();
            let program = cache().join("venv/bin/moto_server");
            let keeper = Keeper::start(&folder, &program, &["-H", "127.0.0.1", "-p", &port.to_string()], &[]);
            keeper::until_ready(&folder, || http::get(port, "/moto-api/").is_some_and(|(status, _)| status == 200));
            Self { port, _keeper: keeper }
        })
    }

    /// A new, empty bucket.
    pub fn bucket(&'static self) -> Bucket {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lake{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (status, body) = http::request(self.port, "PUT", &format!("/{name}")).unwrap();
        assert_eq!(status, 200, "{body}");
        Bucket { store: self, name }
    }
}

impl Bucket {
    /// The keys that end so, unsorted; at most a thousand.
    pub fn keys(&self, ending: &str) -> Vec<String> {
        let (status, body) = http::get(self.store.port, &format!("/{}?list-type=2", self.name)).unwrap();
        assert_eq!(status, 200, "{body}");
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.filter(|key| key.ends_with(ending)).map(str::to_owned).collect()
    }

    /// How many uploads were begun in it and neither finished nor given up.
    pub fn open_uploads(&self) -> usize {
        let (status, body) = http::get(self.store.port, &format!("/{}?uploads", self.name)).unwrap();
        assert_eq!(status, 200, "{body}");
        body.matches("<UploadId>").count()
    }

    /// How to reach it through a port: Iceberg's properties, which the sink and PyIceberg share.
    pub fn properties(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("s3.endpoint", format!("http://127.0.0.1:{port}")),
            ("s3.path-style-access", "true".into()),
            ("s3.region", "us-east-1".into()),
            ("s3.access-key-id", ACCESS_KEY.into()),
            ("s3.secret-access-key", SECRET_KEY.into()),
        ]
    }

    /// The store's own port.
    pub fn port(&self) -> u16 {
        self.store.port
    }
}
