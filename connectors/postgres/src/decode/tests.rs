//! The decoder against bytes made by hand, whole, split anywhere, mutated and arbitrary.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, RecordBatch};
use connector_api::TableId;
use proptest::prelude::*;

use super::numeric::tests::wire as numeric;
use super::*;

type Cell = Option<Vec<u8>>;

fn table(forms: &[Form]) -> Arc<TableSchema> {
    let columns = forms.iter().enumerate().map(|(i, f)| f.column(&format!("c{i}"), true, "?")).collect();
    Arc::new(TableSchema::new(TableId::new("s", "t"), columns, vec![]).unwrap())
}

fn row(cells: &[Cell]) -> Vec<u8> {
    let mut out = (cells.len() as i16).to_be_bytes().to_vec();
    for cell in cells {
        match cell {
            None => out.extend((-1i32).to_be_bytes()),
            Some(bytes) => {
                out.extend((bytes.len() as i32).to_be_bytes());
                out.extend(bytes);
            }
        }
    }
    out
}

fn header_bytes() -> Vec<u8> {
    [&SIGNATURE[..], &[0; 8]].concat()
}

/// As PostgreSQL sends it: the header with the first row, one message a row, the trailer by itself.
fn messages(rows: &[Vec<Cell>]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = rows.iter().map(|r| row(r)).collect();
    out.push((-1i16).to_be_bytes().to_vec());
    out[0] = [header_bytes(), out[0].clone()].concat();
    out
}

const LIMITS: Limits = Limits { rows: 3, bytes: 1 << 20 };

/// Decodes messages that lie in one buffer, which moves before those of the given numbers.
fn decode(
    wires: &[Wire],
    messages: &[Vec<u8>],
    limits: Limits,
    skip: u64,
    moves: impl Fn(usize) -> bool,
) -> Result<Vec<RecordBatch>, Error> {
    let forms: Vec<_> = wires.iter().map(|w| Form::plain(*w)).collect();
    decode_forms(&forms, messages, limits, skip, moves)
}

fn decode_forms(
    forms: &[Form],
    messages: &[Vec<u8>],
    limits: Limits,
    skip: u64,
    moves: impl Fn(usize) -> bool,
) -> Result<Vec<RecordBatch>, Error> {
    let mut decoder = Decoder::new(table(forms), forms, limits, skip);
    let (mut buffer, mut batches) = (vec![], vec![]);
    for (i, message) in messages.iter().enumerate() {
        if moves(i) {
            decoder.settle(&buffer)?;
            buffer.fill(0xEE);
            buffer.clear();
        }
        let start = buffer.len();
        buffer.extend(message);
        decoder.push(&buffer, start..buffer.len())?;
        batches.extend(std::iter::from_fn(|| decoder.take()));
    }
    decoder.settle(&buffer)?;
    decoder.finish()?;
    batches.extend(std::iter::from_fn(|| decoder.take()));
    Ok(batches)
}

/// One value of one type: the array that holds it, or the error.
fn one(wire: Wire, bytes: &[u8]) -> Result<Arc<dyn Array>, String> {
    let rows = [vec![Some(bytes.to_vec())], vec![None]];
    let batches = decode(&[wire], &messages(&rows), LIMITS, 0, |_| true).map_err(|e| e.to_string())?;
    let column = Arc::clone(batches[0].column(0));
    assert_eq!((column.len(), column.is_valid(0), column.is_null(1)), (2, true, true));
    Ok(column)
}

fn error(wire: Wire, bytes: &[u8]) -> String {
    one(wire, bytes).map(|a| format!("{a:?}")).unwrap_err()
}

#[test]
fn integers_floats_and_booleans() {
    assert_eq!(one(Wire::Int2, &i16::MIN.to_be_bytes()).unwrap().as_primitive::<Int32Type>().value(0), -32768);
    assert_eq!(one(Wire::Int4, &i32::MIN.to_be_bytes()).unwrap().as_primitive::<Int32Type>().value(0), i32::MIN);
    assert_eq!(one(Wire::Int8, &i64::MAX.to_be_bytes()).unwrap().as_primitive::<Int64Type>().value(0), i64::MAX);
    assert_eq!(one(Wire::Oid, &u32::MAX.to_be_bytes()).unwrap().as_primitive::<Int64Type>().value(0), 4294967295);
    for value in [-0.0f64, f64::NAN, f64::NEG_INFINITY, f64::MIN_POSITIVE / 2.0, f64::MAX] {
        let array = one(Wire::Float8, &value.to_be_bytes()).unwrap();
        assert_eq!(array.as_primitive::<Float64Type>().value(0).to_bits(), value.to_bits());
    }
    let array = one(Wire::Float4, &f32::MAX.to_be_bytes()).unwrap();
    assert_eq!(array.as_primitive::<Float32Type>().value(0), f32::MAX);
    assert!(one(Wire::Bool, &[1]).unwrap().as_boolean().value(0));
    assert!(!one(Wire::Bool, &[0]).unwrap().as_boolean().value(0));
    assert_eq!(error(Wire::Bool, &[2]), "a boolean that is neither true nor false [table=s.t, column=c0]");
    assert_eq!(error(Wire::Int4, &[0; 8]), "a value is not as long as its type [table=s.t, column=c0]");
    assert_eq!(error(Wire::Uuid, &[0; 15]), "a value is not as long as its type [table=s.t, column=c0]");
}

