//! What a table's properties record about its rows: which source and cut they are of, and the snapshot
//! that put them there. Pure.
//!
//! What must hold: a recorded position counts only while the snapshot it names is part of the table's
//! history; anything else (rolled back, re-created) is told apart and never taken as "loaded".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use connector_api::{Cut, Error, Marks, Result, TableId, TableLoad, TableSchema};
use iceberg::spec::{Schema, Snapshot, SnapshotRef, TableMetadata};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schema;

/// Property and summary names. Their values are compact JSON, except the plain numbers.
pub(crate) const POSITION: &str = "connect-runtime.position";
pub(crate) const EPOCH: &str = "connect-runtime.epoch";
pub(crate) const CUT: &str = "connect-runtime.cut";
pub(crate) const SOURCE_TYPES: &str = "connect-runtime.source-types";
pub(crate) const COMMIT_ID: &str = "connect-runtime.commit-id";
pub(crate) const KEY: &str = "connect-runtime.key";
pub(crate) const SCHEMA_VERSION: &str = "connect-runtime.schema-version";

/// Where the table stands, and which rows that speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The table that the rows are in.
    pub(crate) table: Uuid,
    /// The snapshot that put them there: also the commit's id.
    pub(crate) snapshot: i64,
    /// Its sequence number.
    pub(crate) sequence: i64,
    /// Writer generation.
    pub(crate) epoch: i64,
    /// Position per source system.
    pub(crate) positions: BTreeMap<String, String>,
    /// The points up to which logs are applied, by the names of their partitions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) marks: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct CutJson {
    source: String,
    system: String,
    position_type: String,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    visible: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SourceTypes {
    schema: String,
    name: String,
    columns: serde_json::Map<String, serde_json::Value>,
    /// Columns that the table is loaded without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

impl SourceTypes {
    /// # Errors
    /// Whose they are, if not that table's.
    fn are_of(&self, table: &TableId) -> Result<(), String> {
        match (self.schema.as_str(), self.name.as_str()) == (table.schema(), table.name()) {
            true => Ok(()),
            false => Err(format!("the table of this name holds {}.{}", self.schema, self.name)),
        }
    }
}

/// The properties that a load's commit carries.
pub(crate) struct Stamp {
    /// For the table.
    pub(crate) properties: HashMap<String, String>,
    /// For the snapshot's summary.
    pub(crate) summary: HashMap<String, String>,
}

/// Builds the properties of a load's commit. `table` is the Iceberg table's uuid, `sequence` the sequence
/// number that the snapshot will have.
pub(crate) fn stamp(load: &TableLoad, table: Uuid, snapshot: i64, sequence: i64, epoch: i64) -> Result<Stamp> {
    let cut = &load.cut;
    let position = Position {
        table,
        snapshot,
        sequence,
        epoch,
        positions: BTreeMap::from([(cut.system.clone(), cut.position.clone())]),
        marks: recorded_marks(&load.marks),
    };
    let summary = HashMap::from([
        (POSITION.to_owned(), json(&position)?),
        (EPOCH.to_owned(), epoch.to_string()),
        (CUT.to_owned(), json(&cut_json(&load.source, cut))?),
        (COMMIT_ID.to_owned(), snapshot.to_string()),
    ]);
    let mut properties = summary.clone();
    properties.extend(described(&load.schema)?);
    Ok(Stamp { properties, summary })
}

/// The properties that say what a table's columns and key are at the source.
pub(crate) fn described(schema: &TableSchema) -> Result<[(String, String); 2]> {
    let columns = schema.columns();
    let types = SourceTypes {
        schema: schema.table().schema().into(),
        name: schema.table().name().into(),
        columns: columns.iter().map(|c| (c.name().to_owned(), c.source_type.clone().into())).collect(),
        left_out: schema.left_out().to_vec(),
    };
    let key: Vec<&str> = schema.key().iter().filter_map(|&k| columns.get(k)).map(|c| c.name()).collect();
    Ok([(SOURCE_TYPES.into(), json(&types)?), (KEY.into(), json(&key)?)])
}

/// A snapshot whose sequence number is a multiple of this one has in its summary where all partitions stand.
const WHOLE_SUMMARY: i64 = 100;

/// Builds the properties of a commit that applies a log: the position of before, moved to `marks`. A snapshot's summary,
/// which stays for as long as the snapshot does, has only what moved, and all of it now and then (P11).
pub(crate) fn moved(
    before: Option<&TableMetadata>,
    marks: &Marks,
    table: Uuid,
    snapshot: i64,
    sequence: i64,
    epoch: i64,
) -> Result<Stamp> {
    let recorded = before.and_then(|m| read::<Position>(m, POSITION));
    let (positions, applied) = recorded.map(|p| (p.positions, p.marks)).unwrap_or_default();
    let mut position = Position { table, snapshot, sequence, epoch, positions, marks: recorded_marks(marks) };
    let properties = HashMap::from([
        (POSITION.to_owned(), json(&position)?),
        (EPOCH.to_owned(), epoch.to_string()),
        (COMMIT_ID.to_owned(), snapshot.to_string()),
    ]);
    let mut summary = properties.clone();
    if sequence % WHOLE_SUMMARY != 0 {
        position.marks.retain(|partition, mark| applied.get(partition) != Some(mark));
        summary.insert(POSITION.to_owned(), json(&position)?);
    }
    Ok(Stamp { properties, summary })
}

fn recorded_marks(marks: &Marks) -> BTreeMap<String, String> {
    marks.iter().map(|(partition, mark)| (partition.to_string(), mark.to_string())).collect()
}

/// How far logs are applied as JSON, for people: partitions and points of a log are text of its own.
pub(crate) fn told_marks(marks: &Marks) -> String {
    let marks: serde_json::Map<String, serde_json::Value> =
        marks.iter().map(|(partition, mark)| (partition.to_string(), mark.as_ref().into())).collect();
    serde_json::Value::from(marks).to_string()
}

/// How far logs are applied to a table.
pub(crate) fn marks(metadata: &TableMetadata) -> Marks {
    let marks = read::<Position>(metadata, POSITION).map(|p| p.marks).unwrap_or_default();
    marks.into_iter().map(|(partition, mark)| (partition.into(), mark.into())).collect()
}

/// What a property of ours says, if it is there and can be read.
fn read<T: DeserializeOwned>(metadata: &TableMetadata, property: &str) -> Option<T> {
    serde_json::from_str(metadata.properties().get(property)?).ok()
}

/// What a table's properties record of a source table.
///
/// # Errors
/// Why there is nothing.
fn recorded_of(metadata: &TableMetadata, table: &TableId) -> Result<(Position, SourceTypes), String> {
    let position = read::<Position>(metadata, POSITION);
    let (Some(position), Some(types)) = (position, read::<SourceTypes>(metadata, SOURCE_TYPES)) else {
        return Err("a table of this name exists that this program did not make".to_owned());
    };
    types.are_of(table).map(|()| (position, types))
}

/// The position that one of our snapshots says, if it is ours.
fn said(snapshot: &Snapshot, table: Uuid) -> Option<Position> {
    let text = snapshot.summary().additional_properties.get(POSITION)?;
    serde_json::from_str::<Position>(text).ok().filter(|position| position.table == table)
}

/// The snapshots that a table has come by, newest first, as far as they are kept.
fn history(metadata: &TableMetadata) -> impl Iterator<Item = &SnapshotRef> {
    let parent = |snapshot: &&SnapshotRef| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?);
    std::iter::successors(metadata.current_snapshot(), parent)
}

