//! What goes wrong on demand, as clients see it.

use std::time::{Duration, Instant};

use connect_oracle_double::{Effect, Fault, Personality};

use crate::foreign::{Client, FOREIGN, Outcome, Request, run};
use crate::{BOTH, start};

fn all() -> impl Iterator<Item = Client> {
    FOREIGN.into_iter().chain([Client::Rust])
}

#[test]
fn an_error_in_the_middle_of_a_fetch() {
    for (client, personality) in all().flat_map(|c| BOTH.map(|p| (c, p))) {
        let double = start(personality);
        double.faults().add(Fault::on("SELECT id FROM types", Effect::Error(1555)).at_fetch().after(1));
        let request = Request { rows: 1, ..Request::new(double.port()).statement("SELECT id FROM types") };
        let outcomes = run(client, &request.statement("SELECT 1 FROM dual"));
        assert_eq!(outcomes[0].error(), "ORA-01555", "{client:?}, {personality:?}");
        // The session goes on.
        assert_eq!(outcomes[1].rows().len(), 1, "{client:?}, {personality:?}");
    }
}

#[test]
fn a_connection_that_is_cut_in_a_row_is_an_error_and_no_short_result() {
    for (client, personality) in all().flat_map(|c| BOTH.map(|p| (c, p))) {
        for effect in [Effect::CutAfterRows(1), Effect::Cut(3)] {
            let double = start(personality);
            double.faults().add(Fault::on("SELECT id, v FROM types", effect.clone()));
            let outcomes = run(client, &Request::new(double.port()).statement("SELECT id, v FROM types"));
            let what = format!("{client:?}, {personality:?}, {effect:?}: {outcomes:?}");
            assert!(matches!(outcomes[0], Outcome::Error(..)), "{what}");
            assert_eq!(double.faults().struck(), 1, "{what}");
        }
    }
}

#[test]
fn a_call_that_takes_too_long_is_broken_off_and_the_session_goes_on() {
    let check = |client, personality| {
        let double = start(personality);
        double.faults().add(Fault::on("FROM types", Effect::Stall(Duration::from_secs(300))));
        // The other statement's, too. Java's is of whole seconds and of each statement, and its first one takes one.
        let timeout = if client == Client::Java { 4000 } else { 3000 };
        let request = Request { timeout, ..Request::new(double.port()).statement("SELECT id FROM types") };
        let began = Instant::now();
        let outcomes = run(client, &request.statement("SELECT 1 FROM dual"));
        let what = format!("{client:?}, {personality:?}: {outcomes:?}");
        assert!(matches!(outcomes[0], Outcome::Error(..)), "{what}");
        assert_eq!(outcomes[1].rows().len(), 1, "{what}");
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        assert_eq!(double.faults().breaks(), 1, "{what}");
    };
    // They wait at the same time.
    std::thread::scope(|threads| {
        for client in all() {
            threads.spawn(move || BOTH.map(|personality| check(client, personality)));
        }
    });
}

#[test]
fn latency_is_of_each_round_trip() {
    let double = start(Personality::V23ai);
    double.faults().latency(Duration::from_millis(20));
    let request = Request { rows: 1, ..Request::new(double.port()).statement("SELECT id FROM types") };
    let began = Instant::now();
    assert_eq!(run(Client::Rust, &request)[0].rows().len(), 4);
    let trips = double.faults().round_trips();
    assert!(trips >= 4 && began.elapsed() >= Duration::from_millis(20 * 4), "{trips} trips in {:?}", began.elapsed());
}

#[test]
fn a_listener_that_refuses() {
    for client in all() {
        let double = start(Personality::V19c);
        double.faults().refuse_connections(12516);
        let outcome = run(client, &Request::new(double.port())).remove(0);
        let Outcome::Error(_, message) = &outcome else { panic!("{client:?} got in") };
        assert!(message.contains("12516"), "{client:?}: {message}");
    }
}