#[test]
fn text_and_bytes() {
    assert_eq!(one(Wire::Text, "grüß 🎈".as_bytes()).unwrap().as_string::<i32>().value(0), "grüß 🎈");
    assert_eq!(one(Wire::Text, b"").unwrap().as_string::<i32>().value(0), "");
    assert_eq!(one(Wire::Jsonb, b"\x01{}").unwrap().as_string::<i32>().value(0), "{}");
    assert_eq!(one(Wire::Bytea, b"\0\xff").unwrap().as_binary::<i32>().value(0), b"\0\xff");
    assert_eq!(one(Wire::Uuid, &[7; 16]).unwrap().as_fixed_size_binary().value(0), [7; 16]);
    assert_eq!(error(Wire::Text, b"\xe9"), "text that is not UTF-8 [table=s.t, column=c0]");
    assert_eq!(error(Wire::Jsonb, b"\x02{}"), "a jsonb value of an unknown version [table=s.t, column=c0]");
    assert_eq!(error(Wire::Jsonb, b""), "a jsonb value of an unknown version [table=s.t, column=c0]");
    // Two halves of one character in two values are valid only as a whole.
    let halves = [vec![Some(b"\xc3".to_vec())], vec![Some(b"\xa9".to_vec())]];
    assert!(decode(&[Wire::Text], &messages(&halves), LIMITS, 0, |_| false).is_err());
}

#[test]
fn dates_and_times() {
    let date = |days: i32| one(Wire::Date, &days.to_be_bytes()).map(|a| a.as_primitive::<Date32Type>().value(0));
    assert_eq!(date(0), Ok(10957));
    assert_eq!(date(-2451545), Ok(-2440588), "4714-11-24 BC, the first");
    assert_eq!(date(2145031948), Ok(2145042905), "5874897 AD, the last");
    assert_eq!(date(i32::MAX), Err("the date is infinite [table=s.t, column=c0]".into()));
    assert_eq!(date(i32::MAX - 1), Err("the date is out of range [table=s.t, column=c0]".into()));
    let time = |us: i64| one(Wire::Time, &us.to_be_bytes()).map(|a| a.as_primitive::<Time64MicrosecondType>().value(0));
    assert_eq!(time(86_399_999_999), Ok(86_399_999_999));
    assert_eq!(time(86_400_000_000), Err("the time 24:00:00 has no equivalent [table=s.t, column=c0]".into()));
    assert_eq!(time(-1), Err("the time is out of range [table=s.t, column=c0]".into()));
    for wire in [Wire::Timestamp, Wire::Timestamptz] {
        let stamp =
            |us: i64| one(wire, &us.to_be_bytes()).map(|a| a.as_primitive::<TimestampMicrosecondType>().value(0));
        assert_eq!(stamp(0), Ok(946_684_800_000_000));
        assert_eq!(stamp(-211_813_488_000_000_000), Ok(-210_866_803_200_000_000), "4714-11-24 BC, the first");
        assert_eq!(stamp(i64::MIN), Err("the timestamp is infinite [table=s.t, column=c0]".into()));
        assert_eq!(stamp(i64::MAX - 1), Err("the timestamp is out of range [table=s.t, column=c0]".into()));
    }
}

#[test]
fn numerics() {
    let wire = Wire::Decimal { precision: 12, scale: 2 };
    let decimal = |text: &str| one(wire, &numeric(text)).map(|a| a.as_primitive::<Decimal128Type>().value(0));
    assert_eq!(decimal("-1234567890.12"), Ok(-123456789012));
    assert_eq!(decimal("0.10"), Ok(10));
    assert_eq!(
        decimal("1.001"),
        Err("the value has more decimal places than the column's type [table=s.t, column=c0]".into())
    );
    let nan = [0, 0, 0xC000u16, 0].map(u16::to_be_bytes).concat();
    assert_eq!(error(wire, &nan), "NaN or infinity in a column that becomes a decimal [table=s.t, column=c0]");
    assert_eq!(one(Wire::NumericText, &nan).unwrap().as_string::<i32>().value(0), "NaN");
    assert_eq!(one(Wire::NumericText, &numeric("1.500")).unwrap().as_string::<i32>().value(0), "1.500");
}

