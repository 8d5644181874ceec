//! The rows: versions by SCN, in segments whose extents and blocks give each row its rowid.
//!
//! What must hold: a read as of an SCN sees what was committed at or before it and nothing else, or fails as a real
//! server's undo and definitions make it fail; a row never moves within its segment.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::auth::Secret;
use crate::error::OraError;
use crate::model::{Generator, Kind, Model, Scn, Table, User};
use crate::types::{Rowid, Value};

/// A running database, shared by its sessions and the test.
#[derive(Clone)]
pub struct Database {
    state: Arc<RwLock<State>>,
}

/// All that there is.
pub(crate) struct State {
    pub(crate) model: Model,
    pub(crate) tables: Vec<Stored>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) scn: Scn,
    /// Reads as of an SCN before this one find no undo.
    pub(crate) undo_horizon: Scn,
    /// The redo of SCNs before this one is gone.
    pub(crate) redo_horizon: Scn,
    pub(crate) transactions: BTreeMap<u64, Open>,
    /// What `DBMS_PARALLEL_EXECUTE` has made: task, first and last rowid.
    pub(crate) chunks: Vec<(String, Rowid, Rowid)>,
    next_transaction: u64,
    next_object: u32,
    next_block: u32,
}

/// An open transaction as `gv$transaction` shows it.
pub(crate) struct Open {
    pub(crate) start_scn: Scn,
    pub(crate) instance: u32,
}

/// A table with its rows.
pub(crate) struct Stored {
    pub(crate) def: Table,
    pub(crate) object: u32,
    /// Since when its definition is as it is.
    pub(crate) defined: Scn,
    pub(crate) segments: Vec<Segment>,
}

/// A segment: of a table, a partition, or a part of one.
pub(crate) struct Segment {
    /// The partition's name, or the part's.
    pub(crate) partition: Option<String>,
    /// `OBJECT_ID` of the partition; of the table when it has none.
    pub(crate) object: u32,
    /// `DATA_OBJECT_ID`.
    pub(crate) data_object: u32,
    first_block: u32,
    pub(crate) rows: Rows,
    rows_per_block: u32,
    pub(crate) blocks_per_extent: u32,
}

pub(crate) enum Rows {
    Kept(Vec<Versions>),
    Synthetic(u64, Arc<dyn Generator>),
}

/// A row's versions, oldest first; `None` is its absence.
#[derive(Default)]
pub(crate) struct Versions(Vec<(Scn, Option<Box<[Value]>>)>);

impl Versions {
    /// What was there at an SCN.
    pub(crate) fn at(&self, scn: Scn) -> Option<&[Value]> {
        self.0.iter().rev().find(|(from, _)| *from <= scn)?.1.as_deref()
    }
}

/// An extent of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) file: u16,
    pub(crate) block: u32,
    pub(crate) blocks: u32,
}

/// The relative numbers of the files that segments lie in.
const FILES: [u16; 2] = [12, 13];
/// Blocks between the extents of a segment, which others have.
const GAP: u32 = 24;

impl Segment {
    /// How many rows were ever put into it.
    pub(crate) fn len(&self) -> u64 {
        match &self.rows {
            Rows::Kept(rows) => rows.len() as u64,
            Rows::Synthetic(rows, _) => *rows,
        }
    }

    pub(crate) fn rows_per_extent(&self) -> u64 {
        u64::from(self.rows_per_block) * u64::from(self.blocks_per_extent)
    }

    /// The extents that there are; one at least.
    pub(crate) fn extents(&self) -> u64 {
        self.len().div_ceil(self.rows_per_extent()).max(1)
    }

    /// An extent by its number. They alternate between two files.
    pub(crate) fn extent(&self, number: u64) -> Extent {
        let place = (number / FILES.len() as u64) as u32;
        let file = FILES[(number % FILES.len() as u64) as usize];
        let block = self.first_block + place * (self.blocks_per_extent + GAP);
        Extent { file, block, blocks: self.blocks_per_extent }
    }

    /// The rowid of a row by its number.
    pub(crate) fn rowid(&self, row: u64) -> Rowid {
        let extent = self.extent(row / self.rows_per_extent());
        let within = row % self.rows_per_extent();
        Rowid {
            object: self.data_object,
            file: extent.file,
            block: extent.block + (within / u64::from(self.rows_per_block)) as u32,
            row: (within % u64::from(self.rows_per_block)) as u16,
        }
    }
}

impl Stored {
    /// Whether rows have a physical rowid.
    pub(crate) fn has_rowids(&self) -> bool {
        !matches!(self.def.kind, Kind::IndexOrganised | Kind::External | Kind::View(_))
    }

