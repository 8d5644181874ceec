//! Opens a bucket of each kind of object store, from Iceberg's properties and, where those hold no
//! credentials, from what the machine offers.
//!
//! What must hold: looking for credentials ends soon, also where the cloud's metadata service never answers.

use std::time::Duration;

use iceberg::io::StorageConfig;
use iceberg::{Error, ErrorKind, Result};
use opendal::Operator;

use super::{Scheme, Settings};

/// Opens a bucket. `root` is its location with scheme, `bucket` the same without.
pub(super) fn open(scheme: Scheme, root: &str, bucket: &str, settings: &Settings) -> Result<Operator> {
    let properties = settings.properties.iter().map(|(k, v)| (k.clone(), v.expose().to_owned()));
    let properties = StorageConfig::from_props(properties.collect());
    let operator = match scheme {
        #[cfg(feature = "s3")]
        Scheme::S3 => Operator::new(s3::builder(&properties, bucket, settings)?).map(opendal::OperatorBuilder::finish),
        #[cfg(feature = "gcs")]
        Scheme::Gcs => Operator::new(gcs(&properties, bucket)?).map(opendal::OperatorBuilder::finish),
        #[cfg(feature = "azure")]
        Scheme::Azure => Operator::new(azure(&properties, root, bucket)?).map(opendal::OperatorBuilder::finish),
        _ => return Err(Error::new(ErrorKind::FeatureUnsupported, format!("no store for {root}{bucket}"))),
    };
    operator.map_err(|e| {
        // A wrong setting fails here, before anything is asked of the store.
        Error::new(ErrorKind::FeatureUnsupported, format!("the settings for {root} are not usable")).with_source(e)
    })
}

/// What is said where none are found: asking again is useless.
pub(super) const NO_CREDENTIALS: &str = "no credentials for the object store";

/// The longest that looking for credentials may take.
#[cfg(feature = "s3")]
const CREDENTIALS: Duration = Duration::from_secs(10);

#[cfg(feature = "s3")]
mod s3 {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};

    use connector_api::config::Secret;
    use iceberg::io::S3Config;
    use opendal::services::S3;
    use reqsign_aws_v4::{Credential, DefaultCredentialProvider};
    use reqsign_core::time::Timestamp;
    use reqsign_core::{Context, ProvideCredential, ProvideCredentialChain, SigningCredential};

    use super::super::Renew;
    use super::{CREDENTIALS, NO_CREDENTIALS, Result, Settings, StorageConfig};

    /// When vended credentials expire, milliseconds since 1970: Iceberg's name for it (`S3FileIOProperties`).
    const EXPIRES: &str = "s3.session-token-expires-at-ms";

    /// The region that stores other than Amazon's commonly take.
    const REGION: &str = "us-east-1";

    pub(super) fn builder(properties: &StorageConfig, bucket: &str, settings: &Settings) -> Result<S3> {
        let c = S3Config::try_from(properties)?;
        let mut s3 = S3::default().bucket(bucket);
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| std::env::var_os(name).is_some());
        if let Some(region) = &c.region {
            s3 = s3.region(region);
        } else if c.endpoint.is_some() && !named {
            s3 = s3.region(REGION);
        }
        if let Some(endpoint) = &c.endpoint {
            s3 = s3.endpoint(endpoint);
        }
        if c.enable_virtual_host_style {
            s3 = s3.enable_virtual_host_style();
        }
        if let Some(vended) = Vended::new(settings) {
            s3 = s3.credential_provider_chain(ProvideCredentialChain::new().push(vended));
        } else if let (Some(id), Some(key)) = (&c.access_key_id, &c.secret_access_key) {
            s3 = s3.access_key_id(id).secret_access_key(key);
            if let Some(token) = &c.session_token {
                s3 = s3.session_token(token);
            }
        } else if c.role_arn.is_none() && !c.allow_anonymous {
            s3 = s3.credential_provider_chain(ProvideCredentialChain::new().push(found(&c, properties)));
        }
        if let Some(role) = &c.role_arn {
            s3 = s3.role_arn(role);
            s3 = c.external_id.iter().fold(s3, |s3, id| s3.external_id(id));
            s3 = c.role_session_name.iter().fold(s3, |s3, name| s3.role_session_name(name));
        }
        s3 = c.server_side_encryption.iter().fold(s3, |s3, v| s3.server_side_encryption(v));
        s3 = c
            .server_side_encryption_aws_kms_key_id
            .iter()
            .fold(s3, |s3, v| s3.server_side_encryption_aws_kms_key_id(v));
        s3 = c
            .server_side_encryption_customer_algorithm
            .iter()
            .fold(s3, |s3, v| s3.server_side_encryption_customer_algorithm(v));
        s3 = c.server_side_encryption_customer_key.iter().fold(s3, |s3, v| s3.server_side_encryption_customer_key(v));
        s3 = c
            .server_side_encryption_customer_key_md5
            .iter()
            .fold(s3, |s3, v| s3.server_side_encryption_customer_key_md5(v));
        if c.allow_anonymous {
            s3 = s3.skip_signature();
        }
        Ok(s3)
    }

    /// Environment, shared files with `AWS_PROFILE` or the named profile, web identity, container, instance.
    fn found(c: &S3Config, properties: &StorageConfig) -> Found {
        let mut chain = DefaultCredentialProvider::builder();
        if let Some(profile) = properties.get("s3.profile-name").or_else(|| properties.get("client.profile-name")) {
            // Named here: what the environment holds is not meant.
            chain = chain.with_profile(profile).no_env();
        }
        if c.disable_ec2_metadata {
            chain = chain.no_imds();
        }
        if c.disable_config_load {
            chain = chain.no_env().no_profile();
        }
        Found(chain.build())
    }

    /// Credentials that a catalog hands out, and again before they expire.
    #[derive(Debug)]
    struct Vended {
        /// Those that came with the table, until they are taken.
        first: Mutex<Option<Credential>>,
        renewal: Arc<dyn Renew>,
    }

    impl Vended {
        /// Of settings that hold credentials with an end, and say who has others.
        fn new(settings: &Settings) -> Option<Self> {
            let first = credential(&settings.properties).filter(|c| c.expires_in.is_some())?;
            Some(Self { first: Mutex::new(Some(first)), renewal: Arc::clone(settings.renewal.as_ref()?) })
        }
    }

    impl ProvideCredential for Vended {
        type Credential = Credential;

        async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
            // A load may have gone on for long before it has anything to store.
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take().filter(Credential::is_valid);
            if first.is_some() {
                return Ok(first);
            }
            let properties = self.renewal.properties().await.map_err(|e| {
                reqsign_core::Error::credential_invalid("the catalog hands out no new credentials").with_source(e)
            })?;
            Ok(credential(&properties))
        }
    }

    fn credential(properties: &BTreeMap<String, Secret>) -> Option<Credential> {
        let of = |name: &str| properties.get(name).map(|value| value.expose().to_owned());
        let expires = of(EXPIRES).and_then(|ms| Timestamp::from_millisecond(ms.parse().ok()?).ok());
        Some(Credential {
            access_key_id: of("s3.access-key-id")?,
            secret_access_key: of("s3.secret-access-key")?,
            session_token: of("s3.session-token"),
            expires_in: expires,
        })
    }

    /// Credentials that the machine offers, looked for within [`CREDENTIALS`].
    #[derive(Debug)]
    struct Found(DefaultCredentialProvider);

    impl ProvideCredential for Found {
        type Credential = Credential;

        async fn provide_credential(&self, context: &Context) -> reqsign_core::Result<Option<Credential>> {
            let none = format!(
                "{NO_CREDENTIALS}: set iceberg.catalog.s3.access-key-id and .secret-access-key, AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or a profile"
            );
            match tokio::time::timeout(CREDENTIALS, self.0.provide_credential(context)).await {
                Ok(Ok(Some(credential))) => Ok(Some(credential)),
                Ok(Ok(None)) | Err(_) => Err(reqsign_core::Error::credential_invalid(none)),
                Ok(Err(e)) => Err(reqsign_core::Error::credential_invalid(none).with_source(e)),
            }
        }
    }
}