#[test]
fn an_empty_copy_has_no_batch() {
    for split in [0, 5, 19, 20] {
        let all = [header_bytes(), (-1i16).to_be_bytes().to_vec()].concat();
        let (a, b) = all.split_at(split);
        let batches = decode(&[Wire::Int4], &[a.to_vec(), b.to_vec()], LIMITS, 0, |_| true).unwrap();
        assert!(batches.is_empty());
    }
}

#[test]
fn a_header_may_have_an_extension_but_no_unknown_flag() {
    let end = (-1i16).to_be_bytes().to_vec();
    let extended = [&SIGNATURE[..], &[0; 4], &3u32.to_be_bytes(), b"ext", &end].concat();
    assert!(decode(&[Wire::Int4], &[extended], LIMITS, 0, |_| true).is_ok());
    let flagged = [&SIGNATURE[..], &[0, 1, 0, 0], &[0; 4], &end].concat();
    assert!(decode(&[Wire::Int4], &[flagged], LIMITS, 0, |_| true).is_err());
}

#[test]
fn what_is_not_a_copy_is_an_error() {
    let good = messages(&[vec![Some(vec![0; 4])]]).concat();
    let check = |bytes: &[u8]| decode(&[Wire::Int4], &[bytes.to_vec()], LIMITS, 0, |_| true).map(|b| b.len());
    assert!(matches!(check(&good), Ok(1)));
    assert!(check(&good[..good.len() - 2]).is_err(), "no trailer");
    assert!(check(&good[..good.len() - 4]).is_err(), "half a row");
    assert!(check(&[&good[..], b"x"].concat()).is_err(), "bytes after the trailer");
    assert!(check(b"id\tname\n").is_err(), "text format");
    assert!(check(&[header_bytes(), row(&[None, None]), vec![255; 2]].concat()).is_err(), "two columns");
    assert!(check(&[header_bytes(), vec![0, 1, 255, 255, 255, 254], vec![255; 2]].concat()).is_err(), "length -2");
    assert!(check(b"").is_err(), "nothing");
}

#[test]
fn batches_close_by_rows_and_by_bytes() {
    let check = |sizes: &[usize], limits: Limits| -> Vec<usize> {
        let rows: Vec<_> = sizes.iter().map(|n| vec![Some(vec![b'x'; *n])]).collect();
        let batches = decode(&[Wire::Text], &messages(&rows), limits, 0, |_| false).unwrap();
        batches.iter().map(|b| b.num_rows()).collect()
    };
    assert_eq!(check(&[1; 7], Limits { rows: 3, bytes: 1000 }), [3, 3, 1]);
    assert_eq!(check(&[94; 5], Limits { rows: 100, bytes: 250 }), [2, 2, 1]);
    assert_eq!(check(&[10, 5000, 10, 10], Limits { rows: 100, bytes: 250 }), [1, 1, 2], "a huge row is alone");
}

#[test]
fn text_of_numerics_counts_with_its_length() {
    let rows: Vec<_> = (0..20).map(|_| vec![Some(numeric(&format!("1{}", "0".repeat(50_000))))]).collect();
    let limits = Limits { rows: 100, bytes: 200_000 };
    let batches = decode(&[Wire::NumericText], &messages(&rows), limits, 0, |_| false).unwrap();
    assert!(batches.len() >= 5 && batches.iter().all(|b| b.num_rows() <= 4));
}

#[test]
fn infinities_are_null_when_asked() {
    let cells = |values: [i64; 4]| values.map(|v| vec![Some(v.to_be_bytes().to_vec())]);
    let form = Form { infinite_is_null: true, ..Form::plain(Wire::Timestamptz) };
    let rows = cells([i64::MAX, i64::MIN, i64::MIN + 1 + (1 << 62), 0]);
    let limits = Limits { rows: 10, ..LIMITS };
    let batch = decode_forms(&[form], &messages(&rows), limits, 0, |_| false).unwrap().remove(0);
    assert_eq!((0..4).map(|i| batch.column(0).is_null(i)).collect::<Vec<_>>(), [true, true, false, false]);
    let days = [i32::MAX, i32::MIN, 0].map(|v| vec![Some(v.to_be_bytes().to_vec())]);
    let form = Form { infinite_is_null: true, ..Form::plain(Wire::Date) };
    let batch = decode_forms(&[form], &messages(&days), LIMITS, 0, |_| false).unwrap().remove(0);
    assert_eq!(batch.column(0).as_primitive::<Date32Type>().iter().collect::<Vec<_>>(), [None, None, Some(10957)]);
}