    /// Whether reading as of an SCN is possible at all.
    pub(crate) fn check_snapshot(&self, scn: Scn, horizon: Scn) -> Result<(), OraError> {
        if scn < self.defined {
            return Err(OraError::known(1466));
        }
        if scn < horizon { Err(OraError::known(1555)) } else { Ok(()) }
    }
}

impl State {
    fn new(model: Model) -> Self {
        let secrets = model.users.iter().map(|u| (u.name.clone(), Secret::new(&u.password, u.verifier)));
        let mut state = Self {
            secrets: secrets.collect(),
            tables: Vec::new(),
            scn: model.scn,
            undo_horizon: 0,
            redo_horizon: model.scn.saturating_sub(1_000_000),
            transactions: BTreeMap::new(),
            chunks: Vec::new(),
            next_transaction: 1,
            next_object: 73_000,
            next_block: 128,
            model,
        };
        for table in std::mem::take(&mut state.model.tables) {
            state.create(table, 0);
        }
        state
    }

    fn create(&mut self, mut def: Table, defined: Scn) {
        let object = self.object();
        let leaves =
            def.partitions.iter().filter(|p| !def.partitions.iter().any(|q| q.parent.as_ref() == Some(&p.name)));
        let mut names: Vec<Option<String>> = leaves.map(|p| Some(p.name.clone())).collect();
        if names.is_empty() {
            names.push(None);
        }
        let rows = std::mem::take(&mut def.rows);
        let synthetic = def.synthetic.take();
        let segments = names.into_iter().map(|partition| {
            let object = if partition.is_some() { self.object() } else { object };
            let rows = match &synthetic {
                Some((rows, generator)) => Rows::Synthetic(*rows, generator.clone()),
                None => Rows::Kept(Vec::new()),
            };
            let (rows_per_block, blocks_per_extent) = (def.rows_per_block, def.blocks_per_extent);
            let first_block = self.block();
            let data_object = object;
            Segment { partition, object, data_object, first_block, rows, rows_per_block, blocks_per_extent }
        });
        let segments = segments.collect();
        self.tables.push(Stored { def, object, defined, segments });
        let (table, scn) = (self.tables.len() - 1, self.scn);
        for (partition, values) in rows {
            let change = self.insert(table, partition.as_deref(), values);
            self.apply(vec![change], scn);
        }
    }

    fn object(&mut self) -> u32 {
        self.next_object += 1;
        self.next_object
    }

    /// A place for a segment, away from the others.
    fn block(&mut self) -> u32 {
        self.next_block += 1 << 16;
        self.next_block
    }

    /// A user by name.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.model.users.iter().find(|u| u.name == name)
    }

    /// A table by owner and name.
    pub(crate) fn find(&self, owner: &str, name: &str) -> Option<usize> {
        self.tables.iter().position(|t| t.def.owner == owner && t.def.name == name)
    }

    fn named(&self, owner: &str, name: &str) -> usize {
        self.find(owner, name).unwrap_or_else(|| panic!("there is no table {owner}.{name}"))
    }

    /// Makes a place for a row that is not there yet.
    fn insert(&mut self, table: usize, partition: Option<&str>, values: Vec<Value>) -> Change {
        let stored = &mut self.tables[table];
        assert_eq!(values.len(), stored.def.columns.len(), "{}: a value for each column", stored.def.name);
        let at = match partition {
            Some(name) => stored.segments.iter().position(|s| s.partition.as_deref() == Some(name)),
            None => Some(0),
        };
        let segment = at.unwrap_or_else(|| panic!("{}: no partition {partition:?}", stored.def.name));
        let Rows::Kept(rows) = &mut stored.segments[segment].rows else { panic!("{} is synthetic", stored.def.name) };
        rows.push(Versions::default());
        let row = rows.len() - 1;
        Change { table, segment, row, values: Some(values.into()) }
    }

    fn apply(&mut self, changes: Vec<Change>, scn: Scn) {
        for change in changes {
            if let Rows::Kept(rows) = &mut self.tables[change.table].segments[change.segment].rows
                && let Some(versions) = rows.get_mut(change.row)
            {
                versions.0.push((scn, change.values));
            }
        }
    }

    /// Rows of a table as they are now, where a test's condition holds.
    fn rows_where(&self, table: usize, condition: impl Fn(&[Value]) -> bool) -> Vec<(usize, usize, Vec<Value>)> {
        let mut found = Vec::new();
        for (n, segment) in self.tables[table].segments.iter().enumerate() {
            let Rows::Kept(rows) = &segment.rows else { continue };
            for (row, versions) in rows.iter().enumerate() {
                if let Some(values) = versions.at(self.scn).filter(|values| condition(values)) {
                    found.push((n, row, values.to_vec()));
                }
            }
        }
        found
    }
}