/// The snapshot of ours that the rows of a table are of, if its recorded position is of one that has been rolled back and
/// theirs may be recorded again: no load has come between.
fn rows_snapshot(metadata: &TableMetadata, recorded: &Position) -> Option<i64> {
    let position = history(metadata).find_map(|snapshot| said(snapshot, metadata.uuid()))?;
    let load = history(metadata).find_map(|snapshot| snapshot.summary().additional_properties.get(CUT));
    // Loads of a database at rest may be of one position.
    let is_same_load =
        position.positions == recorded.positions && load.is_none_or(|cut| metadata.properties().get(CUT) == Some(cut));
    (is_same_load && position.snapshot != recorded.snapshot).then_some(position.snapshot)
}

/// How far logs were applied with a snapshot of ours, which the table was rolled back to: a snapshot says what it has moved,
/// and those before it the rest.
///
/// # Errors
/// `Data` when the rows are not that snapshot's, or the snapshots before it do not tell everything any more.
pub(crate) fn of_snapshot(metadata: &TableMetadata, table: &TableId, snapshot: i64) -> Result<Marks> {
    let (recorded, _) = recorded_of(metadata, table).map_err(Error::data)?;
    if rows_are_there(metadata, &recorded, table).is_ok() {
        let nothing = "the recorded position is that of the table's rows: there is nothing to restore";
        return Err(Error::data(nothing).with("snapshot", recorded.snapshot));
    }
    let Some(newest) = rows_snapshot(metadata, &recorded) else {
        return Err(Error::data(
            "the table's rows are of no snapshot that its position could be set back to: load it again",
        ));
    };
    if newest != snapshot {
        let other = "the table's rows are of another snapshot: roll the table back to the one that is wanted first";
        return Err(Error::data(other).with("wanted", snapshot).with("is", newest));
    }
    let mut marks = Marks::new();
    let mut oldest = None;
    for known in history(metadata) {
        oldest = known.parent_snapshot_id();
        let Some(position) = said(known, metadata.uuid()) else { continue };
        for (partition, mark) in position.marks {
            marks.entry(partition.into()).or_insert_with(|| mark.into());
        }
        let is_load = known.summary().additional_properties.contains_key(CUT);
        if is_load || position.sequence % WHOLE_SUMMARY == 0 {
            return Ok(marks);
        }
    }
    match oldest {
        None => Ok(marks),
        Some(_) => {
            Err(Error::data("the snapshots that tell the whole position are not kept any more: load the table again"))
        }
    }
}

