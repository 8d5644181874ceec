//! What a table holds as it is: its live data files, and the rows of them that are gone.
//!
//! What must hold: what cannot be told exactly (equality deletes, deletion vectors) is refused with the remedy,
//! never passed over.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use connector_api::{Error, Result};
use iceberg::metadata_columns::{RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS};
use iceberg::spec::{DataContentType, DataFileFormat, PrimitiveType, Struct, Type};
use iceberg::table::Table;
use roaring::RoaringBitmap;

use super::scan::{Column, Scan};
use crate::error;

/// A data file that is part of the table.
#[derive(Clone, Debug)]
pub(super) struct LiveFile {
    pub(super) path: Arc<str>,
    /// The partition spec that it is of, and its partition.
    pub(super) partition: (i32, Struct),
}

/// The files of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub(super) files: Vec<LiveFile>,
    /// Position-delete files.
    pub(super) deletes: Vec<Arc<str>>,
}

/// Reads the manifests of the table's current snapshot.
///
/// # Errors
/// `Data` for equality deletes and deletion vectors.
pub(super) async fn live(table: &Table) -> Result<Live> {
    let mut live = Live::default();
    let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(live) };
    let unread = |e| error::iceberg("cannot read the table's manifests", e);
    let manifests = table.manifest_list_reader(snapshot).load().await.map_err(unread)?.entries().to_vec();
    for manifest in manifests.into_iter().filter(|m| m.has_added_files() || m.has_existing_files()) {
        let entries = manifest.load_manifest(table.file_io()).await.map_err(unread)?;
        for entry in entries.entries().iter().filter(|e| e.is_alive()) {
            let file = entry.data_file();
            let path: Arc<str> = Arc::from(file.file_path());
            match (file.content_type(), file.file_format()) {
                (DataContentType::Data, DataFileFormat::Parquet) => {
                    let partition = (manifest.partition_spec_id, file.partition().clone());
                    live.files.push(LiveFile { path, partition });
                }
                (DataContentType::PositionDeletes, DataFileFormat::Parquet) => live.deletes.push(path),
                (DataContentType::EqualityDeletes, _) => {
                    return Err(Error::data(
                        "another writer left equality deletes in the table: rewrite its data files (Spark: \
                         rewrite_data_files with delete-file-threshold 1) and start again",
                    )
                    .with("file", path));
                }
                (content, format) => {
                    return Err(Error::data("the table has files that this version cannot follow changes in")
                        .with("content", format!("{content:?}"))
                        .with("format", format)
                        .with("file", path));
                }
            }
        }
    }
    Ok(live)
}

/// The positions of rows that are gone, by data file. Blocking.
pub(super) fn gone(scan: &Scan, live: &Live) -> Result<HashMap<Arc<str>, RoaringBitmap>> {
    let known: HashMap<&str, &Arc<str>> = live.files.iter().map(|f| (f.path.as_ref(), &f.path)).collect();
    let columns = [
        Column { id: RESERVED_FIELD_ID_DELETE_FILE_PATH, kind: Type::Primitive(PrimitiveType::String) },
        Column { id: RESERVED_FIELD_ID_DELETE_FILE_POS, kind: Type::Primitive(PrimitiveType::Long) },
    ];
    let mut gone: HashMap<Arc<str>, RoaringBitmap> = HashMap::new();
    for path in &live.deletes {
        scan.read(path, &columns, &mut |columns| {
            let (paths, positions) = (columns[0].as_string::<i32>(), columns[1].as_primitive::<Int64Type>());
            for (data, position) in paths.iter().zip(positions.values()) {
                // A delete of a file that has left the table deletes nothing.
                let Some(data) = data.and_then(|data| known.get(data)) else { continue };
                let position = u32::try_from(*position)
                    .map_err(|_| Error::data("a data file has more rows than can be numbered").with("file", data))?;
                gone.entry(Arc::clone(data)).or_default().insert(position);
            }
            Ok(())
        })?;
    }
    Ok(gone)
}
