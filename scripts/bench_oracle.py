"""Measures the bulk load from Oracle. Called by scripts/bench-oracle.

Each repetition runs every contestant once, in turn, so that a noisy machine is noisy for all; medians are reported.
CPU and peak memory of a contestant are the kernel's figures for its process (wait4); the server's CPU is what its
process took meanwhile.
"""

import argparse
import glob
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RELEASES = ("19c", "23ai")
# The source asks for so many bytes at a time, by the length of a row that the dictionary tells; round trips are counted,
# so that the driver alone is known to do the same.
ROW, ROUND_TRIP = 140, {"19c": 64 << 10, "23ai": 256 << 10}
# Rows of the tables that the memory is measured with, by scripts' own server.
MEMORY = {"WIDE": "rows of 0.3 to 12 kB", "NOTES": "CLOBs of 1 to 60 kB", "PICTURES": "BLOBs of up to 16 MiB",
          "DOCUMENTS": "JSON of 3 MB"}


class Server:
    """A server of our own, of one release."""

    def __init__(self, options, release):
        command = [options.double, release, "0", str(options.rows)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port, self.release = int(self.child.stdout.readline()), release

    def round_trips(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())

    def cpu(self):
        with open(f"/proc/{self.child.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.child.stdin.close()
        self.child.wait()


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="connect-bench-oracle-")
        self.env = {**os.environ, "ORACLE_PASSWORD": "tiger"}

    def measured(self, server, command):
        """Runs a command; wall seconds, its CPU seconds and peak RSS in MiB, the server's CPU, round trips."""
        trips, cpu, start = server.round_trips(), server.cpu(), time.monotonic()
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, env=self.env)
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.monotonic() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            said = log.read().decode(errors="replace")
        if child.returncode:
            sys.exit(f"bench: failed: {command}\n{said[-4000:]}")
        return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024,
                "server": server.cpu() - cpu, "trips": server.round_trips() - trips}, said

    def source(self, server, table, connections):
        return {"topic.prefix": "shop", "database.url": self.options.url.replace("{port}", str(server.port)), "database.user": "app",
                "database.password": "${env:ORACLE_PASSWORD}", "table.include.list": f"APP\\.{table}",
                "snapshot.mode": "initial_only", "parallel.workers": "1", "parallel.tables": str(connections),
                "parallel.chunk.size": "64KiB" if table == "DOCUMENTS" else "16MiB"}

    def reading(self, server, *more):
        """Reads LINEITEM to nowhere; what was read must be all there is."""
        keys = {**self.source(server, "LINEITEM", 2), "database.password": "tiger"}
        result, said = self.measured(server, [self.options.driver, *(f"{k}={v}" for k, v in keys.items()), *more])
        if f"{self.options.rows} rows in" not in said:
            sys.exit(f"bench: not {self.options.rows} rows: {said}")
        return result

    def driver(self, server):
        return self.reading(server, f"driver.fetch={(self.options.fetch or ROUND_TRIP[server.release]) // ROW}")

    def load(self, server, table="LINEITEM", connections=2):
        lake = os.path.join(self.folder, "lake")
        shutil.rmtree(lake, ignore_errors=True)
        config = os.path.join(self.folder, "bench.json")
        worker = {"state.dir": os.path.join(self.folder, "state"), "log.level": "warn"}
        sink = {"connector.class": "iceberg", "iceberg.catalog.type": "sql",
                "iceberg.catalog.uri": f"sqlite://{lake}/catalog.db", "iceberg.catalog.warehouse": lake,
                "iceberg.namespace": "bench"}
        source = {"connector.class": "oracle", "sink": "lake", **self.source(server, table, connections)}
        with open(config, "w") as f:
            json.dump({"worker": worker, "connectors": [{"name": "shop", "config": source}, {"name": "lake", "config": sink}]}, f)
        result, _ = self.measured(server, [self.options.program, "--config", config])
        files = glob.glob(f"{lake}/**/*.parquet", recursive=True)
        result["size"] = sum(os.path.getsize(p) for p in files) / 2**20
        if table == "LINEITEM":
            # Counted by DuckDB: a fast load of the wrong rows is not a result.
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lake")
            found = subprocess.run([script, lake], capture_output=True, text=True, check=True).stdout.splitlines()
            rows = [int(line.split()[0]) for line in found if line.split()[1].endswith(f".{table}")]
            if rows != [self.options.rows]:
                sys.exit(f"bench: the lake holds {rows} rows of {table}, the source {self.options.rows}")
        return result

    def run(self, release):
        server = Server(self.options, release)
        try:
            contestants = {"driver": lambda: self.driver(server), "source": lambda: self.reading(server),
                           "load": lambda: self.load(server)}
            runs = {name: [] for name in contestants}
            for repetition in range(self.options.repetitions):
                for name, contestant in contestants.items():
                    self.keep(runs[name], contestant(), release=release, what=name, repetition=repetition)
            for table in ("LINEITEM", *MEMORY):
                if (table, release) == ("DOCUMENTS", "19c"):
                    continue
                for connections in (2, 8):
                    name = f"{table}, {connections} connections"
                    self.keep(runs.setdefault(name, []), self.load(server, table, connections), release=release, what=name)
        finally:
            server.stop()
        trips = [statistics.median(r["trips"] for r in runs[name]) for name in ("driver", "source")]
        if not self.options.fetch and not 0.95 < trips[0] / trips[1] < 1.05:
            sys.exit(f"bench: the driver alone took {trips[0]:.0f} round trips and the source {trips[1]:.0f}: ROW or ROUND_TRIP is old")
        return {name: {k: statistics.median(r[k] for r in of) for k in of[0]} for name, of in runs.items()}

    def keep(self, runs, result, **what):
        runs.append(result)
        self.raw.append(json.dumps({**what, **{k: round(v, 3) for k, v in result.items()}}))
        print(self.raw[-1], flush=True)

    raw = []


