//! How decimal numbers are loaded where there is a choice: what the keys of sources mean. Pure.

/// `decimal.handling.mode`: how a decimal number of the source is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decimals {
    /// As a decimal where its precision allows.
    #[default]
    Precise,
    /// As text.
    String,
    /// As the nearest double.
    Double,
}

impl Decimals {
    /// The words that the key takes.
    pub const WORDS: &[&str] = &["precise", "string", "double"];

    /// Of one of those words.
    pub fn of(word: &str) -> Self {
        match word {
            "string" => Self::String,
            "double" => Self::Double,
            _ => Self::Precise,
        }
    }
}

/// `number.unconstrained`: how a number without a declared precision is loaded, when decimals are precise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unconstrained {
    /// As text: lossless.
    #[default]
    String,
    /// As the nearest double.
    Double,
    /// As a decimal; a value that does not fit is an error.
    Decimal {
        /// Digits, 1 to 38.
        precision: u8,
        /// Of them behind the point.
        scale: u8,
    },
}

impl Unconstrained {
    /// Reads the key's value.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        match text.as_str() {
            "string" => return Some(Self::String),
            "double" => return Some(Self::Double),
            _ => {}
        }
        let inside = text.strip_prefix("decimal(")?.strip_suffix(')')?;
        let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
        let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        ((1..=38).contains(&precision) && scale <= precision).then_some(Self::Decimal { precision, scale })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unconstrained_numbers_are_read() {
        assert_eq!(Unconstrained::parse("String"), Some(Unconstrained::String));
        assert_eq!(Unconstrained::parse("double"), Some(Unconstrained::Double));
        let decimal = |precision, scale| Some(Unconstrained::Decimal { precision, scale });
        assert_eq!(Unconstrained::parse("decimal(38, 10)"), decimal(38, 10));
        assert_eq!(Unconstrained::parse("DECIMAL(9)"), decimal(9, 0));
        for bad in ["", "decimal", "decimal(39,0)", "decimal(5,6)", "decimal(0)", "decimal(9,-1)", "float"] {
            assert_eq!(Unconstrained::parse(bad), None, "{bad}");
        }
    }
}
