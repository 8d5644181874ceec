//! Requests as clients send them, read whole before anything is done: one that goes on in a further packet is read
//! again from its beginning.
//!
//! Sources: python-oracledb 26.1.0, `messages/{base,execute,fetch,lob_op,fast_auth}.pyx`.

use std::collections::HashMap;

use crate::auth::Login;
use crate::encode::{self, code};
use crate::handshake::DataTypes;
use crate::types::Value;
use crate::wire::{Reader, Short};

/// Options of an execution.
pub(crate) mod option {
    pub(crate) const BIND: u64 = 0x08;
    pub(crate) const DEFINE: u64 = 0x10;
    pub(crate) const EXECUTE: u64 = 0x20;
    pub(crate) const FETCH: u64 = 0x40;
    pub(crate) const DESCRIBE: u64 = 0x2_0000;
}

/// Which dialect a client speaks, by the name of its driver: what a capability says of it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Scales of described columns are one byte.
    Thin,
    /// JDBC: scales are integers of variable length where a type has one.
    Java,
}

/// Reads a driver's name, which ends with a zero.
fn driver(reader: &mut Reader<'_>) -> Result<Driver, Short> {
    let mut name = Vec::new();
    loop {
        match reader.u8()? {
            0 => return Ok(if name.starts_with(b"Java") { Driver::Java } else { Driver::Thin }),
            b => name.push(b),
        }
    }
}

/// What a client asks for.
pub(crate) enum Call {
    /// Who are you? With the client's own name.
    Protocol(Driver),
    DataTypes(DataTypes),
    /// The first three exchanges in one.
    FastAuth(Driver, DataTypes, Login),
    AuthOne(Login),
    AuthTwo(Login),
    Execute(Execute),
    /// A statement that was executed before: its cursor, rows to fetch at once, values.
    Again {
        cursor: u32,
        rows: usize,
        binds: Vec<Value>,
    },
    Fetch {
        cursor: u32,
        rows: usize,
    },
    Lob(LobCall),
    /// Anything that only wants to know whether it was done: a ping, a commit, a rollback.
    Simple,
    /// Which release are you? JDBC asks when it is asked for the product's version.
    Version,
    Logoff,
    /// What the server does not know.
    Unknown(u8),
}

/// Something that rides in front of a call.
pub(crate) enum Piggyback {
    CloseCursors(Vec<u32>),
    SetSchema(String),
    /// Of no consequence here.
    Other,
}

/// The execution of a statement.
#[derive(Default)]
pub(crate) struct Execute {
    pub(crate) options: u64,
    /// 0: a new one.
    pub(crate) cursor: u32,
    pub(crate) sql: Option<String>,
    /// Rows to send along.
    pub(crate) rows: usize,
    pub(crate) bind_types: Vec<Oac>,
    pub(crate) binds: Vec<Value>,
    pub(crate) defines: Vec<Oac>,
}

/// How a client wants to have a column, or gives a bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oac {
    /// The number of a type.
    pub(crate) code: u8,
    /// 2: national text.
    pub(crate) form: u8,
    /// The most bytes of a value.
    pub(crate) size: u64,
    /// How much of a LOB should come with its locator.
    pub(crate) prefetch: u64,
    /// Flags, among them that the data of LOBs should come along.
    pub(crate) flags: u64,
}

/// An operation on a LOB.
pub(crate) struct LobCall {
    pub(crate) operation: u64,
    pub(crate) locator: Vec<u8>,
    /// From 1.
    pub(crate) offset: u64,
    /// Bytes, or characters; where it is sent at all.
    pub(crate) amount: Option<u64>,
    /// Whether a flag is wanted back.
    pub(crate) wants_flag: bool,
}

/// What reading a request depends on.
pub(crate) struct Context<'a> {
    /// The version of TTC's messages that was agreed on.
    pub(crate) fields: u8,
    /// The types of the binds of open cursors.
    pub(crate) binds: &'a HashMap<u32, Vec<Oac>>,
}

/// Reads a request: what rides in front of the call, the call, and the number that the client gave it.
pub(crate) fn read(bytes: &[u8], context: &Context<'_>) -> Result<(Vec<Piggyback>, Call, u8), Short> {
    let mut reader = Reader::new(bytes);
    let mut piggybacks = Vec::new();
    loop {
        match reader.u8()? {
            1 => {
                // The versions that it speaks, up to a zero.
                while reader.u8()? != 0 {}
                return Ok((piggybacks, Call::Protocol(driver(&mut reader)?), 0));
            }
            2 => return Ok((piggybacks, Call::DataTypes(DataTypes::read(&mut reader)?), 0)),
            34 => {
                let (call, number) = fast_auth(&mut reader)?;
                return Ok((piggybacks, call, number));
            }
            17 => piggybacks.push(piggyback(&mut reader, context)?),
            3 => {
                let (call, number) = function(&mut reader, context)?;
                return Ok((piggybacks, call, number));
            }
            other => return Ok((piggybacks, Call::Unknown(other), 0)),
        }
    }
}