def report(options, results):
    lines = ["| what | rows/s | × driver | CPU-s per M rows | CPU: driver ÷ | the server's CPU-s per M | peak RSS MiB | round trips |",
             "|---|---|---|---|---|---|---|---|"]
    names = {"driver": "the driver, discarding", "source": "the source, to Arrow and nowhere", "load": "**the load**, to the committed table"}
    millions = options.rows / 1e6
    for release, medians in results.items():
        reference = medians["driver"]
        for name, text in names.items():
            m = medians[name]
            lines.append(f"| {release}: {text} | {options.rows / m['wall'] / 1000:,.0f}k | {reference['wall'] / m['wall']:.2f} "
                         f"| {m['cpu'] / millions:.2f} | {reference['cpu'] / m['cpu']:.2f} | {m['server'] / millions:.2f} "
                         f"| {m['rss']:,.0f} | {m['trips']:,.0f} |")
    lines += ["", "| peak RSS MiB, memory.max as it is by default (512MiB) | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    for table, text in {"LINEITEM": "lineitem", **MEMORY}.items():
        for connections in (2, 8):
            found = [medians.get(f"{table}, {connections} connections") for medians in results.values()]
            lines.append(f"| {text}, {connections} connections | " + " | ".join(f"{m['rss']:,.0f}" if m else "" for m in found) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    for name in ("program", "driver", "double"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of LINEITEM")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--release", action="append", choices=RELEASES, help="only this one")
    parser.add_argument("--fetch", type=int, help="bytes of a round trip of the driver alone, instead of the source's")
    parser.add_argument("--url", default="127.0.0.1:{port}/orclpdb1", help="database.url, such as a descriptor with an SDU")
    parser.add_argument("--write", help="replace the part of this file between '<!-- oracle -->' and '<!-- end of oracle -->'")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        results = {release: bench.run(release) for release in options.release or RELEASES}
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    where = (f"{time.strftime('%Y-%m-%d')}, commit {commit}, {os.cpu_count()} CPUs shared with the server, {platform.machine()}, "
             f"{options.rows:,} rows of lineitem, {options.repetitions} repetitions in turn, medians; 2 connections each.")
    text = f"{where}\n\n{report(options, results)}\n"
    print("\n" + text)
    if options.write:
        with open(options.write) as f:
            head, rest = f.read().split("<!-- oracle -->")
        tail = rest.split("<!-- end of oracle -->")[1]
        raw = "\n".join(bench.raw)
        with open(options.write, "w") as f:
            f.write(f"{head}<!-- oracle -->\n{text}\n<details><summary>Raw output</summary>\n\n```\n{raw}\n```\n\n</details>\n"
                    f"<!-- end of oracle -->{tail}")


main()
