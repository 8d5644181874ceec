//! A REST catalog: Apache Iceberg's own, with its tables in the S3 store; one for all tests of a process, each
//! of which has a namespace of its own. It listens on all interfaces, which it cannot be told otherwise.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::http;
use crate::keeper::{self, Keeper};
use crate::lake::cache;
use crate::postgres::free_port;
use crate::store::{Bucket, Store};

/// A running catalog.
pub struct RestCatalog {
    /// Its port.
    pub port: u16,
    /// Where its tables lie.
    pub bucket: Bucket,
    _keeper: Keeper,
}

impl RestCatalog {
    /// The catalog that the tests of this process share; it ends with the process. It hands out the store's
    /// credentials with every table.
    ///
    /// # Panics
    /// When it is not there (`scripts/setup tests` fetches it) or does not start.
    pub fn shared() -> &'static Self {
        static CATALOG: OnceLock<RestCatalog> = OnceLock::new();
        CATALOG.get_or_init(|| {
            let bucket = Store::shared().bucket();
            let folder: PathBuf = tempfile::Builder::new().prefix("connect-rest-").tempdir().unwrap().keep();
            let port = free_port();
            let (rest_port, warehouse) = (port.to_string(), format!("s3://{}/wh", bucket.name));
            let mut env = vec![
                ("CATALOG_REST_PORT".to_owned(), rest_port),
                ("CATALOG_WAREHOUSE".into(), warehouse),
                ("CATALOG_URI".into(), format!("jdbc:sqlite:{}/catalog.db", folder.display())),
                ("CATALOG_IO__IMPL".into(), "org.apache.iceberg.aws.s3.S3FileIO".into()),
                ("CATALOG_INCLUDE__CREDENTIALS".into(), "true".into()),
                ("AWS_REGION".into(), "us-east-1".into()),
            ];
            env.extend(bucket.properties(bucket.port()).into_iter().map(|(name, value)| {
                (format!("CATALOG_{}", name.replace('-', "__").replace('.', "_").to_uppercase()), value)
            }));
            let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let jars = cache().join("rest-catalog/lib/*");
            let main = "org.apache.iceberg.rest.RESTCatalogServer";
            // Quick to start, and small.
            let args = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", jars.to_str().unwrap(), main];
            let keeper = Keeper::start(&folder, Path::new("java"), &args, &env);
            keeper::until_ready(&folder, || http::get(port, "/v1/config").is_some_and(|(status, _)| status == 200));
            Self { port, bucket, _keeper: keeper }
        })
    }
}
