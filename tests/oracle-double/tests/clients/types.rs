//! Every type, with its extremes, by every client.

use std::collections::BTreeSet;

use connect_oracle_double::{Personality, Value};

use crate::foreign::{Client, FOREIGN, Request, run};
use crate::{BOTH, canonical, start};

/// Reads each column in a statement of its own, without the rows that the client cannot hold, and all of them in one
/// statement. Gives what was compared: column and row.
fn check(client: Client, personality: Personality, lobs: bool) -> BTreeSet<(String, usize)> {
    let double = start(personality);
    let rows = double.database().rows("APP", "TYPES", double.database().scn());
    let columns = double.columns("APP", "TYPES");
    let mut request = Request { lobs, ..Request::new(double.port()) };
    let mut wanted = Vec::new();
    for (n, (name, _)) in columns.iter().enumerate() {
        let held: Vec<&Vec<Value>> =
            rows.iter().map(|(_, row)| row).filter(|row| !canonical::cannot(client, &row[n])).collect();
        let ids: Vec<String> = held.iter().map(|row| canonical::text(client, &row[0]).unwrap()).collect();
        request = request.statement(format!("SELECT id, \"{name}\" FROM types WHERE id IN ({})", ids.join(", ")));
        wanted.push(held.iter().map(|row| canonical::text(client, &row[n])).collect::<Vec<_>>());
    }
    let outcomes = run(client, &request.statement("SELECT * FROM types WHERE id <= 2"));
    let mut compared = BTreeSet::new();
    for (((name, kind), wanted), outcome) in columns.iter().zip(&wanted).zip(&outcomes) {
        let printed = outcome.rows();
        assert_eq!(printed.len(), wanted.len(), "{client:?}, {personality:?}: {name}");
        for (row, wanted) in printed.iter().zip(wanted) {
            let same = canonical::same(kind, &row[1], wanted);
            assert!(
                same,
                "{client:?}, {personality:?}, {name} of row {:?}:\n{:?} instead of\n{wanted:?}",
                row[0], row[1]
            );
            compared.insert((name.clone(), row[0].as_ref().unwrap().parse().unwrap()));
        }
    }
    for (printed, (_, row)) in outcomes[columns.len()].rows().iter().zip(&rows) {
        for (((name, kind), printed), value) in columns.iter().zip(printed).zip(row) {
            let wanted = canonical::text(client, value);
            assert!(
                canonical::same(kind, printed, &wanted),
                "{client:?}, {name} in a whole row: {printed:?} instead of {wanted:?}"
            );
        }
    }
    compared
}

fn both(client: Client) {
    for personality in BOTH {
        for lobs in [false, true] {
            let compared = check(client, personality, lobs);
            // 28 columns and the key of the older release, three more of the newer one; four rows of each, but for
            // what the client cannot hold.
            let all = if personality == Personality::V19c { 29 * 4 } else { 32 * 4 };
            assert!(compared.len() >= all - 4, "{client:?}: {} values were compared", compared.len());
        }
    }
}

#[test]
fn python_sees_what_the_model_holds() {
    both(Client::Python);
}

#[test]
fn node_sees_what_the_model_holds() {
    both(Client::Node);
}

#[test]
fn jdbc_sees_what_the_model_holds() {
    both(Client::Java);
}

#[test]
fn the_rust_driver_sees_what_the_model_holds() {
    both(Client::Rust);
}

#[test]
fn no_value_goes_unread_by_all_but_one() {
    let double = start(Personality::V23ai);
    for (_, row) in double.database().rows("APP", "TYPES", double.database().scn()) {
        for value in row {
            let readers = FOREIGN.iter().chain([&Client::Rust]).filter(|c| !canonical::cannot(**c, &value));
            assert!(readers.count() >= 2, "{value:?}");
        }
    }
}

#[test]
fn a_wrong_value_is_found_out() {
    let (kind, value) = (connect_oracle_double::Type::number(9, 2), Value::number("1.5"));
    let wanted = canonical::text(Client::Python, &value);
    assert!(canonical::same(&kind, &Some("1.50".into()), &wanted));
    assert!(!canonical::same(&kind, &Some("1.51".into()), &wanted));
    assert!(!canonical::same(&kind, &None, &wanted));
    assert!(!canonical::same(&connect_oracle_double::Type::Json, &Some("[1]".into()), &Some("[\"n:2\"]".into())));
}
