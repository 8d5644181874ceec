//! Messages of the server that are not rows: how a call ended, what a query's columns are.
//!
//! Source: python-oracledb 26.1.0, `messages/base.pyx`.

use crate::encode::{self, Column, Description};
use crate::error::OraError;
use crate::handshake::Personality;
use crate::request::Driver;
use crate::types::Type;
use crate::wire::Write;

/// What the end of a call says besides an error.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) cursor: u32,
    /// Rows sent so far.
    pub(crate) rows: u64,
    /// There are no more.
    pub(crate) done: bool,
}

/// How the end of a call is written.
pub(crate) struct Ending {
    /// The version of messages.
    pub(crate) fields: u8,
    /// The number of the answer.
    pub(crate) sequence: u64,
    /// The number that the client gave the call; some look whether the end is that of their call.
    pub(crate) call: u8,
}

impl Ending {
    /// Writes the end of a call, with an error or without.
    pub(crate) fn write(&self, error: Option<&OraError>, end: &End, out: &mut Vec<u8>) {
        let Self { fields, sequence, call } = *self;
        let code = error.map_or(0, |e| e.code);
        // Status, sequence, row, error, two elements of arrays, cursor, where in the statement.
        out.u8(4).ub(1).ub(sequence & 0xFFFF).ub(end.rows & 0xFFFF_FFFF).ub(u64::from(code & 0xFFFF)).ub(0).ub(0);
        out.ub(end.cursor.into()).sb(error.map_or(0, |e| e.offset.into()));
        // Kind of statement, fatal, flags, options, parameter, warnings.
        out.u8(3).u8(0).u8(0).u8(0).u8(0).u8(0);
        // No rowid.
        out.ub(0).ub(0).u8(0).ub(0).ub(0);
        // The operating system's error, statement, call, padding, iterations, a logical rowid.
        out.ub(0).u8(0).u8(call).ub(0).ub(0).ub(0);
        // No errors of batches: codes, offsets, messages. Then code and rows again, in full.
        out.ub(0).ub(0).ub(0).ub(code.into()).ub(end.rows);
        if fields >= 14 {
            // The kind of statement and a checksum.
            out.ub(if end.cursor > 0 { 3 } else { 0 }).ub(0);
        }
        if let Some(error) = error {
            out.bytes(format!("{error}\n").as_bytes());
        }
    }
}

/// Writes that a call was done.
pub(crate) fn status(sequence: u64, out: &mut Vec<u8>) {
    out.u8(9).ub(1).ub(sequence & 0xFFFF);
}

/// Writes which release it is: in words, then as a number. As ojdbc11 reads it (`T4C7Oversion`).
pub(crate) fn version(personality: Personality, out: &mut Vec<u8>) {
    let banner = format!("{}\nVersion {}", personality.banner(), personality.full_version());
    out.u8(8).count(banner.len());
    out.put(banner.as_bytes());
    out.ub(personality.version_number().into());
}

/// Writes what the columns of a query are.
pub(crate) fn describe(fields: u8, driver: Driver, columns: &[Column], out: &mut Vec<u8>) {
    const NOW: [u8; 7] = [120, 126, 11, 22, 7, 1, 1];
    let descriptions: Vec<Description> = columns.iter().map(|c| Description::of(&c.kind)).collect();
    // A key of the cursor, the longest row, and the columns behind a length that nobody reads.
    out.u8(16).bytes(&[&crate::auth::random::<16>()[..], &NOW].concat());
    out.ub(descriptions.iter().map(|d| u64::from(d.size)).sum()).count(columns.len());
    if !columns.is_empty() {
        out.u8(0x82);
    }
    for (position, (column, d)) in columns.iter().zip(&descriptions).enumerate() {
        out.u8(d.code).u8(if d.form > 0 { 0x80 } else { 0 }).u8(d.precision as u8);
        match driver {
            Driver::Java if d.has_scale() => out.sb(d.scale.into()),
            _ => out.u8(d.scale as u8),
        };
        out.ub(d.size.into());
        // Elements of an array, flags.
        out.ub(0).ub(0);
        let is_object = column.kind == Type::Xml;
        // An object's type: identifier and version.
        if is_object {
            out.counted_bytes(&XMLTYPE).ub(1);
        } else {
            out.ub(0).ub(0);
        }
        let charset = match d.form {
            0 => 0,
            2 => encode::UTF16,
            _ => encode::UTF8,
        };
        out.ub(charset).u8(d.form).ub(d.characters.into());
        if fields >= 8 {
            out.ub(0);
        }
        out.u8(column.nullable.into()).u8(column.name.len() as u8).counted_bytes(column.name.as_bytes());
        let (schema, name) = if is_object { ("SYS", "XMLTYPE") } else { ("", "") };
        out.counted_bytes(schema.as_bytes()).counted_bytes(name.as_bytes()).count(position);
        // JSON is stored as OSON.
        out.ub(if column.kind == Type::Json { 0x0900 } else { 0 });
        if fields >= 17 {
            out.ub(0).ub(0);
        }
        if fields >= 20 {
            out.ub(0);
        }
        if fields >= 24 {
            match column.kind {
                // The format FLOAT32, fixed.
                Type::Vector(n) => out.ub(n.into()).u8(2).u8(0),
                _ => out.ub(0).u8(0).u8(0),
            };
        }
    }
    out.counted_bytes(&NOW).ub(0x1FE8).ub(0).ub(10).ub(10).ub(0);
}

/// The identifier of SYS.XMLTYPE, the same in every database.
const XMLTYPE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0];
