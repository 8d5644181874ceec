//! A decoded batch to the contract's: what each row does, and which values it does not have. Pure.

use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_ord::cmp::distinct;
use arrow_select::interleave::interleave;
use arrow_select::take::take;
use connector_api::{Error, LogBatch, LogSpan, Moved, Op, Result, TableSchema};
use connector_debezium::{Batch, Images, Missing, Op as Was};

/// Where a row comes from: of the batch's images, or of those before.
type Place = (usize, usize);
const AFTER: usize = 0;
const BEFORE: usize = 1;

/// Makes a batch of changes that covers a span. An update of a table without a key is one row less and another one more;
/// so is one that gave a row another key, where the log does not send it as a deletion and an insertion.
///
/// # Errors
/// `Fatal`: a bug here or in the decoder.
pub(crate) fn batch(batch: Batch, span: LogSpan) -> Result<LogBatch> {
    let Batch { schema, rows, ops, missing, before, old_keys, .. } = batch;
    let (mut rows, mut missing, mut less) = (rows, missing, Vec::new());
    match &before {
        Some(before) if schema.key().is_empty() => less = (0..before.of.len()).collect(),
        Some(before) => {
            less = rekeyed(&schema, &rows, before)?;
            (rows, missing) = completed(&schema, rows, missing, before)?;
        }
        None => {}
    }
    let done = |was: &Was| if matches!(was, Was::Delete | Was::Moved) { Op::Delete } else { Op::Put };
    let (rows, done, missing) = match before.as_ref().filter(|_| !less.is_empty()) {
        None => {
            let missing = bits(&missing, rows.num_rows());
            (rows, ops.iter().map(done).collect(), missing)
        }
        Some(before) => woven(&schema, (&rows, &missing), (before, &less), &ops, done)?,
    };
    let mut made = LogBatch::new(Arc::clone(&schema), span, rows, done)?;
    if missing.iter().any(Option::is_some) {
        made = made.with_missing(missing)?;
    }
    let Some(Images { mut of, rows: old_keys, .. }) = old_keys else { return Ok(made) };
    // Each row that is woven in before it moves it on by one.
    let at = |old: &usize| before.as_ref().map(|before| before.of[*old]);
    let more = |row: u32| less.partition_point(|old| at(old) <= Some(row)) as u32;
    of.iter_mut().for_each(|row| *row += more(*row));
    made.with_moved(Moved { rows: of, old_keys: old_keys.project(schema.key()).map_err(bug)? })
}

/// Rows, and before some of them the deletion of what they were; what each does, and which values each does not have.
fn woven(
    schema: &TableSchema,
    (rows, missing): (&RecordBatch, &Missing),
    (before, less): (&Images, &[usize]),
    ops: &[Was],
    done: impl Fn(&Was) -> Op,
) -> Result<(RecordBatch, Vec<Op>, Vec<Option<BooleanBuffer>>)> {
    let (mut places, mut all): (Vec<Place>, Vec<Op>) = (Vec::new(), Vec::new());
    let mut olds = less.iter().map(|old| (*old, before.of[*old])).peekable();
    for (row, was) in ops.iter().enumerate() {
        if let Some((old, _)) = olds.next_if(|(_, of)| *of as usize == row) {
            places.push((BEFORE, old));
            all.push(Op::Delete);
        }
        places.push((AFTER, row));
        all.push(done(was));
    }
    let columns = (0..rows.num_columns())
        .map(|column| interleave(&[rows.column(column).as_ref(), before.rows.column(column).as_ref()], &places));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(bug)?;
    let sides = [bits(missing, rows.num_rows()), bits(&before.missing, before.rows.num_rows())];
    let of = |column: usize| {
        let bits = |side: usize| sides[side].get(column).and_then(Option::as_ref);
        let is = |(side, row): &Place| bits(*side).is_some_and(|bits| bits.value(*row));
        (bits(AFTER).is_some() || bits(BEFORE).is_some()).then(|| places.iter().map(is).collect())
    };
    let missing = (0..sides[AFTER].len()).map(of).collect();
    Ok((RecordBatch::try_new(Arc::clone(schema.arrow()), columns).map_err(bug)?, all, missing))
}

