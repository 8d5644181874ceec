//! What REST catalogs may ask of their clients beyond the fixture's habits: a prefix, patience, tokens that expire,
//! lists in pages. The proxy before the fixture asks for it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connect_tests::compare::assert_same;
use connect_tests::faults::{Fault, Faults};
use connect_tests::http;
use connect_tests::rest::RestCatalog;
use connect_tests::runtime::{FAILED, OK};
use connect_tests::tls::TlsFront;

use crate::catalogs::{on_rest, shop};

/// The catalog's configuration says a prefix; whatever is asked for without it is not there.
#[test]
fn the_catalogs_prefix_is_kept_to() {
    let source = shop();
    let port = RestCatalog::shared().port;
    let mut config: serde_json::Value = serde_json::from_str(&http::get(port, "/v1/config").unwrap().1).unwrap();
    config["overrides"]["prefix"] = "lakes/blue".into();
    let config = config.to_string();
    let proxy = Faults::before(port, move |request| match request.path.strip_prefix("/v1/") {
        Some(rest) if rest.starts_with("config") => Some(Fault::Answer(config.clone())),
        Some(rest) => match rest.strip_prefix("lakes/blue/") {
            Some(resource) => Some(Fault::Path(format!("/v1/{resource}"))),
            None => Some(Fault::Status(404)),
        },
        None => Some(Fault::Status(404)),
    });
    let job = on_rest(&source, proxy.port);
    job.run(&[]).expect(OK);
    assert_same(&source, "orders", &job.lake(), "orders");
    assert!(proxy.struck().iter().all(|told| !told.starts_with("Status")), "{:?}", proxy.struck());
}

/// A catalog that says when to come again is asked then, not before.
#[test]
fn what_retry_after_says_is_waited_for() {
    let source = shop();
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let proxy = Faults::before(RestCatalog::shared().port, move |request| {
        if !request.is("POST", "/tables/orders") {
            return None;
        }
        let mut times = noted.lock().unwrap();
        times.push(Instant::now());
        (times.len() == 1).then_some(Fault::Later(2))
    });
    let job = on_rest(&source, proxy.port);
    job.run(&[]).expect(OK);
    assert_same(&source, "orders", &job.lake(), "orders");
    let times = times.lock().unwrap();
    // Without the header the second attempt comes within half a second.
    assert!(times.len() == 2 && times[1] - times[0] >= Duration::from_secs(2), "{times:?}");
}

/// Tokens that last a second longer than the sink keeps away from their end: none is shown after its time.
#[test]
fn a_token_is_renewed_before_it_expires() {
    let source = shop();
    let issued = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let tokens = Arc::clone(&issued);
    let proxy = Faults::before(RestCatalog::shared().port, move |request| {
        let mut issued = tokens.lock().unwrap();
        if request.is("POST", "/v1/oauth/tokens") {
            issued.push(Instant::now());
            let token = format!("t{}", issued.len());
            let answer = serde_json::json!({ "access_token": token, "token_type": "bearer", "expires_in": 31 });
            return Some(Fault::Answer(answer.to_string()));
        }
        let shown = request.header("authorization").and_then(|value| value.strip_prefix("Bearer t"));
        let age = shown.and_then(|n| issued.get(n.parse::<usize>().ok()?.checked_sub(1)?)).map(Instant::elapsed);
        // 30 s before its end it is old; some for a machine that is busy.
        age.is_none_or(|age| age >= Duration::from_secs(6)).then_some(Fault::Status(403))
    });
    let job = on_rest(&source, proxy.port).sink("iceberg.catalog.credential", "me:Rosinenbrot");
    let hold = [("CONNECT_FAILPOINTS", "iceberg.before-commit=delay(8000)@1")];
    job.start_with(&[], &hold).wait().expect(OK);
    assert_same(&source, "orders", &job.lake(), "orders");
    assert!(issued.lock().unwrap().len() >= 2);
    assert!(proxy.struck().iter().all(|told| !told.starts_with("Status")), "{:?}", proxy.struck());
}

/// The list of a namespace's tables comes in two pages: what stands on the second is seen, too.
#[test]
fn tables_on_a_second_page_are_seen() {
    let source = shop();
    let proxy = Faults::before(RestCatalog::shared().port, |request| {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if request.method != "GET" || !path.ends_with("/tables") {
            return None;
        }
        match query.contains("pageToken=second") {
            true => Some(Fault::Path(path.to_owned())),
            false => Some(Fault::Answer("{\"identifiers\": [], \"next-page-token\": \"second\"}".into())),
        }
    });
    let job = on_rest(&source, proxy.port);
    job.run(&[]).expect(OK);
    let held = job.command("validate", &["--source", "shop", "--no-check-missing"]).expect(OK);
    held.says(&["public.orders", "2 tables"]);
    assert!(proxy.struck().iter().any(|told| told.contains("pageToken=second")), "{:?}", proxy.struck());
}

/// As OpenSSL's clients are told of it; without that the certificate is nobody's.
#[test]
fn a_catalog_may_have_an_authority_of_its_own() {
    let source = shop();
    let front = TlsFront::before(RestCatalog::shared().port);
    let uri = format!("https://localhost:{}", front.port);
    let mut job = on_rest(&source, RestCatalog::shared().port).sink("iceberg.catalog.uri", &uri);
    job.run(&[]).expect(FAILED).says(&["cannot reach the catalog", &uri, "certificate"]);
    job.env.insert("SSL_CERT_FILE".into(), front.authority.display().to_string());
    job.run(&[]).expect(OK);
    assert_same(&source, "orders", &job.lake(), "orders");
}
