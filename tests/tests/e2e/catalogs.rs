//! Catalogs other than a SQLite file: what we write there the others read, and the other way round.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use connect_tests::compare::assert_same;
use connect_tests::faults::{Fault, Faults};
use connect_tests::poll::Poller;
use connect_tests::postgres::{Database, PASSWORD, Server, USER, free_port};
use connect_tests::rest::RestCatalog;
use connect_tests::runtime::{CONFIGURATION, FAILED, Job, OK, SOME_TABLES_FAILED};
use connect_tests::store::{ACCESS_KEY, Bucket, SECRET_KEY, Store};

pub(crate) const ROWS: u64 = 20_000;

pub(crate) fn shop() -> Database {
    let database = Server::shared().database();
    database.sql_as_user(&format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, v text, n numeric(10,2), at timestamptz);
         INSERT INTO orders SELECT i, md5(i::text), i / 7.0, 'epoch'::timestamptz + i * interval '1 hour'
             FROM generate_series(1, {ROWS}) i;
         CREATE TABLE none (id int PRIMARY KEY)"
    ));
    database
}

/// A job whose catalog is in a PostgreSQL database.
fn on_postgres(source: &Database, catalog: &Database) -> Job {
    on_postgres_at(source, catalog, catalog.port())
}

/// The same, which the job reaches through a port.
pub(crate) fn on_postgres_at(source: &Database, catalog: &Database, port: u16) -> Job {
    let mut job = Job::new(source).sink("iceberg.catalog.jdbc.user", USER);
    job.sink.insert("iceberg.catalog.jdbc.password".into(), "${env:SHOP_PASSWORD}".into());
    let at = format!("127.0.0.1:{}/{}", catalog.port(), catalog.name);
    let through = format!("jdbc:postgresql://127.0.0.1:{port}/{}", catalog.name);
    job.sink.insert("iceberg.catalog.uri".into(), through);
    // As PyIceberg's own documentation writes it; the password's special characters encoded.
    let password: String = PASSWORD.bytes().map(|b| format!("%{b:02X}")).collect();
    let uri = format!("postgresql+psycopg2://{USER}:{password}@{at}");
    let warehouse = job.folder().join("lake").display().to_string();
    let pairs = [("type", "sql".into()), ("uri", uri), ("warehouse", warehouse)];
    job.catalog = Some(pairs.map(|(k, v)| (k.to_owned(), v)).into());
    job
}

#[test]
fn a_catalog_in_postgresql_is_the_one_others_know() {
    let (source, catalog) = (shop(), Server::shared().database());
    let job = on_postgres(&source, &catalog);
    let poller = Poller::start(&job.lake(), "orders", "id");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in ["orders", "none"] {
        assert_same(&source, table, &lake, table);
    }
    assert_eq!(lake.tables(), ["_cdc_status", "_schema_changes", "none", "orders"]);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");

    // PyIceberg writes into it; we see its table and leave it alone until told otherwise.
    lake.write_sample("later");
    source.sql_as_user("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (7)");
    job.run(&[]).expect(SOME_TABLES_FAILED).says(&["already loaded", "public.later", "--no-resume"]);
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&source, "later", &lake, "later");
    assert_eq!(lake.describe("orders")["snapshots"], 2);
}

/// Each table has one winner, as on SQLite.
#[test]
fn two_processes_meet_in_a_catalog_in_postgresql() {
    let (source, catalog) = (shop(), Server::shared().database());
    let first = on_postgres(&source, &catalog);
    let mut second = on_postgres(&source, &catalog);
    second.sink.clone_from(&first.sink);
    let poller = Poller::start(&first.lake(), "orders", "id");
    let hold = [("CONNECT_FAILPOINTS", "iceberg.claim=error;iceberg.before-commit=delay(1500)@1")];
    let (a, b) = (first.start_with(&[], &hold), second.start_with(&[], &hold));
    for running in [a, b] {
        running.wait().expect(OK);
    }
    assert_same(&source, "orders", &first.lake(), "orders");
    assert_eq!(first.lake().describe("orders")["snapshots"], 1);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");
}

/// PostgreSQL refuses all but one of those that create a table at once, each as its moment has it: the row of
/// an index is there, or a relation, or its type.
#[test]
fn processes_that_open_a_new_catalog_at_once_do_not_trip_over_its_tables() {
    let source = Server::shared().database();
    source.sql_as_user("CREATE TABLE orders (id int PRIMARY KEY)");
    for _ in 0..3 {
        let catalog = Server::shared().database();
        let jobs: Vec<Job> = (0..6).map(|_| on_postgres(&source, &catalog)).collect();
        let running: Vec<_> =
            jobs.iter().map(|job| job.start_with(&[], &[("CONNECT_FAILPOINTS", "iceberg.claim=error")])).collect();
        for running in running {
            running.wait().expect(OK);
        }
    }
}

