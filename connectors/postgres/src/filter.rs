//! Which kinds of tables there are. Pure.

/// A kind of table, by the name that `table.types` and `information_schema` have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    Partitioned,
    View,
    Materialized,
    Foreign,
}

impl RelationKind {
    pub(crate) const ALL: [Self; 5] = [Self::Table, Self::Partitioned, Self::View, Self::Materialized, Self::Foreign];

    /// As an operator writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::Partitioned => "PARTITIONED TABLE",
            Self::View => "VIEW",
            Self::Materialized => "MATERIALIZED VIEW",
            Self::Foreign => "FOREIGN TABLE",
        }
    }

    /// Reads [`name`](Self::name), whatever its case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text.trim()))
    }

    /// By `pg_class.relkind`.
    pub(crate) fn of_catalog(relkind: &str) -> Option<Self> {
        match relkind {
            "r" => Some(Self::Table),
            "p" => Some(Self::Partitioned),
            "v" => Some(Self::View),
            "m" => Some(Self::Materialized),
            "f" => Some(Self::Foreign),
            _ => None,
        }
    }
}
