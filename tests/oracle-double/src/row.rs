//! A row of a response: each value as the client wants to have its column.

use crate::encode::{self, Column, code};
use crate::lob::Lobs;
use crate::request::Oac;
use crate::sql::{Out, TableRow};
use crate::types::{Type, Value};
use crate::wire::Write;

/// Writes rows at the end of a response.
pub(crate) struct RowWriter<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) columns: &'a [Column],
    /// What the client asked for; empty: as described.
    pub(crate) defines: &'a [Oac],
    pub(crate) lobs: &'a mut Lobs,
    /// Minutes.
    pub(crate) time_zone: i16,
}

impl Out for RowWriter<'_> {
    fn begin(&mut self) {
        self.out.u8(7);
    }

    fn value(&mut self, n: usize, value: &Value) {
        let kind = &self.columns[n].kind;
        let define = self.defines.get(n);
        match (kind, define.map(|d| d.code)) {
            (Type::Json | Type::Vector(_), _)
            | (Type::Clob | Type::Nclob | Type::Blob, Some(code::CLOB | code::BLOB) | None) => {
                self.lobs.write(kind, value, None, define, self.out);
            }
            (Type::Clob | Type::Nclob | Type::Blob | Type::Long | Type::LongRaw, _) => {
                let national = define.is_some_and(|d| d.form == 2);
                match value {
                    Value::Null => encode::long(None, self.out),
                    Value::Bytes(bytes) => encode::long(Some(bytes), self.out),
                    other if national => encode::long(Some(&encode::utf16(&crate::sql::text_of(other))), self.out),
                    other => encode::long(Some(crate::sql::text_of(other).as_bytes()), self.out),
                }
            }
            // Local time: of the session.
            (Type::TimestampLtz(_), _) => match value {
                Value::Timestamp(utc) => encode::timestamp(&utc.plus_minutes(self.time_zone.into()), self.out),
                _ => drop(self.out.u8(0)),
            },
            (Type::Number(..) | Type::Float(_), Some(code::VARCHAR | code::CHAR | code::LONG)) => {
                self.out.bytes(crate::sql::text_of(value).as_bytes());
            }
            (Type::Char(_) | Type::Varchar2(_), _) => {
                self.out.bytes(crate::sql::text_of(value).as_bytes());
            }
            _ => encode::value(kind, value, self.out),
        }
    }

    #[inline]
    fn written(&mut self, n: usize, row: &TableRow<'_>, from: usize) {
        let kind = &self.columns[n].kind;
        let as_it_is = match kind {
            Type::Clob | Type::Nclob | Type::Blob | Type::Json | Type::Vector(_) | Type::Long | Type::LongRaw => false,
            Type::TimestampLtz(_) => self.time_zone == 0,
            Type::Number(..) | Type::Float(_) => self.defines.get(n).is_none_or(|d| d.code == code::NUMBER),
            _ => true,
        };
        if as_it_is {
            return row.write(from, kind, self.out);
        }
        match row.kept(from) {
            Some(value)
                if kind.is_lob() && self.defines.get(n).is_none_or(|d| [code::CLOB, code::BLOB].contains(&d.code)) =>
            {
                self.lobs.write(kind, value, Some(row.cell(from)), self.defines.get(n), self.out);
            }
            Some(value) => self.value(n, value),
            None => self.value(n, &crate::sql::Row::get(row, from)),
        }
    }
}
