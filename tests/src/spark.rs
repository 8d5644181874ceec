//! Apache Spark as a reader, through `spark.py`: one process for all tests, since it takes seconds to start, and
//! only where `scripts/setup spark` put it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};

use serde_json::{Value, json};

use crate::lake::{Engine, Lake, Reader, cache, python};

/// The running Spark; it ends with the process, whose end closes its input.
pub(crate) fn shared() -> MutexGuard<'static, Reader> {
    static SPARK: OnceLock<Mutex<Reader>> = OnceLock::new();
    let spark = SPARK.get_or_init(|| {
        let folder = cache().join("spark");
        let mut jars: Vec<PathBuf> = std::fs::read_dir(folder.join("lib"))
            .expect("Spark is missing: run `scripts/setup spark`")
            .map(|entry| entry.unwrap().path())
            .collect();
        jars.sort();
        let mut script = python(&folder.join("venv"), "spark.py");
        // Its driver and executors speak to each other, else over whatever address the host's name has.
        script.args(jars).env("SPARK_LOCAL_IP", "127.0.0.1");
        Mutex::new(Reader::start(script))
    });
    spark.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What Spark finds wrong with a table by its own means: answers that it takes from the metadata (counts, smallest
/// and largest values), or for which it leaves files out, against those of reading every row. Empty when nothing is;
/// with how many answers it took from the metadata alone. Asks about one column, or about all.
pub fn contradictions(lake: &Lake, table: &str, column: Option<&str>) -> (Vec<String>, u64) {
    let described = lake.describe(table);
    let columns = |picks: &dyn Fn(&Value) -> bool| -> Vec<String> {
        let picked = described["fields"].as_array().unwrap().iter().filter(|field| picks(field));
        picked.map(|field| field["name"].as_str().unwrap().to_owned()).collect()
    };
    let asked = columns(&|field| column.is_none_or(|column| field["name"] == column));
    let uuids = columns(&|field| field["type"] == "uuid");
    let request = json!({ "columns": asked, "uuids": uuids });
    let answer = lake.answer("contradictions", Engine::Spark, table, request).unwrap();
    let wrong = answer["wrong"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    (wrong.collect(), answer["alone"].as_u64().unwrap())
}

/// The row ids of a table, sorted, each with the sequence number of its row's last change.
pub fn lineage(lake: &Lake, table: &str) -> Vec<(u64, u64)> {
    let answer = lake.answer("lineage", Engine::Spark, table, json!({})).unwrap();
    let pair = |row: &Value| (row[0].as_u64().unwrap(), row[1].as_u64().unwrap());
    answer.as_array().unwrap().iter().map(pair).collect()
}

/// Why Spark does not read a table.
///
/// # Panics
/// When it does.
pub fn refusal(lake: &Lake, table: &str) -> String {
    lake.answer("read", Engine::Spark, table, json!({})).expect_err("Spark reads it")
}
