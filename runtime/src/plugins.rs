//! The connectors that this binary has.

use connector_api::Plugin;

/// Every plugin, by name.
pub(crate) const PLUGINS: &[Plugin] =
    &[Plugin::of::<connector_iceberg::Iceberg>(), Plugin::of::<connector_postgres::Postgres>()];
