//! Which kinds of tables there are. Pure.

/// A kind of table, by the name that `table.types` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    View,
    Materialized,
}

impl RelationKind {
    pub(crate) const ALL: [Self; 3] = [Self::Table, Self::View, Self::Materialized];

    /// As an operator writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::Materialized => "MATERIALIZED VIEW",
        }
    }

    /// Reads [`name`](Self::name), whatever its case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text.trim()))
    }
}
