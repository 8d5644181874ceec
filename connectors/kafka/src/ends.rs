//! Which transactions have ended, as Debezium's topics of transaction metadata tell. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use connector_api::TableId;
use connector_debezium::Transaction;

/// So many are remembered: what is asked for is the last one of each partition.
const KEPT: usize = 2_000;

/// A source, by its topics' prefix, and one of its transactions.
type Which = (Arc<str>, u64);

/// The transactions that have ended lately.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// How many events they had of each table.
    events: HashMap<Which, Vec<(String, u64)>>,
    order: VecDeque<Which>,
}

impl Ends {
    /// Takes in what a topic of transaction metadata says.
    pub(crate) fn note(&mut self, source: &Arc<str>, transaction: Transaction) {
        let (Some(number), Some(_)) = (transaction.number(), transaction.events) else { return };
        let which = (Arc::clone(source), number);
        if self.events.insert(which.clone(), transaction.tables).is_none() {
            self.order.push_back(which);
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
    }

    /// How many events a transaction had of a table, if it is known to have ended.
    pub(crate) fn events(&self, source: &Arc<str>, transaction: u64, table: &TableId) -> Option<u64> {
        let tables = self.events.get(&(Arc::clone(source), transaction))?;
        // Oracle's stand behind the name of their database.
        let (name, behind) = (table.to_string(), format!(".{table}"));
        let named = tables.iter().find(|(table, _)| *table == name);
        named.or_else(|| tables.iter().find(|(table, _)| table.ends_with(&behind))).map(|(_, events)| *events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known_by_source_and_table() {
        let (mut ends, source) = (Ends::default(), Arc::from("shop"));
        let told = |id: String, events, of| Transaction { id, events, tables: vec![("public.t".to_owned(), of)] };
        ends.note(&source, told("7:100".into(), None, 1));
        let table = TableId::new("public", "t");
        assert_eq!(ends.events(&source, 7, &table), None, "it has only begun");
        for number in 0..=KEPT as u64 {
            ends.note(&source, told(format!("{number}:1"), Some(9), number));
        }
        let of = |number| ends.events(&source, number, &table);
        assert_eq!((of(0), of(1), of(KEPT as u64)), (None, Some(1), Some(KEPT as u64)));
        assert_eq!(ends.events(&Arc::from("other"), 1, &table), None);
        assert_eq!(ends.events(&source, 1, &TableId::new("public", "u")), None);
        let tables = vec![("ORCL.SHOP.T".to_owned(), 3), ("ORCL.SHOP.OLD_T".to_owned(), 4)];
        ends.note(&source, Transaction { id: "0a001b00c1040000".into(), events: Some(7), tables });
        let of = |table| ends.events(&source, 0x0a00_1b00_c104_0000, &TableId::new("SHOP", table));
        assert_eq!((of("T"), of("OLD_T"), of("LD_T")), (Some(3), Some(4), None));
    }
}