/// The property that says what a table's columns are at the source, of those that a schema has.
pub(crate) fn source_types(metadata: &TableMetadata, schema: &Schema) -> Result<Option<(String, String)>> {
    let Some(mut types) = read::<SourceTypes>(metadata, SOURCE_TYPES) else { return Ok(None) };
    types.columns.retain(|column, _| schema.field_by_name(column).is_some());
    Ok(Some((SOURCE_TYPES.to_owned(), json(&types)?)))
}

/// Where a table stands that a log is to be followed into.
///
/// # Errors
/// `Data` when it is not this program's table of that source table, or its rows are not those that its record speaks
/// of, with the way out.
pub(crate) fn followed(metadata: &TableMetadata, table: &TableId) -> Result<connector_api::Standing> {
    const REMEDY: &str = "load it again (--no-resume), drop it, or set another iceberg.table.name.format";
    let refuse = |why: String| Error::data(format!("{why}: {REMEDY}")).with("table", table);
    let (position, types) = recorded_of(metadata, table).map_err(refuse)?;
    let key = read::<Vec<String>>(metadata, KEY)
        .ok_or_else(|| refuse("the table does not say what its key is".to_owned()))?;
    rows_are_there(metadata, &position, table).map_err(refuse)?;
    // Made anew of what events say, it would be NULL in every row of before.
    if let Some(lost) = types.columns.keys().find(|column| metadata.current_schema().field_by_name(column).is_none()) {
        return Err(refuse("another writer dropped or renamed a column of the table".to_owned()).with("column", lost));
    }
    let source_type = |column: &str| types.columns.get(column).and_then(|t| t.as_str()).unwrap_or_default().to_owned();
    let schema = schema::table_schema(table, metadata.current_schema(), source_type, &key)?;
    let cut = read::<CutJson>(metadata, CUT);
    Ok(connector_api::Standing {
        schema: Arc::new(schema.with_left_out(types.left_out)),
        cut: cut.map(|c| Cut {
            system: c.system,
            position_type: c.position_type,
            position: c.position,
            visible: c.visible,
        }),
        marks: marks(metadata),
    })
}