fn fast_auth(reader: &mut Reader<'_>) -> Result<(Call, u8), Short> {
    // Version and flags; then a protocol message with the driver's name.
    reader.skip(3)?;
    reader.skip(1)?;
    while reader.u8()? != 0 {}
    let driver = driver(reader)?;
    // Character sets that the server had last time, the version of this message; then a data types message.
    reader.skip(5)?;
    let fields = reader.u8()?;
    reader.skip(1)?;
    let types = DataTypes::read(reader)?;
    // The mark of a function and its number.
    reader.skip(2)?;
    let number = header(reader, &Context { fields, binds: &HashMap::new() })?;
    Ok((Call::FastAuth(driver, types, Login::read(reader)?), number))
}

/// Reads the sequence number and the token that follow a function's number.
fn header(reader: &mut Reader<'_>, context: &Context<'_>) -> Result<u8, Short> {
    let number = reader.u8()?;
    if context.fields >= 18 {
        reader.ub()?;
    }
    Ok(number)
}

fn piggyback(reader: &mut Reader<'_>, context: &Context<'_>) -> Result<Piggyback, Short> {
    let function = reader.u8()?;
    header(reader, context)?;
    match function {
        // Close cursors; cancel them.
        105 | 120 => {
            reader.skip(1)?;
            let count = reader.count()?;
            let cursors = (0..count).map(|_| reader.ub().map(|n| n as u32));
            return Ok(Piggyback::CloseCursors(cursors.collect::<Result<_, _>>()?));
        }
        152 => {
            reader.skip(1)?;
            return Ok(Piggyback::SetSchema(String::from_utf8_lossy(&reader.counted_bytes()?).to_string()));
        }
        // The state of a session at a request's boundary.
        176 => drop(reader.ub()?),
        // What JDBC counts of its own features.
        191 => {
            reader.skip(1)?;
            let length = reader.count()?;
            reader.skip(1)?;
            reader.bytes_of(length)?;
        }
        154 => keys(reader)?,
        135 => end_to_end(reader)?,
        // Temporary LOBs to free.
        96 => {
            reader.skip(1)?;
            let length = reader.count()?;
            reader.skip(1)?;
            for _ in 0..3 {
                reader.ub()?;
            }
            reader.skip(3)?;
            reader.ub()?;
            reader.skip(1)?;
            for _ in 0..3 {
                reader.ub()?;
            }
            reader.skip(1)?;
            for _ in 0..3 {
                reader.skip(1)?;
                reader.ub()?;
            }
            reader.skip(length)?;
        }
        _ => {}
    }
    Ok(Piggyback::Other)
}

/// Keys and values for a namespace.
fn keys(reader: &mut Reader<'_>) -> Result<(), Short> {
    reader.skip(1)?;
    reader.ub()?;
    reader.skip(1)?;
    let count = reader.count()?;
    reader.ub()?;
    reader.skip(1)?;
    reader.bytes()?;
    for _ in 0..count {
        reader.counted_bytes()?;
        reader.counted_bytes()?;
        reader.ub()?;
    }
    Ok(())
}

/// Module, action and the like.
fn end_to_end(reader: &mut Reader<'_>) -> Result<(), Short> {
    reader.skip(2)?;
    reader.ub()?;
    let mut texts = 0;
    let mut pointer = |reader: &mut Reader<'_>| -> Result<(), Short> {
        let there = reader.u8()? != 0;
        texts += usize::from(reader.count()? > 0 && there);
        Ok(())
    };
    // Client identifier, module, action; then what is never there; client info; two more; the operation's name.
    for _ in 0..3 {
        pointer(reader)?;
    }
    reader.skip(1)?;
    reader.ub()?;
    reader.skip(1)?;
    reader.ub()?;
    for _ in 0..4 {
        pointer(reader)?;
    }
    for _ in 0..texts {
        reader.bytes()?;
    }
    Ok(())
}

fn function(reader: &mut Reader<'_>, context: &Context<'_>) -> Result<(Call, u8), Short> {
    let function = reader.u8()?;
    let number = header(reader, context)?;
    let call = match function {
        118 => Call::AuthOne(Login::read(reader)?),
        115 => Call::AuthTwo(Login::read(reader)?),
        94 => Call::Execute(execute(reader, context)?),
        4 | 78 => {
            let cursor = reader.ub()? as u32;
            let rows = reader.count()?;
            reader.ub()?;
            reader.ub()?;
            let types = context.binds.get(&cursor).map(Vec::as_slice).unwrap_or_default();
            let binds = if reader.is_empty() { Vec::new() } else { bind_values(reader, types)? };
            Call::Again { cursor, rows: if function == 78 { rows } else { 0 }, binds }
        }
        5 => Call::Fetch { cursor: reader.ub()? as u32, rows: reader.count()? },
        96 => Call::Lob(lob(reader)?),
        9 => Call::Logoff,
        59 => Call::Version,
        14 | 15 | 147 => Call::Simple,
        other => Call::Unknown(other),
    };
    Ok((call, number))
}

