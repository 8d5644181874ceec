//! Rows as a session hands them over, and what becomes of them.

use std::fmt::Write as _;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use connector_api::{ErrorKind, TableId};

use super::*;
use crate::session::{Cell, Kind};
use crate::types::{Asked, Wire};

type Made = fn() -> Any;

/// A value of any kind.
#[derive(Debug)]
enum Any {
    Null,
    Text(&'static str),
    Number(String),
    Stamp(Stamp),
    Cell(Cell<'static>),
}

/// A row of cells that are made when they are asked for.
struct Cells(Vec<Made>);

impl Row for Cells {
    fn number(&self, column: usize, out: &mut Printed) -> Answer<bool> {
        match self.0[column]() {
            Any::Null => Ok(false),
            Any::Number(number) => Ok(out.print(&number)),
            other => panic!("{other:?} is no number"),
        }
    }

    fn text(&self, column: usize, out: &mut Vec<u8>) -> Answer<bool> {
        match self.0[column]() {
            Any::Null => return Ok(false),
            Any::Text(text) => out.extend_from_slice(text.as_bytes()),
            other => panic!("{other:?} is no text"),
        }
        Ok(true)
    }

    fn stamp(&self, column: usize, out: &mut Stamp) -> Answer<bool> {
        match self.0[column]() {
            Any::Null => return Ok(false),
            Any::Stamp(stamp) => *out = stamp,
            other => panic!("{other:?} is no moment"),
        }
        Ok(true)
    }

    fn cell(&self, column: usize, _: Kind) -> Answer<Cell<'_>> {
        match self.0[column]() {
            Any::Null => Ok(Cell::Null),
            Any::Cell(cell) => Ok(cell),
            other => panic!("{other:?} is another kind"),
        }
    }

    fn lob(&mut self, column: usize, cap: u64, admit: Admit<'_>, out: &mut Vec<u8>) -> Answer<Lob> {
        Ok(match self.0[column]() {
            Any::Text(text) if text.len() as u64 > cap => Lob::TooLong(text.len() as u64),
            Any::Text(text) => {
                admit(text.len() as u64)?;
                out.extend_from_slice(text.as_bytes());
                Lob::Read
            }
            _ => Lob::Null,
        })
    }
}

fn decoder(wires: &[Wire], limits: Limits, locators: bool) -> Decoder {
    let forms: Vec<_> =
        wires.iter().map(|wire| Form { wire: *wire, asked: Asked::Plain, cuts: None, width: 1 }).collect();
    let column = |(i, form): (usize, &Form)| form.column(&format!("C{i}"), true, "", None);
    let columns = forms.iter().enumerate().map(column).collect();
    let schema = TableSchema::new(TableId::new("S", "T"), columns, vec![]).unwrap();
    Decoder::new(Arc::new(schema), &forms, limits, locators)
}

const LIMITS: Limits = Limits { rows: 1000, bytes: 1 << 20, lob: 8 };

fn number(text: &str) -> Any {
    Any::Number(text.into())
}

/// The one value of a column, and that NULL is NULL; or the error.
fn check(wire: Wire, cell: Made) -> Result<String, String> {
    let mut decoder = decoder(&[wire], LIMITS, false);
    let mut push =
        |cell| decoder.push(&mut Cells(vec![cell]), &mut |_| Ok(())).map_err(|e| e.while_doing("testing").to_string());
    push(cell)?;
    push(|| Any::Null)?;
    let batch = decoder.finish().map_err(|e| e.while_doing("testing").to_string())?.unwrap();
    let column = batch.column(0);
    assert!(column.is_null(1) && !column.is_null(0) && batch.num_rows() == 2);
    let mut text = String::new();
    match wire {
        Wire::Int => write!(text, "{}", column.as_primitive::<Int32Type>().value(0)),
        Wire::Long => write!(text, "{}", column.as_primitive::<Int64Type>().value(0)),
        Wire::Decimal { .. } => write!(text, "{}", column.as_primitive::<Decimal128Type>().value(0)),
        Wire::Timestamp | Wire::Instant => {
            write!(text, "{}", column.as_primitive::<TimestampMicrosecondType>().value(0))
        }
        Wire::Bytes | Wire::Blob => write!(text, "{:?}", column.as_binary::<i32>().value(0)),
        Wire::Bool => write!(text, "{}", column.as_boolean().value(0)),
        Wire::Float | Wire::Double | Wire::NumberDouble | Wire::Vector => {
            write!(text, "{:?}", column.slice(0, 1))
        }
        _ => write!(text, "{}", column.as_string::<i32>().value(0)),
    }
    .unwrap();
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn every_kind_of_value() {
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(check(Wire::Int, || number("-999999999")), ok("-999999999"));
    assert_eq!(check(Wire::Long, || number("999999999999999999")), ok("999999999999999999"));
    assert_eq!(check(Wire::Decimal { precision: 12, scale: 2 }, || number("1.5")), ok("150"));
    assert_eq!(check(Wire::NumberText, || number("0.10")), ok("0.1"));
    assert_eq!(check(Wire::NumberDouble, || number("0.5")), ok("PrimitiveArray<Float64> [ 0.5, ]"));
    assert_eq!(check(Wire::Double, || Any::Cell(Cell::Double(f64::INFINITY))), ok("PrimitiveArray<Float64> [ inf, ]"));
    assert_eq!(check(Wire::Float, || Any::Cell(Cell::Float(-1.5))), ok("PrimitiveArray<Float32> [ -1.5, ]"));
    assert_eq!(check(Wire::Text, || Any::Text("a  ")), ok("a"));
    assert_eq!(check(Wire::Bytes, || Any::Cell(Cell::Bytes(&[0, 255]))), ok("[0, 255]"));
    assert_eq!(check(Wire::Bool, || Any::Cell(Cell::Bool(true))), ok("true"));
    assert_eq!(check(Wire::YearMonth, || Any::Cell(Cell::YearMonth(1, 2))), ok("P1Y2M"));
    assert_eq!(check(Wire::DaySecond, || Any::Cell(Cell::DaySecond([1, 0, 0, 0, 0]))), ok("P1D"));
    let day =
        || Any::Stamp(Stamp { year: 1970, month: 1, day: 2, hour: 0, minute: 0, second: 0, nanos: 999, offset: 0 });
    assert_eq!([check(Wire::Timestamp, day), check(Wire::Instant, day)], [ok("86400000000"), ok("86400000000")]);
    let list = "ListArray [ PrimitiveArray<Float32> [ 1.0, -0.5, ], ]";
    assert_eq!(check(Wire::Vector, || Any::Cell(Cell::Vector(vec![1.0, -0.5]))), ok(list));
}

#[test]
fn what_does_not_fit_is_named() {
    let place = "[table=S.T, column=C0]";
    let says = |wire, cell| check(wire, cell).unwrap_err();
    let more = format!("the number has more digits than its column's type {place}");
    assert_eq!(says(Wire::Decimal { precision: 38, scale: 0 }, || number(&"9".repeat(39))), more);
    assert_eq!(
        says(Wire::Vector, || Any::Cell(Cell::Vector(vec![0.1]))),
        format!("the vector has an element that is no float {place}")
    );
    assert_eq!(
        says(Wire::Float, || Any::Cell(Cell::Bool(true))),
        format!("a value of another type than its column's {place}")
    );
    assert!(says(Wire::YearMonth, || Any::Cell(Cell::Bytes(&[0xff]))).starts_with("text that is not UTF-8"));
    let failed = Trouble::Wrong("x").of(decoder(&[Wire::Int], LIMITS, false).schema.as_ref(), 0).while_doing("testing");
    assert_eq!(failed.kind(), ErrorKind::Data);
}

#[test]
fn a_lob_is_whole_or_an_error() {
    for locators in [true, false] {
        let check = |cell: Made| {
            let mut decoder = decoder(&[Wire::Clob], LIMITS, locators);
            decoder.push(&mut Cells(vec![cell]), &mut |_| Ok(())).map_err(|e| e.while_doing("testing").to_string())?;
            let batch = decoder.finish().unwrap().unwrap();
            let column = batch.column(0).as_string::<i32>().clone();
            Ok::<_, String>((!column.is_null(0)).then(|| column.value(0).to_owned()))
        };
        assert_eq!(check(|| Any::Text("12345678")), Ok(Some("12345678".into())), "{locators}");
        assert_eq!(check(|| Any::Null), Ok(None));
        let too_long = check(|| Any::Text("123456789")).unwrap_err();
        assert!(
            too_long.contains("lob.max.bytes") && too_long.contains("length=9, ") && too_long.contains("column=C0")
        );
    }
}

#[test]
fn a_lob_is_admitted_by_its_length_or_ends_its_row() {
    let mut decoder = decoder(&[Wire::Clob], LIMITS, true);
    let (mut row, mut asked) = (Cells(vec![|| Any::Text("1234567")]), vec![]);
    let mut admit = |length| {
        asked.push(length);
        if asked.len() > 1 { Err(Failure::Stopped(connector_api::Error::fatal("stopped"))) } else { Ok(()) }
    };
    assert!(decoder.push(&mut row, &mut admit).is_ok());
    assert!(decoder.push(&mut row, &mut admit).is_err());
    assert_eq!(asked, [7, 7]);
}

#[test]
fn batches_close_by_rows_and_bytes() {
    let lengths = |limits: Limits, rows: usize| {
        let mut decoder = decoder(&[Wire::Text], limits, false);
        let mut row = Cells(vec![|| Any::Text("0123456789")]);
        let mut lengths: Vec<_> = (0..rows)
            .filter_map(|_| decoder.push(&mut row, &mut |_| Ok(())).unwrap())
            .map(|batch| batch.num_rows())
            .collect();
        lengths.extend(decoder.finish().unwrap().map(|batch| batch.num_rows()));
        lengths
    };
    assert_eq!(lengths(Limits { rows: 3, ..LIMITS }, 7), [3, 3, 1]);
    assert_eq!(lengths(Limits { bytes: 28, ..LIMITS }, 5), [2, 2, 1]);
    assert_eq!(lengths(LIMITS, 0), [0usize; 0]);
}

#[test]
fn a_digest_tells_rows_and_their_order() {
    let digest = |cells: &[Made]| {
        let mut decoder = decoder(&[Wire::Text], LIMITS, false);
        for cell in cells {
            decoder.push(&mut Cells(vec![*cell]), &mut |_| Ok(())).unwrap();
        }
        digest(&decoder.finish().unwrap().unwrap())
    };
    let a: Made = || Any::Text("a");
    let b: Made = || Any::Text("b");
    let one = digest(&[a, b]);
    assert_eq!(one, digest(&[a, b]));
    let null: Made = || Any::Null;
    let empty: Made = || Any::Text("");
    for other in [[b, a], [a, a], [a, null]] {
        assert_ne!(one, digest(&other));
    }
    assert_ne!(digest(&[null]), digest(&[empty]));
}
