//! The choices that Debezium was configured with and that its messages do not tell. Pure.
//!
//! They decide only where a message carries no schema, and how text that stands for bytes was written: what
//! a schema says is believed over what is declared here.

/// How Debezium writes what it writes; `None` where the operator did not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// `time.precision.mode`.
    pub times: Option<Times>,
    /// `decimal.handling.mode`.
    pub decimals: Option<Decimals>,
    /// `binary.handling.mode`.
    pub binary: Option<Binary>,
    /// `hstore.handling.mode`.
    pub hstore: Option<Hstore>,
    /// `interval.handling.mode`.
    pub intervals: Option<Intervals>,
    /// `include.unknown.datatypes`.
    pub unknown_types: Option<bool>,
    /// `unavailable.value.placeholder`, as text.
    pub placeholder: String,
    /// Infinite dates and timestamps become NULL, as `infinity.handling.mode=null` does in a load.
    pub infinite_is_null: bool,
}

impl Default for Modes {
    /// Nothing declared, Debezium's own placeholder.
    fn default() -> Self {
        Self {
            times: None,
            decimals: None,
            binary: None,
            hstore: None,
            intervals: None,
            unknown_types: None,
            placeholder: PLACEHOLDER.to_owned(),
            infinite_is_null: false,
        }
    }
}

impl Modes {
    /// Debezium's defaults, all of them declared.
    pub fn debezium_defaults() -> Self {
        Self {
            times: Some(Times::Adaptive),
            decimals: Some(Decimals::Precise),
            binary: Some(Binary::Bytes),
            hstore: Some(Hstore::Json),
            intervals: Some(Intervals::Numeric),
            unknown_types: Some(false),
            ..Self::default()
        }
    }
}

/// What stands in an event for a value that the database's log did not carry, unless configured otherwise.
pub const PLACEHOLDER: &str = "__debezium_unavailable_value";

/// Declares an enum with the names that Debezium has for its values.
macro_rules! mode {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $value,)+
        }

        impl $name {
            /// The mode of that name, in any case.
            pub fn parse(text: &str) -> Option<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($text => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

mode! {
    /// `time.precision.mode`.
    Times {
        /// Milliseconds or microseconds, by the column's precision.
        Adaptive = "adaptive",
        /// The same, but times of day always in microseconds.
        AdaptiveTimeMicroseconds = "adaptive_time_microseconds",
        /// Kafka Connect's own types: milliseconds.
        Connect = "connect",
        /// ISO 8601 text.
        IsoString = "isostring",
        /// Microseconds.
        Microseconds = "microseconds",
        /// Nanoseconds.
        Nanoseconds = "nanoseconds",
    }
}

mode! {
    /// `decimal.handling.mode`.
    Decimals {
        /// Exact, as bytes and a scale.
        Precise = "precise",
        /// The nearest double.
        Double = "double",
        /// Exact, as text.
        String = "string",
    }
}

mode! {
    /// `binary.handling.mode`.
    Binary {
        /// Bytes.
        Bytes = "bytes",
        /// Text in base 64.
        Base64 = "base64",
        /// Text in base 64, the alphabet for addresses.
        Base64UrlSafe = "base64-url-safe",
        /// Hexadecimal text.
        Hex = "hex",
    }
}

mode! {
    /// `hstore.handling.mode`.
    Hstore {
        /// A JSON object as text.
        Json = "json",
        /// A map.
        Map = "map",
    }
}

mode! {
    /// `interval.handling.mode`.
    Intervals {
        /// Microseconds, a month counted as 30.4375 days: not exact.
        Numeric = "numeric",
        /// ISO 8601 text.
        String = "string",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_debeziums_names() {
        assert_eq!(Times::parse("ISOString"), Some(Times::IsoString));
        assert_eq!(Times::parse("adaptive_time_microseconds"), Some(Times::AdaptiveTimeMicroseconds));
        assert_eq!(Binary::parse("base64-url-safe"), Some(Binary::Base64UrlSafe));
        assert_eq!(Decimals::parse("exact"), None);
    }
}
