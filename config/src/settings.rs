//! A flat map of settings whose values are never printed: any of them may be a password.

use std::collections::BTreeMap;
use std::fmt;

/// Keys and values of a connector. Debug shows the keys only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(pub(crate) BTreeMap<String, String>);

impl Settings {
    /// Keys and values, for the code that parses or serves them. Not to be printed.
    pub fn expose(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|key| (key, format_args!("***")))).finish()
    }
}
