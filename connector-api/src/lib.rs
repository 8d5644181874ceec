//! The contract between connectors and the runtime.
//!
//! Write a connector by implementing [`Connector`] with a [`Source`] or a [`Sink`]. The runtime owns
//! every loop, queue, retry and stop; a connector reads or writes and says where it stands. This crate
//! knows no driver, no runtime and no connector.
//!
//! # A complete connector
//! A source that counts, held against the conformance suite (feature `testing`):
//! ```
//! use std::{collections::BTreeMap, sync::Arc};
//! use arrow_array::{Int64Array, RecordBatch};
//! use arrow_schema::DataType;
//! use connector_api::config::{ConfigDef, Kind, Problem, Values};
//! use connector_api::*;
//!
//! #[derive(Clone)]
//! struct CounterConfig { rows: u64, batch: u64 }
//!
//! impl ConnectorConfig for CounterConfig {
//!     fn definition() -> ConfigDef {
//!         ConfigDef::default()
//!             .required("rows", Kind::Int(0, 1 << 40), "How many rows each table has")
//!             .defaulted("batch.size", Kind::Int(1, 65536), "1000", "The most rows of a batch")
//!     }
//!
//!     fn from_values(values: &Values) -> Result<Self, Vec<Problem>> {
//!         Ok(Self { rows: values.count("rows") as u64, batch: values.count("batch.size") as u64 })
//!     }
//! }
//!
//! struct Counter { config: CounterConfig }
//!
//! impl Connector for Counter {
//!     const NAME: &'static str = "counter";
//!     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
//!     const KIND: ConnectorKind = ConnectorKind::Source;
//!     type Config = CounterConfig;
//!     fn build(config: CounterConfig) -> Role {
//!         Role::Source(Box::new(Counter { config }))
//!     }
//! }
//!
//! fn schema(table: TableId) -> Result<Arc<TableSchema>> {
//!     let n = Column::new("n", DataType::Int64, false, "bigint");
//!     Ok(Arc::new(TableSchema::new(table, vec![n], vec![0])?))
//! }
//!
//! #[async_trait::async_trait]
//! impl Source for Counter {
//!     async fn tables(&self) -> Result<Selection> {
//!         let tables = ["a", "b"].map(|name| TableId::new("count", name)).into();
//!         Ok(Selection { system: "counter".into(), tables })
//!     }
//!
//!     async fn plan(&self, done: &Progress) -> Result<Plan> {
//!         let mut tables = Vec::new();
//!         let selection = self.tables().await?;
//!         for table in selection.tables.into_iter().filter(|t| done.loaded(t).is_none()) {
//!             let id = SplitId::new(format!("{table}/0"));
//!             let bytes = 8 * self.config.rows; // an estimate, for order and progress only
//!             let splits = vec![Split { id, table: table.clone(), part: String::new(), bytes }];
//!             tables.push(TablePlan { schema: schema(table)?, splits, rows: Some(self.config.rows) });
//!         }
//!         let (position_type, position) = ("count".into(), "0".into());
//!         let cut = Arc::new(Cut { system: selection.system, position_type, position, visible: None });
//!         Ok(Plan { cut, tables, refused: vec![], tables_at_a_time: 1, splits_at_a_time: 1 })
//!     }
//!
//!     async fn open(&self, split: &Split, after: Position, _: TaskContext) -> Result<Box<dyn SourceTask>> {
//!         let (schema, config) = (schema(split.table.clone())?, self.config.clone());
//!         Ok(Box::new(CounterTask { split: split.id.clone(), schema, config, at: after }))
//!     }
//! }
//!
//! struct CounterTask { split: SplitId, schema: Arc<TableSchema>, config: CounterConfig, at: Position }
//!
//! #[async_trait::async_trait]
//! impl SourceTask for CounterTask {
//!     async fn next(&mut self) -> Result<Option<ChangeBatch>> {
//!         let start = match self.at { Position::Start => 0, Position::At(n) => n, Position::End => return Ok(None) };
//!         let end = self.config.rows.min(start + self.config.batch);
//!         let upto = if end == self.config.rows { Position::End } else { Position::At(end) };
//!         let span = Span { split: self.split.clone(), after: self.at, upto };
//!         let n = Arc::new(Int64Array::from_iter_values(start as i64..end as i64));
//!         let rows = RecordBatch::try_new(self.schema.arrow().clone(), vec![n])
//!             .map_err(|e| Error::fatal("building a batch").caused_by(e))?;
//!         self.at = upto; // last: a call that is dropped or fails before has taken nothing
//!         ChangeBatch::new(self.schema.clone(), span, rows).map(Some)
//!     }
//!
//!     async fn close(self: Box<Self>) -> Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! // What the runtime registers, and what it does with a configuration:
//! const PLUGIN: Plugin = Plugin::of::<Counter>();
//! let build = |rows: &str| (PLUGIN.build)(&BTreeMap::from([("rows".to_owned(), rows.to_owned())]));
//! assert!(matches!(build("-1"), Err(problems) if problems[0].key == "rows"));
//!
//! let source = || match build("2500") {
//!     Ok(Role::Source(source)) => source,
//!     _ => unreachable!("it is a source, and the configuration is right"),
//! };
//! let violations = futures::executor::block_on(testing::conformance::source(&source));
//! assert!(violations.is_empty(), "{violations:?}");
//! ```

mod change;
mod check;
pub mod config;
mod connector;
mod context;
mod decimals;
mod error;
pub mod failpoint;
mod filter;
mod log;
mod position;
mod schema;
mod sink;
mod source;
#[cfg(feature = "testing")]
pub mod testing;

pub use change::{ChangeBatch, Cut, Event, LoadEvent, TableLoad};
pub use check::{Finding, Severity};
pub use config::Secret;
pub use connector::{Connector, ConnectorConfig, ConnectorKind, Plugin, Role};
pub use context::{CancellationToken, Counter, Gauge, Metric, Metrics, TaskContext};
pub use decimals::{Decimals, Unconstrained};
pub use error::{Error, ErrorKind, Result};
pub use filter::{Filter, Like, List};
pub use log::{ChangeLog, Deal, LogBatch, LogEvent, LogSpan, LogTask, Marks, Moved, Op, Standing, Told};
pub use position::{Loaded, Position, Progress, Span, Tracker};
pub use schema::{Column, TableId, TableSchema, UTC, instant, is_uuid};
pub use sink::{Applied, ApplyHandle, ApplyTask, Checkpoint, Claims, CommitHandle, Sink, SinkTask};
pub use source::{HandOver, Plan, Selection, Source, SourceTask, Split, SplitId, TablePlan};