/// Which of the images before have another key than their row has now.
fn rekeyed(schema: &TableSchema, rows: &RecordBatch, before: &Images) -> Result<Vec<usize>> {
    let of = UInt32Array::from(before.of.clone());
    let mut is_other = vec![false; before.of.len()];
    for &column in schema.key() {
        let now = take(rows.column(column), &of, None).map_err(bug)?;
        let other = distinct(&now, before.rows.column(column)).map_err(bug)?;
        other.values().set_indices().for_each(|row| is_other[row] = true);
    }
    Ok((0..).zip(is_other).filter_map(|(old, is_other)| is_other.then_some(old)).collect())
}

/// Rows whose missing values are taken from the images before, where those have them.
fn completed(
    schema: &TableSchema,
    rows: RecordBatch,
    mut missing: Missing,
    before: &Images,
) -> Result<(RecordBatch, Missing)> {
    let mut columns = rows.columns().to_vec();
    for (column, lacking) in missing.rows.iter_mut().enumerate().filter(|(_, rows)| !rows.is_empty()) {
        let unknown = &before.missing.rows[column];
        let old =
            |row: &u32| before.of.binary_search(row).ok().filter(|old| unknown.binary_search(&(*old as u32)).is_err());
        let mut places: Vec<Place> = (0..rows.num_rows()).map(|row| (AFTER, row)).collect();
        lacking.retain(|row| match old(row) {
            Some(old) => {
                places[*row as usize] = (BEFORE, old);
                false
            }
            None => true,
        });
        columns[column] =
            interleave(&[columns[column].as_ref(), before.rows.column(column).as_ref()], &places).map_err(bug)?;
    }
    Ok((RecordBatch::try_new(Arc::clone(schema.arrow()), columns).map_err(bug)?, missing))
}

/// Which values of each column are not there.
fn bits(missing: &Missing, rows: usize) -> Vec<Option<BooleanBuffer>> {
    let of_column = |lacking: &Vec<u32>| {
        let mut bits = BooleanBufferBuilder::new(rows);
        bits.append_n(rows, false);
        lacking.iter().for_each(|row| bits.set_bit(*row as usize, true));
        (!lacking.is_empty()).then(|| bits.finish())
    };
    missing.rows.iter().map(of_column).collect()
}

fn bug(e: arrow_schema::ArrowError) -> Error {
    Error::fatal("changes cannot be put together").caused_by(e)
}

