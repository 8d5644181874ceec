//! The conformance suite of the contract, on a real catalog and read back through iceberg's own scan.

use async_trait::async_trait;
use connector_api::testing::conformance::{self, SinkFixture};
use connector_api::{Result, Sink, TableId};

use super::Lake;

#[async_trait]
impl SinkFixture for Lake {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(Lake::sink(self))
    }

    async fn visible(&self, table: &TableId) -> Result<Option<Vec<i64>>> {
        match self.table(table.name()).await {
            Some(_) => Ok(Some(self.ids(table.name()).await)),
            None => Ok(None),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let violations = conformance::sink(&Lake::new()).await;
    assert!(violations.is_empty(), "{violations:#?}");
}
