//! The `${…}` syntax: text into literals and references. Pure; what a reference stands for is the
//! provider's business. Messages name places and variables, never the text around them.

/// A piece of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Text as it is.
    Literal(&'a str),
    /// A reference to be resolved.
    Reference(Reference<'a>),
}

/// What stands between `${` and `}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// `NAME`, `NAME:default` or `env:NAME`.
    Variable {
        /// The variable.
        name: &'a str,
        /// What to take when it is not set.
        default: Option<&'a str>,
    },
    /// `file:path:key`. As in Kafka the first colon ends the path.
    File {
        /// A Java properties file.
        path: &'a str,
        /// One of its keys.
        key: &'a str,
    },
    /// `directory:path:key`. As in Kafka the first colon ends the path.
    Directory {
        /// A directory.
        path: &'a str,
        /// The name of a file in it.
        key: &'a str,
    },
}

/// Whether a text has a reference (or the beginning of one).
pub(crate) fn has_reference(text: &str) -> bool {
    text.contains("${")
}

/// Splits a value. Reports every malformed reference.
pub(crate) fn split(text: &str) -> Result<Vec<Part<'_>>, Vec<String>> {
    let (mut parts, mut problems) = (Vec::new(), Vec::new());
    let mut literal = 0; // where the pending literal begins
    let mut at = 0;
    let add = |parts: &mut Vec<_>, literal: &'static str| parts.push(Part::Literal(literal));
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        let rest = &text[dollar..];
        if rest.starts_with("$${") {
            parts.push(Part::Literal(&text[literal..dollar]));
            add(&mut parts, "${");
            (at, literal) = (dollar + 3, dollar + 3);
        } else if let Some(inner) = rest.strip_prefix("${") {
            parts.push(Part::Literal(&text[literal..dollar]));
            let place = text[..dollar].chars().count() + 1;
            let Some(length) = inner.find('}') else {
                problems.push(format!(
                    "the \"${{\" at character {place} has no \"}}\"; a literal \"${{\" is written \"$${{\""
                ));
                return Err(problems);
            };
            match reference(&inner[..length]) {
                Ok(reference) => parts.push(Part::Reference(reference)),
                Err(why) => problems.push(format!("the reference at character {place} {why}")),
            }
            at = dollar + 2 + length + 1;
            literal = at;
        } else {
            at = dollar + 1;
        }
    }
    parts.push(Part::Literal(&text[literal..]));
    parts.retain(|part| *part != Part::Literal(""));
    if problems.is_empty() { Ok(parts) } else { Err(problems) }
}

fn reference(inner: &str) -> Result<Reference<'_>, String> {
    if has_reference(inner) {
        return Err("holds another one: references do not nest".into());
    }
    let Some((first, rest)) = inner.split_once(':') else {
        return Ok(Reference::Variable { name: variable(inner)?, default: None });
    };
    match first {
        "env" if rest.contains(':') => Err("has a default, which \"env:\" does not take: write ${NAME:default}".into()),
        "env" => Ok(Reference::Variable { name: variable(rest)?, default: None }),
        "file" => match rest.split_once(':') {
            Some((path, key)) if !path.is_empty() && !key.is_empty() => Ok(Reference::File { path, key }),
            _ => Err("is not of the form ${file:path:key}".into()),
        },
        "directory" => match rest.split_once(':') {
            Some((path, key)) if !path.is_empty() && !key.is_empty() => match key {
                // The key is a file's name: no way leads out of the directory.
                "." | ".." => Err("does not name a file of the directory".into()),
                key if key.contains(['/', '\\', '\0']) => Err("has a key that is not the plain name of a file".into()),
                key => Ok(Reference::Directory { path, key }),
            },
            _ => Err("is not of the form ${directory:path:key}".into()),
        },
        name => Ok(Reference::Variable { name: variable(name)?, default: Some(rest) }),
    }
}

fn variable(name: &str) -> Result<&str, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || !name.chars().all(good) {
        return Err("does not name a variable: letters, digits, \"_\", \".\" and \"-\", as in ${NAME}".into());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, shown: &str) {
        let result = match split(text) {
            Ok(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => format!("'{text}'"),
                    Part::Reference(Reference::Variable { name, default: None }) => (*name).to_owned(),
                    Part::Reference(Reference::Variable { name, default: Some(text) }) => format!("{name}|'{text}'"),
                    Part::Reference(Reference::File { path, key }) => format!("{path}#{key}"),
                    Part::Reference(Reference::Directory { path, key }) => format!("{path}/#{key}"),
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(problems) => problems.join("\n"),
        };
        assert_eq!(result, shown, "{text}");
    }

    #[test]
    fn forms() {
        check("", "");
        check("plain $1 $ {x} }$", "'plain $1 $ {x} }$'");
        check("${A}", "A");
        check("${A:}", "A|''");
        check("${KAFKA:127.0.0.1:9092}", "KAFKA|'127.0.0.1:9092'");
        check("${env:A_1}", "A_1");
        check("${env}", "env");
        check("${file:/etc/s.properties:shop.password}", "/etc/s.properties#shop.password");
        check("${file:s:a:b}", "s#a:b");
        check("${directory:/run/secrets:shop.password}", "/run/secrets/#shop.password");
        check("${directory:..:..data}", "../#..data");
        check("jdbc://${H}:${P:1}/ä$${x}", "'jdbc://' H ':' P|'1' '/ä' '${' 'x}'");
        check("$$${A}", "'$' '${' 'A}'");
        check("$$ ${A}$", "'$$ ' A '$'");
    }

    #[test]
    fn malformed() {
        let named = "does not name a variable: letters, digits, \"_\", \".\" and \"-\", as in ${NAME}";
        check("ä${", "the \"${\" at character 2 has no \"}\"; a literal \"${\" is written \"$${\"");
        check("${}", &format!("the reference at character 1 {named}"));
        check("${env:} ${a b}", &format!("the reference at character 1 {named}\nthe reference at character 9 {named}"));
        check("${A:${B}}", "the reference at character 1 holds another one: references do not nest");
        check(
            "${env:A:b}",
            "the reference at character 1 has a default, which \"env:\" does not take: write ${NAME:default}",
        );
        check("${file:x}", "the reference at character 1 is not of the form ${file:path:key}");
        check("${file::k}", "the reference at character 1 is not of the form ${file:path:key}");
        check("${directory:x}", "the reference at character 1 is not of the form ${directory:path:key}");
        check("${directory:x:}", "the reference at character 1 is not of the form ${directory:path:key}");
        check("${directory:x:..}", "the reference at character 1 does not name a file of the directory");
        for way_out in ["../y", "/etc/shadow", "y/../../z", "a\\b", "\0"] {
            check(
                &format!("${{directory:x:{way_out}}}"),
                "the reference at character 1 has a key that is not the plain name of a file",
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_written(text in "[${}a:\n]{0,12}") {
            let escaped = text.replace("${", "$${");
            let parts = split(&escaped).unwrap();
            let back: String = parts.iter().map(|part| match part {
                Part::Literal(text) => *text,
                Part::Reference(_) => panic!("a reference in {escaped}"),
            }).collect();
            prop_assert_eq!(back, text);
        }

        #[test]
        fn never_panics(text in "([${}:]|env|file|directory|\\PC){0,20}") {
            let _ = split(&text);
        }
    }
}