fn execute(reader: &mut Reader<'_>, context: &Context<'_>) -> Result<Execute, Short> {
    let options = reader.ub()?;
    let cursor = reader.ub()? as u32;
    let has_sql = reader.u8()? != 0;
    let length = reader.count()?;
    reader.skip(1)?;
    let numbers = reader.count()?;
    reader.skip(2)?;
    // The size of a buffer; rows; the longest LONG.
    reader.ub()?;
    let rows = reader.count()?;
    reader.ub()?;
    reader.skip(1)?;
    let bind_count = reader.count()?;
    reader.skip(5)?;
    reader.skip(1)?;
    let define_count = reader.count()?;
    // A registration, pointers to what is not there.
    reader.ub()?;
    reader.skip(3)?;
    reader.ub()?;
    reader.skip(1)?;
    reader.ub()?;
    reader.ub()?;
    reader.skip(1)?;
    reader.ub()?;
    reader.skip(1)?;
    if context.fields >= 8 {
        reader.skip(1)?;
        reader.ub()?;
        reader.skip(1)?;
        reader.ub()?;
        reader.skip(1)?;
    }
    if context.fields >= 9 {
        reader.skip(1)?;
        reader.ub()?;
    }
    let sql = match has_sql && length > 0 {
        true => Some(String::from_utf8_lossy(&reader.bytes_of(length)?).to_string()),
        false => None,
    };
    let numbers = (0..numbers).map(|_| reader.count()).collect::<Result<Vec<_>, _>>()?;
    // JDBC says how many rows it wants in the second of the numbers.
    let rows = if rows == 0 { numbers.get(1).copied().unwrap_or(0) } else { rows };
    let mut oacs = |count: usize| (0..count).map(|_| oac(reader, context)).collect::<Result<Vec<_>, _>>();
    let defines = if options & option::DEFINE != 0 { oacs(define_count)? } else { Vec::new() };
    let bind_types = if options & option::BIND != 0 { oacs(bind_count)? } else { Vec::new() };
    let binds = if bind_types.is_empty() { Vec::new() } else { bind_values(reader, &bind_types)? };
    Ok(Execute { options, cursor, sql, rows, bind_types, binds, defines })
}

/// A column's or a bind's metadata.
fn oac(reader: &mut Reader<'_>, context: &Context<'_>) -> Result<Oac, Short> {
    let code = reader.u8()?;
    reader.skip(3)?;
    let size = reader.ub()?;
    reader.ub()?;
    let flags = reader.ub()?;
    reader.counted_bytes()?;
    // The version of an object's type, the character set.
    reader.ub()?;
    reader.ub()?;
    let form = reader.u8()?;
    let prefetch = reader.ub()?;
    if context.fields >= 8 {
        reader.ub()?;
    }
    Ok(Oac { code, form, size, prefetch, flags })
}

/// The values of a row of binds: first those that are not long, then the others.
fn bind_values(reader: &mut Reader<'_>, types: &[Oac]) -> Result<Vec<Value>, Short> {
    /// The longest text outside of LONG.
    const LONGEST: u64 = 32_767;
    // The mark of a row.
    reader.skip(1)?;
    let mut values = vec![Value::Null; types.len()];
    for long in [false, true] {
        for (value, oac) in values.iter_mut().zip(types).filter(|(_, oac)| (oac.size > LONGEST) == long) {
            *value = match oac.code {
                code::CLOB | code::BLOB => {
                    reader.counted_bytes()?;
                    Value::Null
                }
                // An escape stands for a NULL of no bytes.
                code::BOOLEAN if reader.peek()? == 253 => {
                    reader.skip(2)?;
                    Value::Null
                }
                code => encode::bound(code, oac.form, &reader.bytes()?),
            };
        }
    }
    Ok(values)
}

fn lob(reader: &mut Reader<'_>) -> Result<LobCall, Short> {
    let there = reader.u8()? != 0;
    let length = reader.count()?;
    reader.skip(1)?;
    // Destination's length; short offsets.
    for _ in 0..3 {
        reader.ub()?;
    }
    let has_charset = reader.u8()? != 0;
    reader.skip(1)?;
    let wants_flag = reader.u8()? != 0;
    let operation = reader.ub()?;
    reader.skip(2)?;
    let offset = reader.ub()?;
    reader.ub()?;
    let has_amount = reader.u8()? != 0;
    reader.skip(6)?;
    let locator = if there { reader.take(length)?.to_vec() } else { Vec::new() };
    if has_charset {
        reader.ub()?;
    }
    let amount = if has_amount { Some(reader.ub()?) } else { None };
    Ok(LobCall { operation, locator, offset, amount, wants_flag })
}