/// A change of a row.
struct Change {
    table: usize,
    segment: usize,
    row: usize,
    values: Option<Box<[Value]>>,
}

impl Database {
    pub(crate) fn new(model: Model) -> Self {
        Self { state: Arc::new(RwLock::new(State::new(model))) }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// `current_scn`.
    pub fn scn(&self) -> Scn {
        self.read().scn
    }

    /// Lets so many SCNs pass, as the work of others does.
    pub fn tick(&self, scns: Scn) {
        self.write().scn += scns;
    }

    /// Begins a transaction, which `gv$transaction` shows from now on.
    pub fn begin(&self) -> Transaction {
        self.begin_on(1)
    }

    /// Begins a transaction on an instance of a cluster.
    pub fn begin_on(&self, instance: u32) -> Transaction {
        let mut state = self.write();
        let (id, start_scn) = (state.next_transaction, state.scn);
        state.next_transaction += 1;
        state.transactions.insert(id, Open { start_scn, instance });
        drop(state);
        Transaction { database: self.clone(), id, changes: Vec::new() }
    }

    /// Inserts a row in a transaction of its own; gives the SCN of its commit.
    pub fn insert(&self, owner: &str, table: &str, values: Vec<Value>) -> Scn {
        let mut transaction = self.begin();
        transaction.insert(owner, table, values);
        transaction.commit()
    }

    /// From now on, reads as of an SCN before this one end with ORA-01555.
    pub fn forget_undo_before(&self, scn: Scn) {
        self.write().undo_horizon = scn;
    }

    /// From now on, the logs of what was before that SCN are gone.
    pub fn forget_redo_before(&self, scn: Scn) {
        self.write().redo_horizon = scn;
    }

    /// Truncates a table: reads as of an earlier SCN end with ORA-01466, and its rows have other rowids.
    pub fn truncate(&self, owner: &str, table: &str) {
        self.rewrite(owner, table, true);
    }

    /// Moves a table into new segments, with all that truncating it does except that its rows stay.
    pub fn move_table(&self, owner: &str, table: &str) {
        self.rewrite(owner, table, false);
    }

    fn rewrite(&self, owner: &str, table: &str, empty: bool) {
        let mut state = self.write();
        let table = state.named(owner, table);
        state.scn += 1;
        let scn = state.scn;
        for segment in 0..state.tables[table].segments.len() {
            let (data_object, first_block) = (state.object(), state.block());
            let segment = &mut state.tables[table].segments[segment];
            (segment.data_object, segment.first_block) = (data_object, first_block);
            if empty && let Rows::Kept(rows) = &mut segment.rows {
                rows.clear();
            }
        }
        state.tables[table].defined = scn;
    }

    /// Changes a table's definition: reads as of an earlier SCN end with ORA-01466.
    pub fn alter(&self, owner: &str, table: &str, change: impl FnOnce(Table) -> Table) {
        let mut state = self.write();
        let table = state.named(owner, table);
        state.scn += 1;
        let scn = state.scn;
        let stored = &mut state.tables[table];
        let before = stored.def.columns.len();
        stored.def = change(stored.def.clone());
        let added = stored.def.columns.len().saturating_sub(before);
        for segment in &mut stored.segments {
            let Rows::Kept(rows) = &mut segment.rows else { continue };
            for (_, values) in rows.iter_mut().flat_map(|versions| &mut versions.0) {
                if let Some(values) = values {
                    let mut longer = values.to_vec();
                    longer.extend(std::iter::repeat_n(Value::Null, added));
                    *values = longer.into();
                }
            }
        }
        stored.defined = scn;
    }

    /// Creates a table.
    pub fn create(&self, table: Table) {
        let mut state = self.write();
        state.scn += 1;
        let scn = state.scn;
        state.create(table, scn);
    }

    /// Drops a table.
    pub fn drop_table(&self, owner: &str, table: &str) {
        let mut state = self.write();
        let table = state.named(owner, table);
        // Its place stays, so that open cursors find nothing else there.
        state.tables[table].def.name = format!("BIN${table}==$0");
        state.tables[table].def.owner = "RECYCLEBIN".into();
        state.scn += 1;
    }

    /// `DBMS_PARALLEL_EXECUTE.CREATE_CHUNKS_BY_ROWID`: chunks of so many blocks, of extents as they are now.
    pub(crate) fn make_chunks(
        &self,
        user: &str,
        task: &str,
        owner: &str,
        table: &str,
        blocks: u64,
    ) -> Result<(), OraError> {
        let mut state = self.write();
        let found = state.find(owner, table).filter(|_| crate::dictionary::may_select(&state, user, owner, table));
        let stored = &state.tables[found.ok_or_else(|| OraError::known(942))?];
        if !stored.has_rowids() {
            return Err(OraError::new(29491, "invalid table for chunking"));
        }
        let mut chunks = Vec::new();
        for segment in &stored.segments {
            for extent in (0..segment.extents()).map(|n| segment.extent(n)) {
                let mut block = extent.block;
                while block < extent.block + extent.blocks {
                    let last = (block + blocks.max(1) as u32 - 1).min(extent.block + extent.blocks - 1);
                    let at = |block, row| Rowid { object: segment.data_object, file: extent.file, block, row };
                    chunks.push((task.to_owned(), at(block, 0), at(last, 32_767)));
                    block = last + 1;
                }
            }
        }
        state.chunks.extend(chunks);
        Ok(())
    }

    pub(crate) fn drop_chunks(&self, task: &str) {
        self.write().chunks.retain(|(t, ..)| t != task);
    }

    /// Changes a user: privileges, password, verifier.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn alter_user(&self, name: &str, change: impl FnOnce(User) -> User) {
        let mut state = self.write();
        let at = state.model.users.iter().position(|u| u.name == name);
        let at = at.unwrap_or_else(|| panic!("there is no user {name}"));
        let user = change(state.model.users[at].clone());
        state.secrets.insert(user.name.clone(), Secret::new(&user.password, user.verifier));
        state.model.users[at] = user;
    }