#[cfg(feature = "gcs")]
fn gcs(properties: &StorageConfig, bucket: &str) -> Result<opendal::services::Gcs> {
    let c = iceberg::io::GcsConfig::try_from(properties)?;
    let mut gcs = opendal::services::Gcs::default().bucket(bucket);
    gcs = c.credential.iter().fold(gcs, |gcs, v| gcs.credential(v));
    gcs = c.token.into_iter().fold(gcs, opendal::services::Gcs::token);
    gcs = c.endpoint.iter().fold(gcs, |gcs, v| gcs.endpoint(v));
    if c.allow_anonymous {
        gcs = gcs.skip_signature();
    }
    if c.disable_vm_metadata {
        gcs = gcs.disable_vm_metadata();
    }
    if c.disable_config_load {
        gcs = gcs.disable_config_load();
    }
    Ok(gcs)
}

/// `bucket` is `filesystem@account.dfs.suffix`.
#[cfg(feature = "azure")]
fn azure(properties: &StorageConfig, root: &str, bucket: &str) -> Result<opendal::services::Azdls> {
    let c = iceberg::io::AzdlsConfig::try_from(properties)?;
    let wrong = |what: &str| Error::new(ErrorKind::FeatureUnsupported, format!("{what}: {root}"));
    let (filesystem, host) = bucket
        .split_once('@')
        .ok_or_else(|| wrong("an Azure location reads abfss://filesystem@account.dfs.core.windows.net/path"))?;
    let account = host.split('.').next().unwrap_or_default();
    if c.account_name.as_deref().is_some_and(|name| name != account) {
        return Err(wrong("adls.account-name is not the account of the location"));
    }
    let scheme = if root.starts_with("abfss") { "https" } else { "http" };
    let mut azure = opendal::services::Azdls::default()
        .filesystem(filesystem)
        .account_name(account)
        .endpoint(&format!("{scheme}://{host}"));
    azure = c.account_key.iter().fold(azure, |azure, v| azure.account_key(v));
    azure = c.sas_token.iter().fold(azure, |azure, v| azure.sas_token(v));
    azure = c.tenant_id.iter().fold(azure, |azure, v| azure.tenant_id(v));
    azure = c.client_id.iter().fold(azure, |azure, v| azure.client_id(v));
    azure = c.client_secret.iter().fold(azure, |azure, v| azure.client_secret(v));
    azure = c.authority_host.iter().fold(azure, |azure, v| azure.authority_host(v));
    Ok(azure)
}
