//! Keeps resolved values out of messages: whoever checks a value may quote it, and cannot know that it came
//! from a secret. Quoted values are replaced by the references they came from.

use std::fmt;

use crate::provider::Resolved;

/// Values shorter than this are only replaced where a message about their own key quotes them: `5` or `on`
/// would be found in any text.
const SHORTEST: usize = 4;

/// What came out of references, and how it is shown. Debug shows nothing.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Vec<Hidden>);

#[derive(Clone)]
struct Hidden {
    key: String,
    text: String,
    shown: String,
}

impl Redactor {
    /// Remembers a key's value, if references had a part in it.
    pub(crate) fn add(&mut self, key: &str, value: Resolved) {
        if value.pieces.is_empty() {
            return;
        }
        let hidden = |(text, shown)| Hidden { key: key.to_owned(), text, shown };
        self.0.push(hidden((value.text, value.shown)));
        self.0.extend(value.pieces.into_iter().map(hidden));
    }

    /// The message about a key with references in place of what they stand for.
    pub(crate) fn message(&self, key: &str, message: &str) -> String {
        let mut replacements: Vec<(String, String)> = Vec::new();
        for Hidden { key: owner, text, shown } in &self.0 {
            for form in forms(text) {
                if owner == key && !form.is_empty() {
                    replacements.push((format!("\"{form}\""), format!("\"{shown}\"")));
                }
                if form.chars().count() >= SHORTEST {
                    replacements.push((form, shown.clone()));
                }
            }
        }
        // The longest first, so that no rest of a value is left over.
        replacements.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let mut result = String::with_capacity(message.len());
        let mut rest = message;
        while let Some(next) = rest.chars().next() {
            match replacements.iter().find(|(text, _)| rest.starts_with(text.as_str())) {
                Some((text, shown)) => {
                    result.push_str(shown);
                    rest = &rest[text.len()..];
                }
                None => {
                    result.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        result
    }
}

/// The ways in which checks quote a value: as it is, trimmed, escaped, or an element of a list.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned(), text.trim().to_owned(), text.escape_debug().to_string()];
    forms.extend(text.replace("\\,", "\u{0}").split(',').map(|part| part.trim().replace('\u{0}', ",")));
    forms
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, message: &str, shown: &str) {
        let mut redactor = Redactor::default();
        let resolved = |text: &str, shown: &str, pieces: &[(&str, &str)]| Resolved {
            text: text.into(),
            shown: shown.into(),
            pieces: pieces.iter().map(|(t, s)| ((*t).to_owned(), (*s).to_owned())).collect(),
        };
        redactor.add("port", resolved("6x", "6${P}", &[("x", "${P}")]));
        redactor.add("tables", resolved(" a(1\\,2}, long(", "${T}", &[(" a(1\\,2}, long(", "${T}")]));
        redactor.add("password", resolved("hunter2", "${PW}", &[("hunter2", "${PW}")]));
        redactor.add("plain", resolved("literal", "literal", &[]));
        redactor.add("longer", resolved("hunter2 and more", "${L}", &[("hunter2 and more", "${L}")]));
        redactor.add("quote", resolved("in\"side", "${Q}", &[("in\"side", "${Q}")]));
        assert_eq!(redactor.message(key, message), shown);
        assert_eq!(format!("{redactor:?}"), "***");
    }

    #[test]
    fn values_give_way_to_their_references() {
        check(
            "port",
            "\"6x\" is not a whole number from 1 to 65535",
            "\"6${P}\" is not a whole number from 1 to 65535",
        );
        check("tables", "\"a(1,2}\" is not a regular expression", "\"${T}\" is not a regular expression");
        check("tables", "\"long(\" is not a regular expression", "\"${T}\" is not a regular expression");
        check("port", "hunter2ä or 'hunter2'", "${PW}ä or '${PW}'");
        check("password", "\"x\" literal", "\"x\" literal");
        check("tables", "\"a(1\\,2}, long(\"", "\"${T}\"");
        check("port", "hunter2 and more", "${L}");
        check("port", "in\"side \"in\\\"side\"", "${Q} \"${Q}\"");
    }
}