fn cut_json(source: &str, cut: &Cut) -> CutJson {
    CutJson {
        source: source.into(),
        system: cut.system.clone(),
        position_type: cut.position_type.clone(),
        position: cut.position.clone(),
        visible: cut.visible.clone(),
    }
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::fatal("cannot write a property as JSON").caused_by(e))
}

/// What an existing table is to a source table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Holds a published load of it.
    Loaded(Loaded),
    /// Holds something else, or its record no longer fits its rows; why, for the operator.
    NotOurs(String),
}

/// A published load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    /// The source connector that it came from.
    pub(crate) source: String,
    /// The source system of its cut.
    pub(crate) system: String,
    /// What kind of position that is.
    pub(crate) position_type: String,
    /// Position of the cut.
    pub(crate) position: String,
    /// What the cut says of what it shows.
    pub(crate) visible: Option<String>,
    /// The snapshot that published it.
    pub(crate) snapshot: i64,
    /// Its writer generation.
    pub(crate) epoch: i64,
    /// Rows in the table now, if its newest snapshot says.
    pub(crate) rows: Option<u64>,
    /// Columns that it was loaded without.
    pub(crate) left_out: Vec<String>,
}

impl From<Loaded> for connector_api::Loaded {
    fn from(loaded: Loaded) -> Self {
        let commit = loaded.snapshot.to_string();
        let Loaded { system, position, visible, rows, .. } = loaded;
        Self { system, position, visible, rows, commit }
    }
}

/// What an existing table is to `table`.
pub(crate) fn standing(metadata: &TableMetadata, table: &TableId) -> Standing {
    let Some((position, cut, types)) = recorded(metadata) else {
        return Standing::NotOurs("a table of this name exists that this program did not load".into());
    };
    match types.are_of(table).and_then(|()| rows_are_there(metadata, &position, table)) {
        Ok(()) => {
            let total =
                metadata.current_snapshot().and_then(|s| s.summary().additional_properties.get("total-records"));
            Standing::Loaded(Loaded {
                source: cut.source,
                system: cut.system,
                position_type: cut.position_type,
                position: cut.position,
                visible: cut.visible,
                snapshot: position.snapshot,
                epoch: position.epoch,
                rows: total.and_then(|n| n.parse().ok()),
                left_out: types.left_out,
            })
        }
        Err(why) => Standing::NotOurs(why),
    }
}

fn recorded(metadata: &TableMetadata) -> Option<(Position, CutJson, SourceTypes)> {
    Some((read(metadata, POSITION)?, read(metadata, CUT)?, read(metadata, SOURCE_TYPES)?))
}

/// The source table that a table holds the rows of, and the source connector that they came through.
pub(crate) fn origin(metadata: &TableMetadata) -> Option<(TableId, String)> {
    let (_, cut, types) = recorded(metadata)?;
    Some((TableId::new(types.schema, types.name), cut.source))
}

/// The version of the table's schema that we recorded, if we did.
pub(crate) fn schema_version(metadata: &TableMetadata) -> Option<i64> {
    metadata.properties().get(SCHEMA_VERSION).and_then(|version| version.parse().ok())
}

/// The table's writer generation; 0 before the first.
pub(crate) fn epoch(metadata: &TableMetadata) -> i64 {
    metadata.properties().get(EPOCH).and_then(|e| e.parse().ok()).unwrap_or(0)
}

