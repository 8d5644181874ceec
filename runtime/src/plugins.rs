//! The connectors that this binary has.

use connector_api::Plugin;

/// Every plugin, by name.
pub(crate) const PLUGINS: &[Plugin] =
    &[Plugin::of::<connector_iceberg::Iceberg>(), Plugin::of::<connector_postgres::Postgres>()];

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference in `docs/configuration.md` is what the definitions say, key by key.
    #[test]
    fn every_key_is_documented_as_it_is() {
        let docs = include_str!("../../docs/configuration.md");
        let missing: Vec<_> = PLUGINS
            .iter()
            .flat_map(|plugin| (plugin.definition)().keys().to_vec())
            .map(|key| {
                let default = match (key.required, key.default) {
                    (true, _) => "required".to_owned(),
                    (false, Some(default)) => format!("`{default}`"),
                    (false, None) => String::new(),
                };
                format!("| `{}` | {default} | {} |", key.name, key.doc)
            })
            .filter(|row| !docs.contains(row.as_str()))
            .collect();
        assert!(missing.is_empty(), "not in docs/configuration.md:\n{}", missing.join("\n"));
    }
}