#[test]
fn a_catalog_that_refuses_us_is_named() {
    let (source, catalog) = (shop(), Server::shared().database());
    let mut job = on_postgres(&source, &catalog);
    job.env.insert("SHOP_PASSWORD".into(), PASSWORD.into());
    job.sink.insert("iceberg.catalog.jdbc.password".into(), "wrong-Zwetschge".into());
    let outcome = job.run(&[]).expect(FAILED).says(&["catalog", &catalog.name, "password"]);
    assert!(!outcome.output.contains("Zwetschge"), "{}", outcome.output);
    catalog.sql("CREATE TABLE iceberg_tables (a int)");
    let job = on_postgres(&source, &catalog);
    job.run(&[]).expect(FAILED).says(&["catalog"]);
}

/// A job with its own SQLite catalog whose tables lie in a bucket, reached through a port.
pub(crate) fn on_s3(source: &Database, bucket: &Bucket, port: u16) -> Job {
    let mut job = Job::new(source);
    let warehouse = format!("s3://{}/wh", bucket.name);
    job.sink.insert("iceberg.catalog.warehouse".into(), warehouse.clone());
    for (name, value) in bucket.properties(port) {
        job.sink.insert(format!("iceberg.catalog.{name}"), value);
    }
    job.sink.insert("iceberg.catalog.s3.secret-access-key".into(), "${env:S3_SECRET}".into());
    job.env.insert("S3_SECRET".into(), SECRET_KEY.into());
    let uri = format!("sqlite:///{}", job.folder().join("lake/catalog.db").display());
    let catalog = [("type", "sql".into()), ("uri", uri), ("warehouse", warehouse)];
    let catalog = catalog.into_iter().chain(bucket.properties(bucket.port()));
    job.catalog = Some(catalog.map(|(k, v)| (k.to_owned(), v)).collect());
    job
}

#[test]
fn tables_in_an_object_store_are_read_back_from_there() {
    let (source, bucket) = (shop(), Store::shared().bucket());
    source.sql_as_user(
        "CREATE TABLE large (id bigint PRIMARY KEY, v text);
         INSERT INTO large SELECT i, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 40) j)
             FROM generate_series(1, 20000) i",
    );
    // Without compression a file of several parts.
    let job = on_s3(&source, &bucket, bucket.port()).sink("write.parquet.compression-codec", "uncompressed");
    let poller = Poller::start(&job.lake(), "orders", "id");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in ["orders", "none", "large"] {
        assert_same(&source, table, &lake, table);
    }
    let files = lake.describe("large")["files"].clone();
    assert!(files[0].as_str().unwrap().starts_with(&format!("s3://{}/wh/bronze/shop/large/data/", bucket.name)));
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&source, "orders", &lake, "orders");
    assert_eq!(bucket.open_uploads(), 0);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");
}

