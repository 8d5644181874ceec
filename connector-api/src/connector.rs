//! What a connector is to the runtime: a name, a kind, a configuration definition and a constructor.

use std::collections::BTreeMap;

use crate::config::{ConfigDef, Problem, Values};
use crate::{ChangeLog, Sink, Source};

/// What a connector is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorKind {
    /// Reads.
    Source,
    /// Writes.
    Sink,
    /// Is followed by a sink that names its topics. No connector of a configuration by itself.
    Log,
}

impl ConnectorKind {
    /// `source` or `sink`, as Kafka Connect's REST calls them, or `log`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Log => "log",
        }
    }
}

/// What a configured connector is.
pub enum Role {
    /// Reads.
    Source(Box<dyn Source>),
    /// Writes.
    Sink(Box<dyn Sink>),
    /// Is followed.
    Log(Box<dyn ChangeLog>),
}

impl Role {
    fn kind(&self) -> ConnectorKind {
        match self {
            Self::Source(_) => ConnectorKind::Source,
            Self::Sink(_) => ConnectorKind::Sink,
            Self::Log(_) => ConnectorKind::Log,
        }
    }
}

/// A connector: implement this and register [`Plugin::of`] with the runtime.
pub trait Connector {
    /// The short name in `connector.class`.
    const NAME: &'static str;
    /// Other names that `connector.class` takes: the Java classes operators already have in their files.
    const ALIASES: &'static [&'static str] = &[];
    /// Its version: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// What [`build`](Self::build) gives.
    const KIND: ConnectorKind;
    /// The parsed configuration.
    type Config: ConnectorConfig;

    /// Builds the source, sink or log. Connects to nothing: a configuration can be checked anywhere.
    fn build(config: Self::Config) -> Role;
}

/// A typed configuration: a definition of its keys, and the step from parsed values to the struct.
pub trait ConnectorConfig: Sized {
    /// Every key, with type, default and documentation.
    fn definition() -> ConfigDef;

    /// Builds the configuration from values that the definition has accepted; reports what only shows
    /// across keys, all at once.
    ///
    /// # Errors
    /// One [`Problem`] for each key that is wrong.
    fn from_values(values: &Values) -> Result<Self, Vec<Problem>>;
}

/// A connector with its type erased: what the runtime registers.
#[derive(Clone, Copy)]
pub struct Plugin {
    /// [`Connector::NAME`].
    pub name: &'static str,
    /// [`Connector::ALIASES`].
    pub aliases: &'static [&'static str],
    /// [`Connector::VERSION`].
    pub version: &'static str,
    /// [`Connector::KIND`].
    pub kind: ConnectorKind,
    /// The path of its type, which begins with its crate's name: what its log lines go by.
    pub path: fn() -> &'static str,
    /// The definition of its keys.
    pub definition: fn() -> ConfigDef,
    /// Parses the raw keys (without those that belong to the runtime) and builds the connector.
    pub build: Build,
}

type Build = fn(&BTreeMap<String, String>) -> Result<Role, Vec<Problem>>;

impl Plugin {
    /// The plugin for a connector type.
    pub const fn of<C: Connector>() -> Self {
        let (name, aliases, version, kind) = (C::NAME, C::ALIASES, C::VERSION, C::KIND);
        let path = std::any::type_name::<C>;
        Self { name, aliases, version, kind, path, definition: C::Config::definition, build: build::<C> }
    }

    /// Whether `connector.class` names this plugin.
    pub fn answers_to(&self, class: &str) -> bool {
        self.name == class || self.aliases.contains(&class)
    }
}

fn build<C: Connector>(raw: &BTreeMap<String, String>) -> Result<Role, Vec<Problem>> {
    let definition = C::Config::definition();
    let (values, mut problems) = definition.parse(raw);
    match C::Config::from_values(&values) {
        Ok(config) if problems.is_empty() => match C::build(config) {
            role if role.kind() == C::KIND => Ok(role),
            role => {
                let (said, is) = (C::KIND.as_str(), role.kind().as_str());
                let message = format!("a bug in the connector \"{}\": it calls itself a {said} and is a {is}", C::NAME);
                Err(vec![Problem::new("connector.class", message)])
            }
        },
        Ok(_) => Err(problems),
        Err(more) => {
            // A cross-key complaint about a key that already failed would only repeat it.
            problems.extend(more.into_iter().filter(|m| !problems.iter().any(|p| p.key == m.key)).collect::<Vec<_>>());
            Err(problems)
        }
    }
}