/// Whether the rows that a position speaks of are still the table's: the snapshot that put them there is
/// the current one or an ancestor of it. Below the oldest retained ancestor sequence numbers decide.
///
/// # Errors
/// Why they are not, and how the position may be that of the rows again.
fn rows_are_there(metadata: &TableMetadata, position: &Position, table: &TableId) -> Result<(), String> {
    if metadata.uuid() != position.table {
        return Err("the table was re-created, but carries the recorded position of its predecessor".into());
    }
    let mut oldest = None;
    for snapshot in history(metadata) {
        if snapshot.snapshot_id() == position.snapshot {
            return Ok(());
        }
        oldest = Some(snapshot);
    }
    // The chain goes on into expired snapshots: which they were is told by their order, and by the parent of the oldest.
    let older = oldest.and_then(|oldest| Some((oldest.sequence_number(), oldest.parent_snapshot_id()?)));
    let may_be = |(sequence, parent): (i64, i64)| match sequence - position.sequence {
        1 => parent == position.snapshot,
        ahead => ahead > 1,
    };
    if older.is_some_and(may_be) {
        return Ok(());
    }
    let why = format!(
        "the table was rolled back or replaced: snapshot {} that its recorded position speaks of is not in its history",
        position.snapshot
    );
    Err(match rows_snapshot(metadata, position) {
        Some(rows) => {
            format!("{why}; `positions restore --table {table} --to-snapshot {rows}` has it followed from there")
        }
        None => why,
    })
}

/// Whether the commit of that id is part of the table's history: the answer to "did it get through?".
pub(crate) fn has_commit(metadata: &TableMetadata, commit: i64) -> bool {
    metadata.snapshot_by_id(commit).is_some()
        || metadata.properties().get(COMMIT_ID).is_some_and(|id| *id == commit.to_string())
}