/// Environment, a profile of the shared files, a profile named in the configuration.
#[test]
fn credentials_come_from_where_aws_clients_look() {
    let (source, bucket) = (shop(), Store::shared().bucket());
    let without = |env: &[(&str, &str)]| {
        let mut job = on_s3(&source, &bucket, bucket.port());
        for key in ["access-key-id", "secret-access-key", "region"] {
            job.sink.remove(&format!("iceberg.catalog.s3.{key}"));
        }
        // No instance to ask here.
        job.env.insert("AWS_EC2_METADATA_DISABLED".into(), "true".into());
        job.env.extend(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        job
    };
    let job = without(&[("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]);
    job.run(&[]).expect(OK);
    assert_same(&source, "orders", &job.lake(), "orders");

    let file = job.folder().join("credentials");
    let profile = format!("[lake]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    std::fs::write(&file, profile).unwrap();
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap());
    without(&[shared, ("AWS_PROFILE", "lake")]).run(&["--no-resume"]).expect(OK);
    without(&[shared]).sink("iceberg.catalog.s3.profile-name", "lake").run(&["--no-resume"]).expect(OK);

    // The twin: none of these. An end, soon, that says what is missing.
    let outcome = without(&[shared]).run(&[]);
    assert_ne!(outcome.code, Some(OK), "{}", outcome.output);
    let outcome = outcome.says(&["no credentials", "AWS_ACCESS_KEY_ID"]);
    assert!(outcome.elapsed.as_secs() < 60, "took {:?}", outcome.elapsed);
}

#[test]
fn a_store_that_cannot_be_used_is_named() {
    let (source, bucket) = (shop(), Store::shared().bucket());
    let mut job = on_s3(&source, &bucket, bucket.port());
    job.sink.insert("iceberg.catalog.warehouse".into(), "s3://no-such-bucket/wh".into());
    let outcome = job.run(&[]);
    assert_ne!(outcome.code, Some(OK), "{}", outcome.output);
    outcome.says(&["no-such-bucket", "NoSuchBucket"]);
    let mut job = on_s3(&source, &bucket, free_port());
    job.sink.insert("request.timeout.ms".into(), "2000".into());
    let outcome = job.run(&[]).expect(FAILED).says(&["the warehouse's store cannot be used", "127.0.0.1"]);
    assert!(outcome.elapsed.as_secs() < 60, "took {:?}", outcome.elapsed);
    let job = on_s3(&source, &bucket, bucket.port()).sink("iceberg.catalog.s3.endpont", "x");
    job.run(&[]).expect(CONFIGURATION).says(&["iceberg.catalog.s3.endpont", "did you mean \"endpoint\""]);
}

/// A job whose catalog is the REST one, reached through a port. The job knows where the store is, not its
/// credentials: those come with the tables.
pub(crate) fn on_rest(source: &Database, port: u16) -> Job {
    in_rest(Job::new(source), &source.name, port)
}

/// The same with a namespace of this name for another job.
pub(crate) fn in_rest(job: Job, name: &str, port: u16) -> Job {
    let catalog = RestCatalog::shared();
    let mut job = job
        .sink("iceberg.catalog.type", "rest")
        .sink("iceberg.catalog.uri", &format!("http://127.0.0.1:{port}"))
        .sink("iceberg.namespace", &format!("{name}.shop"));
    job.sink.remove("iceberg.catalog.warehouse");
    let store = catalog.bucket.properties(catalog.bucket.port());
    for (name, value) in store.iter().filter(|(name, _)| !name.contains("key")) {
        job.sink.insert(format!("iceberg.catalog.{name}"), value.clone());
    }
    job.env.insert("AWS_EC2_METADATA_DISABLED".into(), "true".into());
    let reader = [("type", "rest".to_owned()), ("uri", format!("http://127.0.0.1:{}", catalog.port))];
    job.catalog = Some(reader.into_iter().chain(store).map(|(k, v)| (k.to_owned(), v)).collect());
    job
}

#[test]
fn a_rest_catalog_says_where_tables_lie_and_hands_out_credentials() {
    let source = shop();
    let job = on_rest(&source, RestCatalog::shared().port);
    let poller = Poller::start(&job.lake(), "orders", "id");
    job.run(&[]).expect(OK);
    let lake = job.lake();
    for table in ["orders", "none"] {
        assert_same(&source, table, &lake, table);
        assert_eq!(lake.describe(table)["snapshots"], 1, "created with its rows");
    }
    let location = lake.describe("orders")["location"].as_str().unwrap().to_owned();
    assert!(location.starts_with("s3://") && !location.contains("bronze"), "{location}");
    let properties = lake.describe("orders")["properties"].clone();
    assert!(!properties["created-at"].is_null(), "the catalog's own properties stay: {properties}");
    let uuid = lake.describe("orders")["uuid"].clone();
    source.sql_as_user("ALTER TABLE orders ADD extra int DEFAULT 5");
    job.run(&["--no-resume"]).expect(OK);
    assert_same(&source, "orders", &lake, "orders");
    assert_eq!(lake.describe("orders")["uuid"], uuid, "still the same table");
    job.command("validate", &["--source", "shop"]).expect(OK);
    let seen = poller.finish();
    assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))) && seen.contains(&Some(ROWS)), "{seen:?}");

    // The credentials were the catalog's: the job has none.
    assert!(
        !job.sink.keys().chain(job.env.keys()).any(|key| key.to_lowercase().replace("_", "-").contains("access-key")),
        "{:?}",
        job.sink
    );
}

