"""Measures change data capture. Called by scripts/bench-cdc, which has the database made when it is wanted.

A run begins with a copy of the table as the load left it and of its key index, follows a topic that is full, and ends
with the commit that holds the topic's last message. Each repetition runs every contestant once, in turn; medians are
reported. CPU and peak memory are the kernel's figures for the child process (wait4).
"""

import argparse
import concurrent.futures
import glob
import gzip
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

TABLE = "public.lineitem"
WARM = f"warm.{TABLE}"
JSON = "org.apache.kafka.connect.json.JsonConverter"
AVRO = "io.confluent.connect.avro.AvroConverter"
# Name, the prefix of its topic, format, mix, CPU-seconds per million events that are asked.
CONTESTANTS = [
    ("60/30/10, JSON", "json", "json", "changes", 4.0),
    ("60/30/10, Avro", "avro", "avro", "changes", 2.4),
    ("60/30/10, JSON with schemas", "schemas", "schemas", "changes", 6.0),
    ("inserts, JSON", "newjson", "json", "inserts", 3.4),
    ("inserts, Avro", "newavro", "avro", "inserts", 2.2),
]
# What Debezium's messages do not say of themselves without schemas.
TOLD = {"time.precision.mode": "adaptive", "decimal.handling.mode": "precise", "binary.handling.mode": "bytes"}
PATIENCE = 300


def topic(prefix):
    return f"{prefix}.{TABLE}"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, happened, child=None, log=None):
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline or child is not None and child.poll() is not None:
            text = open(log, errors="replace").read()[-4000:] if log else ""
            sys.exit(f"bench: not seen: {what}\n{text}")
        time.sleep(0.05)


class Server:
    """A server of Java's, in a folder of its own."""

    def __init__(self, folder, args):
        os.makedirs(folder, exist_ok=True)
        self.log = os.path.join(folder, "log")
        self.child = subprocess.Popen(["java", *args], cwd=folder, stdout=open(self.log, "w"), stderr=subprocess.STDOUT)

    def stop(self):
        self.child.terminate()
        self.child.wait()


def broker(folder, cache):
    """The broker with what it has in the folder."""
    storage = os.path.join(folder, "storage")
    if not os.path.exists(storage):
        os.makedirs(storage)
        for name in ("meta.properties", "bootstrap.checkpoint"):
            shutil.copy(os.path.join(cache, "kafka", "storage", name), storage)
    port, controller = free_port(), free_port()
    with open(os.path.join(folder, "server.properties"), "w") as f:
        f.write(f"process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n"
                "controller.listener.names=CONTROLLER\n"
                f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs=storage\nauto.create.topics.enable=false\n"
                "offsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n")
    server = Server(folder, ["-Xmx768m", "-cp", os.path.join(cache, "kafka", "lib", "*"), "kafka.Kafka", "server.properties"])

    def listens():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    # Clients wait for the rest.
    until("the broker", listens, server.child, server.log)
    return server, f"127.0.0.1:{port}"


def registry(folder, cache):
    """The schema registry, which is empty."""
    port = free_port()
    [jar] = glob.glob(os.path.join(cache, "registry", "lib", "*-runner.jar"))
    server = Server(folder, ["-Xmx256m", f"-Djava.io.tmpdir={folder}", "-Dquarkus.http.host=127.0.0.1",
                             f"-Dquarkus.http.port={port}", "-jar", jar])

    def answers():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/apis/ccompat/v7/subjects").status == 200
        except OSError:
            return False

    until("the registry", answers, server.child, server.log)
    return server, port


def table_metadata(lake):
    """The newest metadata of the table, read past the catalog so as not to get in its way; None before there is one."""
    files = glob.glob(f"{lake}/**/lineitem/metadata/*.metadata.json", recursive=True)
    try:
        newest = max(files, key=lambda path: int(re.match(r"\d+", os.path.basename(path)).group()))
        opener = gzip.open if ".gz." in newest else open
        with opener(newest, "rt") as f:
            return json.load(f)
    except (ValueError, OSError, EOFError):
        return None


def committed(metadata, prefix):
    """The offset after the last message of a topic that the table has."""
    position = json.loads((metadata or {}).get("properties", {}).get("connect-runtime.position", "{}"))
    for partition, mark in position.get("marks", {}).items():
        if partition.startswith(f"{topic(prefix)}-0@"):
            return int(mark.split()[0])
    return 0


