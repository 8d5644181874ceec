//! Apache Kafka: one broker for all tests of a process, which have topics of their own; or one of its own for a test
//! that ends it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::certificates::Authority;
use crate::keeper::{self, Keeper};
use crate::lake::cache;
use crate::postgres::free_port;

mod topics;

pub use topics::{Message, wait};

/// A broker.
pub struct Kafka {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The port of its cluster's controller.
    controller: u16,
    folder: PathBuf,
    keeper: Keeper,
}

impl Kafka {
    /// The broker that the tests of this process share; it ends with the process.
    ///
    /// # Panics
    /// When it is not there (`scripts/setup tests` fetches it) or does not start.
    pub fn shared() -> &'static Self {
        static BROKER: OnceLock<Kafka> = OnceLock::new();
        BROKER.get_or_init(Self::start)
    }

    /// A broker of its own, which ends with the value.
    ///
    /// # Panics
    /// As [`Kafka::shared`].
    pub fn start() -> Self {
        Self::node(1, free_port(), None)
    }

    /// One of its own that can also be reached as `localhost` through TLS, by who says `reader` and the password
    /// `secret` (SASL PLAIN); gives that port and the authority's certificate, too.
    ///
    /// # Panics
    /// As [`Kafka::shared`].
    pub fn secured() -> (Self, u16, PathBuf) {
        let folder: PathBuf = tempfile::Builder::new().prefix("connect-tls-").tempdir().unwrap().keep();
        let authority = Authority::new(&folder, "authority");
        authority.sign("broker", "localhost", "subjectAltName = DNS:localhost");
        let part = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        fs::write(folder.join("store.pem"), part("broker.key") + &part("broker.pem")).unwrap();
        let port = free_port();
        let broker = Self::node(1, free_port(), Some((port, &folder.join("store.pem"))));
        (broker, port, authority.pem())
    }

    /// A second broker of its cluster.
    ///
    /// # Panics
    /// As [`Kafka::shared`].
    pub fn another(&self) -> Self {
        Self::node(2, self.controller, None)
    }

    /// The first node is the controller too. `secured`: a port with TLS and SASL, and the file with its key and certificate.
    fn node(id: u32, controller: u16, secured: Option<(u16, &Path)>) -> Self {
        let folder: PathBuf = tempfile::Builder::new().prefix("connect-kafka-").tempdir().unwrap().keep();
        fs::create_dir(folder.join("storage")).unwrap();
        let (made, storage) = (cache().join("kafka/storage"), folder.join("storage"));
        fs::copy(made.join("bootstrap.checkpoint"), storage.join("bootstrap.checkpoint")).unwrap();
        // Of the cluster that was made; a node that has no id of its directory makes one.
        let known = fs::read_to_string(made.join("meta.properties")).unwrap();
        let kept: String = known
            .lines()
            .filter(|l| l.starts_with("cluster.id=") || l.starts_with("version="))
            .fold(format!("node.id={id}\n"), |all, line| all + line + "\n");
        fs::write(storage.join("meta.properties"), kept).unwrap();
        let port = free_port();
        let (roles, listens) = match id {
            1 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
            _ => ("broker", String::new()),
        };
        let (also, advertised, settings) = secured.map_or_else(Default::default, |(port, store)| {
            let listener = format!(",SECURE://localhost:{port}");
            let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_reader=\"secret\";";
            let settings = format!(
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL\n\
                 listener.name.secure.ssl.keystore.type=PEM\n\
                 listener.name.secure.ssl.keystore.location={}\n\
                 listener.name.secure.sasl.enabled.mechanisms=PLAIN\n\
                 listener.name.secure.plain.sasl.jaas.config={plain}\n",
                store.display()
            );
            (listener.clone(), listener, settings)
        });
        let properties = format!(
            "process.roles={roles}\n\
             node.id={id}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{listens}{also}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             {settings}\
             log.dirs=storage\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=4\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             leader.imbalance.check.interval.seconds=1\n\
             group.initial.rebalance.delay.ms=0\n"
        );
        fs::write(folder.join("server.properties"), properties).unwrap();
        let jars = cache().join("kafka/lib/*");
        let args = ["-Xmx512m", "-cp", jars.to_str().unwrap(), "kafka.Kafka", "server.properties"];
        let keeper = Keeper::start(&folder, Path::new("java"), &args, &[]);
        let broker = Self { port, controller, folder, keeper };
        broker.until_it_answers();
        broker
    }

    /// Its address.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&self) {
        self.keeper.kill();
    }

    /// Starts it again after [`Kafka::kill`], with what it has on disk.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        self.keeper.start_again();
        self.until_it_answers();
    }

    fn until_it_answers(&self) {
        keeper::until_ready(&self.folder, || TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.answers());
    }
}