#[test]
fn two_processes_meet_in_a_rest_catalog() {
    let source = shop();
    let first = on_rest(&source, RestCatalog::shared().port);
    let second = on_rest(&source, RestCatalog::shared().port);
    // Once as they divide the tables, and once as if they knew nothing of each other.
    let held = "iceberg.before-commit=delay(1500)@1";
    for (args, failpoints) in
        [(&[][..], held.to_owned()), (&["--no-resume"][..], format!("iceberg.claim=error;{held}"))]
    {
        let poller = Poller::start(&first.lake(), "orders", "id");
        let hold = [("CONNECT_FAILPOINTS", failpoints.as_str())];
        let (a, b) = (first.start_with(args, &hold), second.start_with(args, &hold));
        for running in [a, b] {
            running.wait().expect(OK);
        }
        assert_same(&source, "orders", &first.lake(), "orders");
        let seen = poller.finish();
        assert!(seen.iter().all(|n| matches!(n, None | Some(ROWS))), "{seen:?}");
    }
}

/// The catalog hands out tokens and does not ask for them; the proxy before it does, and once turns down a token
/// that was good.
#[test]
fn tokens_are_asked_for_and_renewed() {
    let source = shop();
    let mut seen = 0;
    let guarded = Faults::before(RestCatalog::shared().port, move |request| {
        if request.is("POST", "/v1/oauth/tokens") {
            return None;
        }
        let bearer = request.header("authorization").is_some_and(|value| value.starts_with("Bearer "));
        seen += u32::from(bearer);
        let tenant = request.header("x-tenant") == Some("blue");
        (!bearer || !tenant || seen == 7).then_some(Fault::Status(401))
    });
    let job = on_rest(&source, guarded.port)
        .sink("iceberg.catalog.credential", "me:Rosinenbrot")
        .sink("iceberg.catalog.header.X-Tenant", "blue");
    let outcome = job.run(&[]).expect(OK);
    assert!(!outcome.output.contains("Rosinenbrot"), "{}", outcome.output);
    assert_same(&source, "orders", &job.lake(), "orders");
    assert_eq!(guarded.struck().len(), 1, "{:?}", guarded.struck());

    let job = on_rest(&source, guarded.port);
    let outcome = job.run(&[]);
    assert_ne!(outcome.code, Some(OK), "{}", outcome.output);
    outcome.says(&["the catalog does not accept the login"]);
}

/// What the catalog hands out is good for 4 s here, by what the store makes of it; the load takes longer. Told to end
/// two minutes later than it is looked after (the library renews that much ahead).
#[test]
fn vended_credentials_are_renewed_while_a_load_runs() {
    const LIFE: u64 = 4;
    const DAY: u64 = 24 * 3600;
    let source = shop();
    let vending = |expiring: bool| {
        Faults::before(RestCatalog::shared().port, move |request| {
            let tables = request.path.contains("/tables");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let ends = now + Duration::from_secs(121);
            let expiry = format!("\"s3.session-token-expires-at-ms\":\"{}\",", ends.as_millis());
            let expiry = if expiring { expiry.as_str() } else { "" };
            let vended = format!("{expiry}\"s3.access-key-id\":\"{}{ACCESS_KEY}\"", now.as_secs());
            tables.then(|| Fault::Reading(format!("\"s3.access-key-id\":\"{ACCESS_KEY}\""), vended))
        })
    };
    let bucket = &RestCatalog::shared().bucket;
    let store = Faults::before(bucket.port(), move |request| {
        let shown = request.header("authorization")?.split_once("Credential=")?.1.split_once(ACCESS_KEY)?.0;
        let vended: u64 = shown.parse().expect("a key that the catalog handed out");
        // By when it was signed, however long it was on its way: "20260131T235959Z".
        let clock = &request.header("x-amz-date")?[9..15];
        let number = |at: usize| clock[at..at + 2].parse::<u64>().expect("a number");
        let signed = number(0) * 3600 + number(2) * 60 + number(4);
        let age = (signed + DAY - vended % DAY) % DAY;
        (age > LIFE && age < DAY / 2).then_some(Fault::Status(403))
    });
    let job = |expiring: bool, namespace: &str| {
        let job = on_rest(&source, vending(expiring).port).source("batch.size", "2000").source("max.retries", "0");
        let job = job.sink("iceberg.catalog.s3.endpoint", &format!("http://127.0.0.1:{}", store.port));
        job.sink("iceberg.namespace", &format!("{}.{namespace}", source.name))
    };
    let slow = [("CONNECT_FAILPOINTS", "postgres.batch=delay(500)")];
    let renewed = job(true, "renewed");
    renewed.start_with(&[], &slow).wait().expect(OK);
    assert_same(&source, "orders", &renewed.lake(), "orders");

    // The twin: without an end there is nothing to renew, and what has expired is refused.
    job(false, "refused")
        .start_with(&[], &slow)
        .wait()
        .expect(SOME_TABLES_FAILED)
        .says(&["orders", "PermissionDenied"]);
}
