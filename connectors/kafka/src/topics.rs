//! Which topics there are to follow, and which table a topic's name means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_api::{Deal, Result, TableId};
use rdkafka::consumer::Consumer as _;

use crate::config::Topics;
use crate::consumer::{Consumer, TIMEOUT};
use crate::topic_id;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// The id of this one among all of its name.
    pub(crate) id: Arc<str>,
    /// How many partitions it has.
    pub(crate) partitions: i32,
    /// Whether it tells of transactions instead of rows.
    pub(crate) is_of_transactions: bool,
}

impl Topic {
    /// What a partition is called in marks.
    pub(crate) fn partition_name(&self, partition: i32) -> Arc<str> {
        Arc::from(format!("{}{partition}@{}", of_topic(&self.name), self.id))
    }

    /// The table that it is of as far as its name tells.
    pub(crate) fn table(&self) -> Option<TableId> {
        if self.is_of_transactions { None } else { table(&self.name) }
    }

    /// The source that it is of: its prefix, or the whole.
    pub(crate) fn source(&self) -> &str {
        match self.name.rsplit_once('.') {
            Some((prefix, _)) if self.is_of_transactions => prefix,
            _ => source(&self.name),
        }
    }
}

/// What the names of every partition of a topic of this name begin with, whatever the topic's id.
pub(crate) fn of_topic(name: &str) -> String {
    format!("{name}-")
}

/// Whether a mark is of a partition of a topic of this name; then also the topic's id.
pub(crate) fn id_in<'a>(mark: &'a str, topic: &str) -> Option<&'a str> {
    let (partition, id) = mark.strip_prefix(topic)?.strip_prefix('-')?.split_once('@')?;
    partition.parse::<i32>().ok().map(|_| id)
}

/// Finds the topics, and those of the same sources that tell of transactions: `{prefix}.{transactions}`. Gives also the names
/// of all topics that there are and may be seen, whatever their state.
///
/// # Errors
/// What the brokers answer.
pub(crate) fn find(consumer: &Consumer, wanted: &Topics, transactions: &str) -> Result<(Vec<Topic>, BTreeSet<String>)> {
    let metadata = consumer.metadata()?;
    let listed = metadata.topics().iter().map(|t| t.name().to_owned()).collect();
    let all = metadata.topics().iter().filter(|t| t.error().is_none() && !t.partitions().is_empty());
    let all: BTreeMap<&str, i32> = all.map(|t| (t.name(), t.partitions().len() as i32)).collect();
    let of_transactions = of_transactions(all.keys().copied(), wanted, transactions);
    let found: BTreeMap<&str, i32> =
        all.into_iter().filter(|(name, _)| wanted.has(name) || of_transactions.contains(*name)).collect();
    let names: Vec<&str> = found.keys().copied().collect();
    let ids = topic_id::ids(consumer.asks().client().native_ptr(), &names, TIMEOUT)?;
    let topic = |(name, partitions): (&str, i32)| {
        // A topic that went between the two questions is found another time, or not.
        let id = ids.get(name)?;
        let is_of_transactions = of_transactions.contains(name);
        Some(Topic { name: name.into(), id: id.as_str().into(), partitions, is_of_transactions })
    };
    Ok((found.into_iter().filter_map(topic).collect(), listed))
}

/// The names that topics of transaction metadata have, where there are any, beside these topics.
fn of_transactions<'a>(all: impl Iterator<Item = &'a str>, wanted: &Topics, transactions: &str) -> BTreeSet<String> {
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    for name in all.filter(|name| !transactions.is_empty() && wanted.has(name) && table(name).is_some()) {
        *sources.entry(source(name)).or_default() += 1;
    }
    // What may as well be a table's is one where the source that it then is of has other tables.
    let is_table =
        |name: &str| wanted.has(name) && table(name).is_some() && sources.get(source(name)).is_some_and(|of| *of > 1);
    sources.keys().map(|source| format!("{source}.{transactions}")).filter(|name| !is_table(name)).collect()
}