def cpu_of(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, options):
        self.options = options
        self.run = os.path.join(options.folder, "run")
        self.template = os.path.join(options.folder, "template")
        self.servers = []

    def start(self):
        folder = self.options.folder
        os.makedirs(os.path.join(folder, "broker"), exist_ok=True)
        server, self.brokers = broker(os.path.join(folder, "broker"), self.options.cache)
        self.servers.append(server)
        server, self.registry = registry(os.path.join(folder, "registry"), self.options.cache)
        self.servers.append(server)
        # In memory and counted from one: the same schemas have the same numbers each time.
        self.ids = json.loads(self.events("register", self.registry, *(topic(p) for p in ("avro", "newavro"))))

    def stop(self):
        for server in self.servers:
            server.stop()

    def events(self, *args):
        done = subprocess.run([self.options.events_program, *map(str, args)], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"bench: failed: events {' '.join(map(str, args))}")
        return done.stdout

    def write(self, prefix, form, mix, events, per_second=0):
        at = {"avro": 0, "newavro": 2}.get(prefix, 0)
        text = self.events("write", self.brokers, topic(prefix), form, mix, self.options.rows, events, per_second,
                           *self.ids[at:at + 2])
        return json.loads(text)

    def config(self, topics, form, source=False, interval=10000):
        lake = os.path.join(self.run, "lake")
        sink = {
            "connector.class": "iceberg", "bootstrap.servers": self.brokers, **topics,
            "iceberg.catalog.type": "sql", "iceberg.catalog.uri": f"sqlite://{lake}/catalog.db",
            "iceberg.catalog.warehouse": lake, "iceberg.namespace": "bench",
            "iceberg.control.commit.interval-ms": str(interval)}
        url = f"http://127.0.0.1:{self.registry}/apis/ccompat/v7"
        for which in ("key", "value"):
            sink[f"{which}.converter"] = AVRO if form == "avro" else JSON
            if form == "avro":
                sink[f"{which}.converter.schema.registry.url"] = url
        sink.update(TOLD if form == "json" else {})
        sink.update(pair.split("=", 1) for pair in self.options.sink)
        connectors = [{"name": "lake", "config": sink}]
        if source:
            connectors.insert(0, {"name": "shop", "config": {
                "connector.class": "postgres", "database.hostname": "127.0.0.1", "database.port": str(self.options.port),
                "database.user": "app", "database.password": "${env:SHOP_PASSWORD}", "database.dbname": self.options.database,
                "topic.prefix": "shop", "table.include.list": "public\\.lineitem", "snapshot.mode": "initial_only",
                "parallel.tables": "2", "sink": "lake"}})
        path = os.path.join(self.run, "bench.json")
        with open(path, "w") as f:
            json.dump({"worker": {"memory.max": self.options.memory, "state.dir": os.path.join(self.run, "state"),
                                  "log.level": self.options.log_level}, "connectors": connectors}, f)
        return path

    def follow(self, config, prefix, end):
        """Runs the program until the table has the topic up to an offset, then stops it."""
        log = os.path.join(self.run, "log")
        lake = os.path.join(self.run, "lake")
        already = committed(table_metadata(lake), prefix)
        started = time.monotonic()
        child = subprocess.Popen([self.options.program, "--config", config], stdout=open(log, "w"),
                                 stderr=subprocess.STDOUT, env={**os.environ, "SHOP_PASSWORD": "bench"})
        sightings = []
        try:
            while not sightings or sightings[-1][1] < end:
                if child.poll() is not None or time.monotonic() - started > PATIENCE:
                    sys.exit(f"bench: the program ended, or does not go on:\n{open(log, errors='replace').read()[-4000:]}")
                at = committed(table_metadata(lake), prefix)
                if at > (sightings[-1][1] if sightings else already):
                    sightings.append((time.monotonic() - started, at, cpu_of(child.pid)))
                time.sleep(0.05)
        finally:
            if child.returncode is None:
                child.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"bench: the program failed:\n{open(log, errors='replace').read()[-4000:]}")
        return {"cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024, "sightings": sightings}

    def answer(self):
        """What the table comes to, as DuckDB reads it. In a process of its own: the kernel counts our own memory
        into a child's peak."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lake")
        query = ("SELECT concat_ws(' ', 'sums', count(*), sum(l_orderkey::HUGEINT * l_partkey), "
                 "sum(l_orderkey::HUGEINT * l_quantity::INTEGER), count(DISTINCT l_orderkey)) AS sums FROM lineitem")
        done = subprocess.run([script, os.path.join(self.run, "lake"), query], capture_output=True, text=True)
        found = re.search(r"sums (\d+) (\d+) (\d+) (\d+)", done.stdout)
        if not found:
            sys.exit(f"bench: DuckDB cannot read the table:\n{done.stdout}\n{done.stderr}")
        return list(found.groups())

    def check(self, wanted):
        found = self.answer()
        if found != [*wanted, wanted[0]]:
            sys.exit(f"bench: the table holds {found} (rows, key×part, key×quantity, keys), and {wanted} was expected")

    def make(self):
        """Loads the table, and follows one message, so that the key index is there."""
        shutil.rmtree(self.run, ignore_errors=True)
        os.makedirs(self.run)
        self.events("create", self.brokers, WARM, *(topic(prefix) for _, prefix, *_ in CONTESTANTS))
        wanted = self.write("warm", "json", "one", 1)["sums"]
        print(f"bench: loading {self.options.rows:,} rows, once (into {self.template})", file=sys.stderr)
        everything = {"topics.regex": f".*\\.{re.escape(TABLE)}"}
        # The load's commit takes all topics as they end now: this one it has to follow.
        first = self.follow(self.config(everything, "json", source=True), "warm", 1)
        self.write("warm", "json", "one", 1)
        second = self.follow(self.config({"topics": WARM}, "json"), "warm", 2)
        self.check(wanted)
        os.rename(self.run, self.template)
        made = {"load": first, "index": second, "topics": {}}
        for name, prefix, form, mix, _ in CONTESTANTS:
            print(f"bench: writing {self.options.events:,} events of {name}, once", file=sys.stderr)
            made["topics"][prefix] = {**self.write(prefix, form, mix, self.options.events), "ids": self.ids}
        with open(os.path.join(self.options.folder, "made.json"), "w") as f:
            json.dump(made, f)

    def known(self):
        with open(os.path.join(self.options.folder, "made.json")) as f:
            made = json.load(f)
        for topic_made in made["topics"].values():
            if topic_made["events"] != self.options.events or topic_made["ids"] != self.ids:
                sys.exit(f"bench: what is kept is of other events: remove {self.options.folder}")
        return made

    def fresh(self):
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(self.template, self.run)

    def ours(self, made, prefix, form):
        self.fresh()
        result = self.follow(self.config({"topics": topic(prefix)}, form), prefix, made["messages"])
        sightings = result.pop("sightings")
        # The last commit may have waited for its interval with nothing left to read.
        wall, messages, _ = sightings[-2] if len(sightings) > 1 else sightings[-1]
        result.update(rate=messages / wall, commits=len(sightings), wall=sightings[-1][0])
        self.check(made["sums"])
        return result

    def visible(self, repetition):
        """How long after it was sent an event can be read, with a commit every second, in a table that the events make:
        one that was loaded follows no topic that came later."""
        shutil.rmtree(self.run, ignore_errors=True)
        os.makedirs(os.path.join(self.run, "lake"))
        prefix, per_second, events = f"paced{os.getpid()}x{repetition}", 2000, 2000 * 40
        self.events("create", self.brokers, topic(prefix))
        config = self.config({"topics": topic(prefix)}, "schemas", interval=1000)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            written = pool.submit(self.write, prefix, "schemas", "inserts", events, per_second)
            started = time.time()
            sightings = self.follow(config, prefix, events)["sightings"]
            ahead = started - written.result()["began"]
        self.events("delete", self.brokers, topic(prefix))
        waits, first = [], 0
        for seen, at, _ in sightings:
            waits += [ahead + seen - event / per_second for event in range(first, at)]
            first = at
        waits.sort()
        return {"p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100], "commits": len(sightings)}

    def start_up(self):
        """What a process costs that finds nothing to do, and is stopped after a second of following."""
        self.fresh()
        config = self.config({"topics": WARM}, "json")
        log = os.path.join(self.run, "log")
        child = subprocess.Popen([self.options.program, "--config", config], stdout=open(log, "w"), stderr=subprocess.STDOUT)
        time.sleep(3)
        child.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"bench: the program failed:\n{open(log, errors='replace').read()[-4000:]}")
        return {"cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}

    def discard(self, prefix):
        started = subprocess.Popen([self.options.events_program, "discard", self.brokers, topic(prefix)], stdout=subprocess.PIPE, text=True)
        told = json.loads(started.stdout.read())
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        return {"rate": told["messages"] / told["wall"], "cpu": usage.ru_utime + usage.ru_stime, "wall": told["wall"]}


def report(contestants, made, runs, start_up, visible):
    middle = lambda of, key: statistics.median(r[key] for r in of)
    base = middle(start_up, "cpu")
    lines = ["| what | B a message | CPU-s per M events | asked | messages/s | × discard | CPU-s of discard | peak RSS MiB | commits |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, prefix, _, _, asked in contestants:
        ours, discard = runs[prefix]["ours"], runs[prefix]["discard"]
        topic_made = made["topics"][prefix]
        events = topic_made["events"]
        cpu = (middle(ours, "cpu") - base) / events * 1e6
        rate, most = middle(ours, "rate"), middle(discard, "rate")
        lines.append(f"| {name} | {topic_made['bytes'] / events:,.0f} | {cpu:.2f} | ≤ {asked} | {rate / 1000:,.0f}k | {rate / most:.2f} "
                     f"| {middle(discard, 'cpu') / events * 1e6:.2f} | {middle(ours, 'rss'):,.0f} | {middle(ours, 'commits'):.0f} |")
    load, index = made["load"], made["index"]
    lines += ["", f"A process that finds nothing to do takes {base:.2f} CPU-s from its start to its end, which is left out above. When the "
              f"table was made: its load {load['sightings'][-1][0]:.0f} s and {load['cpu']:.1f} CPU-s, and the first message after it, "
              f"which makes the key index of its {made['rows']:,} rows, {index['sightings'][-1][0]:.0f} s (of which up to 10 wait for the "
              f"commit's interval) and {index['cpu']:.1f} CPU-s, {index['rss']:,.0f} MiB.",
              "", f"At 2,000 inserts a second and a commit every second half of the events can be read {middle(visible, 'p50'):.1f} s "
              f"after they were sent, and 99 of a hundred after {middle(visible, 'p99'):.1f} s."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    for name in ("folder", "cache", "program", "events-program"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "database"):
        parser.add_argument(f"--{name}", help="given when the table is to be loaded anew")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the table (read by scripts/bench-cdc)")
    parser.add_argument("--events", type=int, default=2_000_000, help="events of each topic")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--memory", default="512MiB", help="memory.max")
    parser.add_argument("--only", action="append", help="the prefix of a contestant's topic")
    parser.add_argument("--sink", action="append", default=[], help="one more KEY=VALUE of the sink's configuration")
    parser.add_argument("--log-level", default="warn")
    parser.add_argument("--write", help="replace what is between '<!-- cdc -->' and '<!-- /cdc -->' in this file")
    options = parser.parse_args()
    # What was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))
    bench = Bench(options)
    contestants = [c for c in CONTESTANTS if not options.only or c[1] in options.only]
    runs = {prefix: {"ours": [], "discard": []} for _, prefix, *_ in contestants}
    start_up, visible, raw = [], [], []

    def note(**what):
        raw.append(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in what.items()}))
        print(raw[-1], flush=True)

    try:
        bench.start()
        if options.port:
            bench.make()
        made = {"rows": options.rows, **bench.known()}
        for repetition in range(options.repetitions):
            start_up.append(bench.start_up())
            note(what="start and stop", repetition=repetition, **start_up[-1])
            visible.append(bench.visible(repetition))
            note(what="seconds until an event is visible", repetition=repetition, **visible[-1])
            for name, prefix, form, *_ in contestants:
                result = bench.discard(prefix)
                runs[prefix]["discard"].append(result)
                note(what=f"{name}: discard", repetition=repetition, **result)
                result = bench.ours(made["topics"][prefix], prefix, form)
                runs[prefix]["ours"].append(result)
                note(what=name, repetition=repetition, **result)
    finally:
        bench.stop()
        shutil.rmtree(bench.run, ignore_errors=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    where = (f"{time.strftime('%Y-%m-%d')}, commit {commit}, {os.cpu_count()} CPUs shared with the broker, {platform.machine()}, "
             f"{options.repetitions} repetitions in turn, medians; {options.events:,} events a topic into {options.rows:,} rows, "
             f"memory.max {options.memory}.")
    text = f"{where}\n\n{report(contestants, made, runs, start_up, visible)}\n"
    print("\n" + text)
    if options.write:
        with open(options.write) as f:
            head, rest = f.read().split("<!-- cdc -->", 1)
        rest = rest.split("<!-- /cdc -->", 1)[1]
        lines = "\n".join(raw)
        with open(options.write, "w") as f:
            f.write(f"{head}<!-- cdc -->\n{text}\n<details><summary>Raw output</summary>\n\n```\n{lines}\n```\n\n</details>\n<!-- /cdc -->{rest}")


main()