#[test]
fn lists_lie_beside_values() {
    let array = |values: &[i32]| {
        let head = [1, 0, 23, values.len() as i32, 1];
        let elements = values.iter().flat_map(|v| [4, *v]);
        Some(head.into_iter().chain(elements).flat_map(i32::to_be_bytes).collect::<Vec<u8>>())
    };
    let forms = [Form::plain(Wire::Int4), Form { layout: Layout::Binary { depth: 1 }, ..Form::plain(Wire::Int4) }];
    let row = |n: i32| vec![Some(n.to_be_bytes().to_vec()), if n == 2 { None } else { array(&[n, n * 10]) }];
    let rows: Vec<_> = (0..5).map(row).collect();
    for moves in [true, false] {
        let batches = decode_forms(&forms, &messages(&rows), LIMITS, 0, |_| moves).unwrap();
        let lists = batches.iter().flat_map(|b| {
            let lists = b.column(1).as_list::<i32>();
            lists.iter().map(|l| l.map(|l| l.as_primitive::<Int32Type>().values().to_vec())).collect::<Vec<_>>()
        });
        let expected = [Some(vec![0, 0]), Some(vec![1, 10]), None, Some(vec![3, 30]), Some(vec![4, 40])];
        assert!(lists.eq(expected));
    }
    let damaged = [vec![Some(vec![0; 4]), Some(vec![0; 3])]];
    let error = decode_forms(&forms, &messages(&damaged), LIMITS, 0, |_| false).unwrap_err().to_string();
    assert_eq!(error, "a malformed array [table=s.t, column=c1]");
}

#[test]
fn passes_over_the_first_rows() {
    let rows: Vec<_> = (0..10i32).map(|i| vec![Some(i.to_be_bytes().to_vec())]).collect();
    for skip in 0..=10 {
        let batches = decode(&[Wire::Int4], &messages(&rows), LIMITS, skip, |_| true).unwrap();
        let seen: Vec<i32> =
            batches.iter().flat_map(|b| b.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
        assert!(seen.into_iter().eq(skip as i32..10), "{skip}");
    }
    assert!(decode(&[Wire::Int4], &messages(&rows), LIMITS, 11, |_| true).is_err(), "fewer rows than before");
}

const WIRES: [Wire; 5] =
    [Wire::Int4, Wire::Text, Wire::Decimal { precision: 20, scale: 3 }, Wire::NumericText, Wire::Timestamptz];

fn cells() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    let number = (-10_000_000_000i64..10_000_000_000).prop_map(|n| {
        let (sign, n) = (if n < 0 { "-" } else { "" }, n.unsigned_abs());
        numeric(&format!("{sign}{}.{:03}", n / 1000, n % 1000))
    });
    let row = (
        prop::option::of(any::<i32>().prop_map(|n| n.to_be_bytes().to_vec())),
        prop::option::of("\\PC{0,20}".prop_map(String::into_bytes)),
        prop::option::of(number.clone()),
        prop::option::of(number),
        prop::option::of((-1_000_000_000i64..1_000_000_000).prop_map(|n| n.to_be_bytes().to_vec())),
    );
    prop::collection::vec(row.prop_map(|(a, b, c, d, e)| vec![a, b, c, d, e]), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However messages split the stream, whenever the buffer moves: the same batches.
    #[test]
    fn splits_do_not_matter(rows in cells(), cuts in prop::collection::vec(1usize..60, 1..9), stride in 1usize..9) {
        let plain = decode(&WIRES, &messages(&rows), LIMITS, 0, |_| false).unwrap();
        prop_assert_eq!(plain.iter().map(|b| b.num_rows()).sum::<usize>(), rows.len());
        let all = messages(&rows).concat();
        let (mut rest, mut pieces, mut cuts) = (&all[..], vec![], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            pieces.push(piece.to_vec());
            rest = tail;
        }
        prop_assert_eq!(&decode(&WIRES, &pieces, LIMITS, 0, |i| i % stride == 0).unwrap(), &plain);
        prop_assert_eq!(&decode(&WIRES, &messages(&rows), LIMITS, 0, |i| i % stride == 0).unwrap(), &plain);
    }

    #[test]
    fn damaged_streams_are_an_error_at_worst(rows in cells(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut all = messages(&rows).concat();
        for (at, byte) in hits {
            let at = at.index(all.len());
            all[at] = byte;
        }
        let _ = decode(&WIRES, &[all], LIMITS, 0, |_| false);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_at_worst(bytes in prop::collection::vec(any::<u8>(), 0..300), headed in any::<bool>()) {
        let all = if headed { [header_bytes(), bytes].concat() } else { bytes };
        let _ = decode(&WIRES, &[all], LIMITS, 0, |_| false);
    }
}