/// The table that a topic named `{prefix}.{schema}.{table}` is of. Only where to begin reading is decided by it:
/// which table an event is of stands in the event.
pub(crate) fn table(topic: &str) -> Option<TableId> {
    let (rest, name) = topic.rsplit_once('.')?;
    let (prefix, schema) = rest.rsplit_once('.')?;
    (!prefix.is_empty() && !schema.is_empty() && !name.is_empty()).then(|| TableId::new(schema, name))
}

/// Whether a task has a topic in its deal: by the table that its name tells, or its whole name.
pub(crate) fn is_dealt(topic: &str, deal: Deal) -> bool {
    table(topic).map_or_else(|| deal.has(topic), |table| deal.has(&table.to_string()))
}

/// The source that a topic is of: its prefix, or the whole.
pub(crate) fn source(topic: &str) -> &str {
    let prefix = topic.rsplit_once('.').and_then(|(rest, _)| rest.rsplit_once('.'));
    prefix.map_or(topic, |(prefix, _)| prefix)
}

/// Whether a topic may be a table's: Debezium replaces what Kafka does not allow in a name.
pub(crate) fn is_of(topic: &str, table: &TableId) -> bool {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let wanted: String = format!(".{table}").chars().map(legal).collect();
    topic.len() > wanted.len() && topic.ends_with(&wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_means_a_table() {
        let check = |topic: &str| table(topic).map(|t| t.to_string());
        assert_eq!(check("shop.public.orders"), Some("public.orders".to_owned()));
        assert_eq!(check("eu.shop.public.orders"), Some("public.orders".to_owned()));
        assert_eq!((check("orders"), check("public.orders"), check(".a.b")), (None, None, None));
        assert_eq!((source("eu.shop.public.orders"), source("orders")), ("eu.shop", "orders"));
    }

    #[test]
    fn topics_that_tell_of_one_table_are_one_tasks() {
        for deal in Deal::among(5) {
            assert_eq!(is_dealt("north.public.t", deal), is_dealt("eu.south.public.t", deal));
        }
        assert_eq!(Deal::among(5).filter(|deal| is_dealt("all", *deal)).count(), 1);
    }

    #[test]
    fn names_that_kafka_does_not_allow_are_known_again() {
        assert!(is_of("shop.public.Order_Lines", &TableId::new("public", "Order Lines")));
        assert!(is_of("shop.public.a.b", &TableId::new("public", "a.b")));
        assert!(!is_of("shop.public.orders", &TableId::new("public", "rders")));
        assert!(!is_of(".public.orders", &TableId::new("public", "orders")));
    }

    #[test]
    fn a_topic_of_transactions_is_not_a_tables() {
        let check = |all: &[&str], regex: &str| -> Vec<String> {
            let wanted = Topics::Matching(regex::Regex::new(&format!("^(?:{regex})$")).unwrap());
            let names = of_transactions(all.iter().copied(), &wanted, "transaction");
            names.into_iter().filter(|name| all.contains(&name.as_str())).collect()
        };
        assert_eq!(check(&["shop.public.t", "shop.transaction"], ".*"), ["shop.transaction"]);
        assert_eq!(check(&["eu.shop.public.t", "eu.shop.transaction"], ".*"), ["eu.shop.transaction"]);
        // The tables `a.b` and `transaction` of one schema.
        let all = ["shop.public.a.b", "shop.public.t", "shop.public.transaction", "shop.transaction"];
        assert_eq!(check(&all, ".*"), ["shop.transaction"]);
        assert!(of_transactions(all.into_iter(), &Topics::Named(vec!["shop.public.t".into()]), "").is_empty());
    }

    #[test]
    fn a_partition_is_of_one_topic() {
        let topic = Topic { name: "a.b".into(), id: "ID-0@x".into(), partitions: 1, is_of_transactions: false };
        let name = topic.partition_name(12);
        assert_eq!(&*name, "a.b-12@ID-0@x");
        assert_eq!(id_in(&name, "a.b"), Some("ID-0@x"));
        assert_eq!((id_in(&name, "a"), id_in(&name, "a.b-12")), (None, None));
    }
}