/// Whether a load has put other rows into a table since it was so: where the log goes on is then another point, and nobody
/// but a load decided so (P3).
pub(crate) fn is_loaded_since(metadata: &TableMetadata, before: &TableMetadata) -> bool {
    let newer = |snapshot: &&SnapshotRef| snapshot.sequence_number() > before.last_sequence_number();
    history(metadata).take_while(newer).any(|snapshot| snapshot.summary().additional_properties.contains_key(CUT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::*;

    /// A table whose main branch has the given (id, parent, sequence) snapshots in order.
    fn table(uuid: Uuid, chain: &[(i64, Option<i64>, i64)], properties: HashMap<String, String>) -> TableMetadata {
        let seven = HashMap::from([("total-records".to_owned(), "7".to_owned())]);
        table_that_says(uuid, chain, |_| seven.clone(), properties)
    }

    /// The same with what the summary of each snapshot has.
    fn table_that_says(
        uuid: Uuid,
        chain: &[(i64, Option<i64>, i64)],
        says: impl Fn(i64) -> HashMap<String, String>,
        properties: HashMap<String, String>,
    ) -> TableMetadata {
        let schema = Schema::builder()
            .with_fields([NestedField::optional(1, "a", Type::Primitive(PrimitiveType::Int)).into()])
            .build()
            .unwrap();
        let spec = PartitionSpec::unpartition_spec();
        let order = SortOrder::unsorted_order();
        let mut b = TableMetadataBuilder::new(schema, spec, order, "/t".into(), FormatVersion::V2, properties)
            .unwrap()
            .assign_uuid(uuid);
        for (id, parent, sequence) in chain {
            let summary = Summary { operation: Operation::Append, additional_properties: says(*id) };
            let snapshot = Snapshot::builder()
                .with_snapshot_id(*id)
                .with_parent_snapshot_id(*parent)
                .with_sequence_number(*sequence)
                .with_timestamp_ms(1_000_000 + sequence)
                .with_manifest_list("/t/m.avro")
                .with_summary(summary)
                .with_schema_id(0)
                .build();
            b = b.set_branch_snapshot(snapshot, MAIN_BRANCH).unwrap();
        }
        b.build().unwrap().metadata
    }

    const CUT_OF_TEN: &str = r#"{"source":"s","system":"sys","position_type":"lsn","position":"0/1"}"#;

    fn properties(table: Uuid, snapshot: i64, sequence: i64) -> HashMap<String, String> {
        let p = Position { table, snapshot, sequence, epoch: 1, positions: BTreeMap::new(), marks: BTreeMap::new() };
        HashMap::from([
            (POSITION.to_owned(), json(&p).unwrap()),
            (CUT.to_owned(), CUT_OF_TEN.to_owned()),
            (SOURCE_TYPES.to_owned(), r#"{"schema":"public","name":"t","columns":{"a":"int4"}}"#.to_owned()),
        ])
    }

    #[test]
    fn a_column_that_another_writer_dropped_is_not_made_anew() {
        let (uuid, id) = (Uuid::from_u128(7), TableId::new("public", "t"));
        let check = |columns: &str| {
            let mut properties = properties(uuid, 1, 1);
            properties.insert(KEY.to_owned(), "[]".to_owned());
            let types = format!(r#"{{"schema":"public","name":"t","columns":{columns}}}"#);
            properties.insert(SOURCE_TYPES.to_owned(), types);
            followed(&table(uuid, &[(1, None, 1)], properties), &id).map_err(|e| e.to_string())
        };
        assert!(check(r#"{"a":"int4"}"#).is_ok());
        let refused = check(r#"{"a":"int4","gone":"text"}"#).unwrap_err();
        assert!(refused.contains("dropped or renamed a column") && refused.contains("column=gone"), "{refused}");
    }

    fn check(chain: &[(i64, Option<i64>, i64)], snapshot: i64, sequence: i64) -> String {
        let uuid = Uuid::from_u128(7);
        match standing(&table(uuid, chain, properties(uuid, snapshot, sequence)), &TableId::new("public", "t")) {
            Standing::Loaded(l) => format!("{} {} {:?}", l.system, l.position, l.rows),
            Standing::NotOurs(why) => why,
        }
    }

    #[test]
    fn a_position_counts_while_its_snapshot_is_in_the_history() {
        let loaded = "sys 0/1 Some(7)";
        assert_eq!(check(&[(10, None, 1)], 10, 1), loaded);
        assert_eq!(check(&[(10, None, 1), (11, Some(10), 2)], 10, 1), loaded, "foreign snapshot on top");
        assert_eq!(check(&[(12, Some(11), 3)], 10, 1), loaded, "expired, below the oldest retained");
        assert_eq!(check(&[(12, Some(11), 3)], 11, 2), loaded, "expired, its successor is the oldest retained");
        assert!(check(&[(13, Some(10), 4)], 12, 3).contains("rolled back"), "another one's successor is");
        assert!(check(&[(10, None, 1)], 11, 2).contains("rolled back"), "newer than what is there");
        assert!(check(&[(12, Some(11), 3)], 11, 3).contains("rolled back"), "not older than the oldest retained");
        assert!(check(&[(12, None, 3)], 10, 1).contains("rolled back"), "the chain is whole and lacks it");
        assert!(check(&[], 10, 1).contains("rolled back"), "no snapshot at all");
    }

    #[test]
    fn a_summary_has_what_moved_and_all_of_it_every_hundredth_time() {
        let uuid = Uuid::from_u128(7);
        let marks =
            |marks: &[(&str, &str)]| -> Marks { marks.iter().map(|(p, m)| ((*p).into(), (*m).into())).collect() };
        let first = moved(None, &marks(&[("t-0", "1"), ("t-1", "1")]), uuid, 10, 1, 1).unwrap();
        assert_eq!(first.summary, first.properties);
        let before = table(uuid, &[(10, None, 1)], first.properties);
        let check = |sequence| {
            let stamp = moved(Some(&before), &marks(&[("t-0", "1"), ("t-1", "2")]), uuid, 11, sequence, 1).unwrap();
            [stamp.properties, stamp.summary].map(|of| {
                let position: Position = serde_json::from_str(&of[POSITION]).unwrap();
                position.marks.into_iter().map(|(partition, mark)| format!("{partition} {mark}")).collect::<Vec<_>>()
            })
        };
        let all = ["t-0 1", "t-1 2"].map(str::to_owned).to_vec();
        assert_eq!(check(99), [all.clone(), vec!["t-1 2".to_owned()]]);
        assert_eq!(check(100), [all.clone(), all]);
    }

    #[test]
    fn a_position_is_restored_from_what_the_snapshots_say() {
        let (uuid, id) = (Uuid::from_u128(7), TableId::new("public", "t"));
        let position = |snapshot, cut: &str, marks: &[(&str, &str)]| Position {
            table: uuid,
            snapshot,
            sequence: if snapshot == 19 { 100 } else { snapshot },
            epoch: 1,
            positions: BTreeMap::from([("sys".to_owned(), cut.to_owned())]),
            marks: marks.iter().map(|(p, m)| ((*p).to_owned(), (*m).to_owned())).collect(),
        };
        // A load, then each what it has moved, then a foreign one; the nineteenth says all.
        let says = |snapshot: i64| {
            let marks: &[(&str, &str)] = match snapshot {
                10 => &[("t-0", "1"), ("t-1", "1")],
                11 => &[("t-1", "2")],
                12 => &[("t-0", "5")],
                19 => &[("t-0", "8"), ("t-1", "8")],
                _ => return HashMap::new(),
            };
            let mut summary = HashMap::from([(POSITION.to_owned(), json(&position(snapshot, "0/1", marks)).unwrap())]);
            if snapshot == 10 {
                summary.insert(CUT.to_owned(), CUT_OF_TEN.to_owned());
            }
            summary
        };
        let check = |chain: &[(i64, Option<i64>, i64)], recorded: i64, cut: &str, to: i64| {
            let mut properties = properties(uuid, 10, 1);
            properties.insert(POSITION.to_owned(), json(&position(recorded, cut, &[])).unwrap());
            properties.insert(CUT.to_owned(), CUT_OF_TEN.replace("0/1", cut.trim_start_matches('=')));
            let metadata = table_that_says(uuid, chain, says, properties);
            match of_snapshot(&metadata, &id, to) {
                Ok(marks) => marks.iter().map(|(p, m)| format!("{p} {m}")).collect::<Vec<_>>().join(", "),
                Err(error) => error.message().to_owned(),
            }
        };
        let whole = [(10, None, 1), (11, Some(10), 2), (12, Some(11), 3), (13, Some(12), 4)];
        assert_eq!(check(&whole, 14, "0/1", 12), "t-0 5, t-1 2", "a foreign one is on top");
        assert_eq!(check(&whole[..2], 14, "0/1", 11), "t-0 1, t-1 2");
        assert!(check(&whole, 14, "0/1", 11).contains("roll the table back to the one that is wanted first"));
        assert!(check(&whole, 12, "0/1", 12).contains("nothing to restore"));
        assert!(check(&whole, 14, "0/2", 12).contains("of no snapshot"), "another load has been since");
        assert!(check(&[(13, None, 4)], 14, "0/1", 13).contains("of no snapshot"), "none of them is ours");
        assert!(check(&[(11, Some(10), 2)], 14, "0/1", 11).contains("not kept any more"), "the load's is gone");
        assert_eq!(check(&[(19, Some(12), 19)], 20, "0/1", 19), "t-0 8, t-1 8", "the hundredth says all");
    }

    #[test]
    fn a_table_of_another_source_is_told_apart() {
        let uuid = Uuid::from_u128(7);
        let chain = [(10, None, 1)];
        let id = TableId::new("public", "t");
        let of = |m: &TableMetadata, id: &TableId| match standing(m, id) {
            Standing::NotOurs(why) => why,
            Standing::Loaded(_) => "loaded".into(),
        };
        let ours = table(uuid, &chain, properties(uuid, 10, 1));
        assert_eq!(of(&ours, &id), "loaded");
        assert_eq!(of(&ours, &TableId::new("sales", "t")), "the table of this name holds public.t");
        assert!(of(&table(Uuid::from_u128(8), &chain, properties(uuid, 10, 1)), &id).contains("re-created"));
        assert!(of(&table(uuid, &chain, HashMap::new()), &id).contains("did not load"));
        let mut broken = properties(uuid, 10, 1);
        broken.insert(POSITION.into(), "{".into());
        assert!(of(&table(uuid, &chain, broken), &id).contains("did not load"));
        assert!(has_commit(&ours, 10) && !has_commit(&ours, 11));
    }
}