    /// The rows of a table as of an SCN, in the order of a scan, with their rowids.
    ///
    /// # Panics
    /// When there is no such table, or it is synthetic.
    pub fn rows(&self, owner: &str, table: &str, scn: Scn) -> Vec<(Rowid, Vec<Value>)> {
        let state = self.read();
        let mut all = Vec::new();
        for segment in &state.tables[state.named(owner, table)].segments {
            let Rows::Kept(rows) = &segment.rows else { panic!("{table} is synthetic") };
            let seen = rows.iter().enumerate().filter_map(|(n, versions)| Some((n, versions.at(scn)?.to_vec())));
            all.extend(seen.map(|(n, values)| (segment.rowid(n as u64), values)));
        }
        all
    }
}

/// A transaction. Nobody sees its changes before it commits; one that is dropped rolls back.
pub struct Transaction {
    database: Database,
    id: u64,
    changes: Vec<Change>,
}

impl Transaction {
    /// Inserts a row; into the first partition of a table that has some.
    pub fn insert(&mut self, owner: &str, table: &str, values: Vec<Value>) {
        self.insert_in(owner, table, None, values);
    }

    /// Inserts a row into a partition.
    pub fn insert_in(&mut self, owner: &str, table: &str, partition: Option<&str>, values: Vec<Value>) {
        let mut state = self.database.write();
        let table = state.named(owner, table);
        let change = state.insert(table, partition, values);
        drop(state);
        self.changes.push(change);
    }

    /// Changes the rows for which a condition holds, as they were last committed. Gives how many.
    pub fn update(
        &mut self,
        owner: &str,
        table: &str,
        condition: impl Fn(&[Value]) -> bool,
        change: impl Fn(&mut [Value]),
    ) -> usize {
        let state = self.database.read();
        let table = state.named(owner, table);
        let found = state.rows_where(table, condition);
        drop(state);
        let count = found.len();
        self.changes.extend(found.into_iter().map(|(segment, row, mut values)| {
            change(&mut values);
            Change { table, segment, row, values: Some(values.into()) }
        }));
        count
    }

    /// Deletes the rows for which a condition holds, as they were last committed. Gives how many.
    pub fn delete(&mut self, owner: &str, table: &str, condition: impl Fn(&[Value]) -> bool) -> usize {
        let state = self.database.read();
        let table = state.named(owner, table);
        let found = state.rows_where(table, condition);
        drop(state);
        let count = found.len();
        let gone = found.into_iter().map(|(segment, row, _)| Change { table, segment, row, values: None });
        self.changes.extend(gone);
        count
    }

    /// Commits; gives the SCN of it.
    pub fn commit(mut self) -> Scn {
        let mut state = self.database.write();
        state.scn += 1;
        let scn = state.scn;
        state.apply(std::mem::take(&mut self.changes), scn);
        state.transactions.remove(&self.id);
        scn
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.database.write().transactions.remove(&self.id);
    }
}