/// A batch without rows, which only moves a table forward.
///
/// # Errors
/// `Fatal`: a bug here.
pub(crate) fn nothing(schema: &Arc<TableSchema>, span: LogSpan) -> Result<LogBatch> {
    LogBatch::new(Arc::clone(schema), span, RecordBatch::new_empty(Arc::clone(schema.arrow())), Vec::new())
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, StringArray};
    use arrow_schema::DataType;
    use connector_api::{Column, TableId};

    use super::*;

    fn schema(has_key: bool) -> Arc<TableSchema> {
        let columns =
            vec![Column::new("id", DataType::Int64, false, "bigint"), Column::new("v", DataType::Utf8, true, "text")];
        let key = if has_key { vec![0] } else { vec![] };
        Arc::new(TableSchema::new(TableId::new("public", "t"), columns, key).unwrap())
    }

    fn rows(schema: &TableSchema, rows: &[(i64, Option<&str>)]) -> RecordBatch {
        let ids = Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id));
        let texts: StringArray = rows.iter().map(|(_, v)| *v).collect();
        RecordBatch::try_new(Arc::clone(schema.arrow()), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
    }

    fn decoded(schema: &Arc<TableSchema>, images: RecordBatch, ops: &[Was], lacking: &[u32]) -> Batch {
        Batch {
            schema: Arc::clone(schema),
            ops: ops.to_vec(),
            offsets: (0..ops.len() as i64).collect(),
            missing: Missing { rows: vec![vec![], lacking.to_vec()] },
            rows: images,
            before: None,
            old_keys: None,
        }
    }

    fn span() -> LogSpan {
        LogSpan { partition: "p".into(), after: None, upto: "9".into(), whole: true, told: None }
    }

    #[test]
    fn values_that_are_not_there_come_from_the_image_before() {
        let schema = schema(true);
        let images = rows(&schema, &[(1, None), (2, None), (3, Some("c"))]);
        let mut made = decoded(&schema, images, &[Was::Update, Was::Update, Was::Insert], &[0, 1]);
        let missing = Missing { rows: vec![vec![], vec![]] };
        made.before = Some(Images { of: vec![1], rows: rows(&schema, &[(2, Some("b"))]), missing });
        let made = batch(made, span()).unwrap();
        assert_eq!(made.rows(), &rows(&schema, &[(1, None), (2, Some("b")), (3, Some("c"))]));
        let missing = made.missing(1).unwrap();
        assert_eq!(missing.iter().collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn without_a_key_an_update_is_a_row_less_and_one_more() {
        let schema = schema(false);
        let images = rows(&schema, &[(1, Some("a")), (1, Some("b")), (2, Some("c"))]);
        let mut made = decoded(&schema, images, &[Was::Insert, Was::Update, Was::Delete], &[]);
        let missing = Missing { rows: vec![vec![], vec![]] };
        made.before = Some(Images { of: vec![1], rows: rows(&schema, &[(1, Some("a"))]), missing });
        let made = batch(made, span()).unwrap();
        assert_eq!(made.ops(), [Op::Put, Op::Delete, Op::Put, Op::Delete]);
        let wanted = [(1, Some("a")), (1, Some("a")), (1, Some("b")), (2, Some("c"))];
        assert_eq!(made.rows(), &rows(&schema, &wanted));
    }

    #[test]
    fn an_update_that_changes_the_key_ends_the_row_of_the_old_one() {
        let schema = schema(true);
        let images = rows(&schema, &[(1, None), (2, Some("b")), (4, Some("d")), (9, None)]);
        let was = [Was::Moved, Was::Update, Was::Update, Was::Insert];
        let mut made = decoded(&schema, images, &was, &[3]);
        let missing = || Missing { rows: vec![vec![], vec![]] };
        let before = rows(&schema, &[(2, Some("a")), (3, Some("c"))]);
        made.before = Some(Images { of: vec![1, 2], rows: before, missing: missing() });
        made.old_keys = Some(Images { of: vec![3], rows: rows(&schema, &[(1, None)]), missing: missing() });
        let made = batch(made, span()).unwrap();
        assert_eq!(made.ops(), [Op::Delete, Op::Put, Op::Delete, Op::Put, Op::Put]);
        let wanted = [(1, None), (2, Some("b")), (3, Some("c")), (4, Some("d")), (9, None)];
        assert_eq!(made.rows(), &rows(&schema, &wanted));
        assert_eq!(made.missing(1).unwrap().set_indices().collect::<Vec<_>>(), [4]);
        assert_eq!(made.moved().unwrap().rows, [4]);
    }

    #[test]
    fn a_moved_row_keeps_the_key_it_had() {
        let schema = schema(true);
        let images = rows(&schema, &[(1, None), (2, None)]);
        let mut made = decoded(&schema, images, &[Was::Moved, Was::Insert], &[1]);
        let missing = Missing { rows: vec![vec![], vec![]] };
        made.old_keys = Some(Images { of: vec![1], rows: rows(&schema, &[(1, None)]), missing });
        let made = batch(made, span()).unwrap();
        assert_eq!(made.ops(), [Op::Delete, Op::Put]);
        let moved = made.moved().unwrap();
        assert_eq!((moved.rows.as_slice(), moved.old_keys.num_columns()), ([1].as_slice(), 1));
    }
}
