//! JSON values and OSON, the binary form in which they travel.
//!
//! Source of the format: python-oracledb 26.1.0, `impl/base/oson.pyx`.

use crate::number::Number;
use crate::wire::Write;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: names in order.
    Object(Vec<(String, Json)>),
}

/// Flags of the header.
mod flag {
    pub(super) const HASH_ID_UINT8: u16 = 0x0100;
    pub(super) const TINY_NODES: u16 = 0x2000;
    pub(super) const TREE_UINT32: u16 = 0x1000;
    pub(super) const NAMES_UINT32: u16 = 0x0800;
    pub(super) const NUMBER_OF_NAMES_UINT16: u16 = 0x0400;
    pub(super) const INLINE_LEAF: u16 = 0x0002;
    pub(super) const IS_SCALAR: u16 = 0x0010;
}

const MAGIC: [u8; 3] = [0xFF, 0x4A, 0x5A];
/// Names of up to 255 bytes.
const VERSION: u8 = 1;

impl Json {
    /// As text, in the order that it has.
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Boolean(b) => b.to_string(),
            Self::Number(n) => n.to_string(),
            Self::Text(text) => quoted(text),
            Self::Array(items) => format!("[{}]", items.iter().map(Self::to_text).collect::<Vec<_>>().join(",")),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| format!("{}:{}", quoted(name), value.to_text()));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
        }
    }

    /// As OSON.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut names = Vec::new();
        self.collect_names(&mut names);
        // Sorted by hash, as readers that search need them.
        names.sort_by_key(|name| (hash(name) & 0xff, name.len(), name.clone()));
        names.dedup();
        let mut tree = Vec::new();
        self.write_node(&names, &mut tree);
        let mut all = Vec::new();
        all.put(&MAGIC).u8(VERSION);
        if !matches!(self, Self::Array(_) | Self::Object(_)) {
            all.u16(flag::IS_SCALAR | flag::INLINE_LEAF | flag::TREE_UINT32).u32(tree.len() as u32).put(&tree);
            return all;
        }
        let mut texts = Vec::new();
        let mut offsets = Vec::new();
        for name in &names {
            offsets.push(texts.len() as u32);
            texts.u8(name.len() as u8).put(name.as_bytes());
        }
        let flags = flag::HASH_ID_UINT8 | flag::TINY_NODES | flag::TREE_UINT32 | flag::NAMES_UINT32;
        all.u16(flags | flag::NUMBER_OF_NAMES_UINT16 | flag::INLINE_LEAF);
        all.u16(names.len() as u16).u32(texts.len() as u32).u32(tree.len() as u32).u16(0);
        for name in &names {
            all.u8(hash(name) as u8);
        }
        for offset in offsets {
            all.u32(offset);
        }
        all.put(&texts).put(&tree);
        all
    }

    fn collect_names(&self, names: &mut Vec<String>) {
        match self {
            Self::Array(items) => items.iter().for_each(|item| item.collect_names(names)),
            Self::Object(members) => {
                for (name, value) in members {
                    names.push(name.clone());
                    value.collect_names(names);
                }
            }
            _ => {}
        }
    }

    fn write_node(&self, names: &[String], tree: &mut Vec<u8>) {
        match self {
            Self::Null => {
                tree.u8(0x30);
            }
            Self::Boolean(true) => {
                tree.u8(0x31);
            }
            Self::Boolean(false) => {
                tree.u8(0x32);
            }
            // Numbers and texts with their length behind the kind.
            Self::Number(n) => {
                tree.u8(0x34).u8(n.bytes().len() as u8).put(n.bytes());
            }
            Self::Text(text) => {
                tree.u8(0x38).u32(text.len() as u32).put(text.as_bytes());
            }
            Self::Array(items) => {
                // 0xC0: an array; 0x20: offsets of four bytes; 0x10: a count of four bytes.
                tree.u8(0xC0 | 0x20 | 0x10).u32(items.len() as u32);
                Self::write_children(items.iter(), names, tree);
            }
            Self::Object(members) => {
                tree.u8(0x80 | 0x20 | 0x10).u32(members.len() as u32);
                for (name, _) in members {
                    let id = names.iter().position(|n| n == name).unwrap_or(0) as u16 + 1;
                    tree.u16(id);
                }
                Self::write_children(members.iter().map(|(_, value)| value), names, tree);
            }
        }
    }

    fn write_children<'a>(children: impl ExactSizeIterator<Item = &'a Self>, names: &[String], tree: &mut Vec<u8>) {
        let mut at = tree.len();
        tree.extend(std::iter::repeat_n(0, children.len() * 4));
        for child in children {
            let offset = tree.len() as u32;
            tree[at..at + 4].copy_from_slice(&offset.to_be_bytes());
            at += 4;
            child.write_node(names, tree);
        }
    }
}

/// The hash of a name: FNV-1a.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash, b| (hash ^ u32::from(b)).wrapping_mul(16_777_619))
}

fn quoted(text: &str) -> String {
    let mut all = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => all.push_str("\\\""),
            '\\' => all.push_str("\\\\"),
            '\n' => all.push_str("\\n"),
            c if c < ' ' => all.push_str(&format!("\\u{:04x}", c as u32)),
            c => all.push(c),
        }
    }
    all + "\""
}
