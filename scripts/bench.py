"""Measures the bulk load. Called by scripts/bench, which starts the server and makes the data.

Each repetition runs every contestant once, in turn, so that a noisy machine is noisy for all; medians are
reported. CPU and peak memory are the kernel's figures for the child process (wait4), not our own.
"""

import argparse
import glob
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PASSWORD = "bench"
DUCKDB = """
import sys, duckdb
db = duckdb.connect(config={"allow_unsigned_extensions": "true", "threads": "2"})
db.load_extension(sys.argv[1])
db.execute(f"ATTACH '{sys.argv[2]}' AS pg (TYPE postgres, READ_ONLY)")
db.execute("SET pg_connection_limit = 2")
db.execute(f"COPY (SELECT * FROM pg.public.{sys.argv[3]}) TO '{sys.argv[4]}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)")
"""


def measured(commands, env=None):
    """Runs commands side by side; wall seconds, their CPU seconds, the largest peak RSS in MiB."""
    start = time.monotonic()
    log = tempfile.TemporaryFile()
    children = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **(env or {})}) for c in commands]
    cpu, rss = 0.0, 0
    for child in children:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        cpu += usage.ru_utime + usage.ru_stime
        rss = max(rss, usage.ru_maxrss / 1024)
    wall = time.monotonic() - start
    if any(c.returncode for c in children):
        log.seek(0)
        sys.exit(f"bench: failed: {commands}\n{log.read().decode(errors='replace')[-4000:]}")
    return {"wall": wall, "cpu": cpu, "rss": rss}


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = tempfile.mkdtemp(prefix="connect-bench-")
        self.env = {"PGPASSWORD": PASSWORD, "SHOP_PASSWORD": PASSWORD}
        self.target = f"host=127.0.0.1 port={options.port} user=app dbname={options.database}"

    def ask(self, sql):
        done = subprocess.run([self.options.psql, "-XAtq", "-c", sql, self.target], env={**os.environ, **self.env}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def copy(self, table):
        """COPY binary to nowhere over two connections, half of the heap's pages each."""
        half = int(self.ask(f"SELECT pg_relation_size('{table}') / 8192 / 2"))
        ranges = [f"ctid < '({half},0)'", f"ctid >= '({half},0)'"]
        sql = [f"COPY (SELECT * FROM {table} WHERE {r}) TO STDOUT (FORMAT binary)" for r in ranges]
        return measured([[self.options.psql, "-Xq", "-c", s, self.target] for s in sql], self.env)

    def ours(self, table, include=None, connections=(1, 2)):
        include = include or f"public\\.{table}"
        lake = os.path.join(self.folder, "lake")
        shutil.rmtree(lake, ignore_errors=True)
        config = os.path.join(self.folder, "bench.json")
        with open(config, "w") as f:
            json.dump({
                "worker": {"memory.max": self.options.memory, "state.dir": os.path.join(self.folder, "state"), "log.level": "warn"},
                "connectors": [
                    {"name": "shop", "config": {
                        "connector.class": "postgres", "database.hostname": "127.0.0.1", "database.port": str(self.options.port),
                        "database.user": "app", "database.password": "${env:SHOP_PASSWORD}", "database.dbname": self.options.database,
                        "table.include.list": include, "snapshot.mode": "initial_only",
                        "parallel.workers": str(connections[0]), "parallel.tables": str(connections[1]), "sink": "lake"}},
                    {"name": "lake", "config": {
                        "connector.class": "iceberg", "iceberg.catalog.type": "sql",
                        "iceberg.catalog.uri": f"sqlite://{lake}/catalog.db", "iceberg.catalog.warehouse": lake,
                        "iceberg.namespace": "bench"}}]}, f)
        result = measured([[self.options.program, "--config", config]], self.env)
        files = glob.glob(f"{lake}/**/{table}/**/*.parquet", recursive=True)
        result["size"] = sum(os.path.getsize(p) for p in files) / 2**20
        result["files"] = len(files)
        found = sum(self.rows_in_lake(lake, include).values())
        if found != self.rows:
            sys.exit(f"bench: the lake holds {found} rows of {table}, the source {self.rows}")
        return result

    def eight(self, table):
        """The same load over eight connections: for its memory."""
        return self.ours(table, connections=(1, 8))

    def rows_in_lake(self, lake, include):
        """Counted by DuckDB: a fast load of the wrong rows is not a result. In a process of its own: the
        kernel counts our own memory into a child's peak."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lake")
        done = subprocess.run([script, lake], capture_output=True, text=True, check=True)
        found = {name.split(".")[-1]: int(rows) for rows, name, _ in map(str.split, done.stdout.splitlines())}
        table = re.compile(include.split("\\.")[1])
        return {name: rows for name, rows in found.items() if table.fullmatch(name) and not name.startswith("_")}

    def duckdb(self, table):
        path = os.path.join(self.folder, "duckdb.parquet")
        target = f"{self.target} password={PASSWORD}"
        result = measured([[sys.executable, "-c", DUCKDB, extension("postgres_scanner", "postgres_scanner"), target, table, path]])
        result["size"] = os.path.getsize(path) / 2**20
        os.remove(path)
        return result

    def run(self, table, contestants):
        self.rows = int(self.ask(f"SELECT count(*) FROM {table}"))
        heap = int(self.ask(f"SELECT pg_table_size('{table}')")) / 2**20
        self.copy(table)  # Fills the caches for all alike.
        runs = {name: [] for name, _ in contestants}
        for repetition in range(self.options.repetitions):
            for name, contestant in contestants:
                result = contestant(table)
                runs[name].append(result)
                print(json.dumps({"table": table, "repetition": repetition, "what": name, **{k: round(v, 3) for k, v in result.items()}}), flush=True)
        return {"table": table, "rows": self.rows, "heap": heap, "runs": runs}

    def run_small(self):
        """Every small table, four at a time."""
        tables = int(self.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'small'"))
        self.rows = 100 * tables
        runs = []
        for repetition in range(self.options.repetitions):
            runs.append(self.ours("t*", include="small\\..*", connections=(4, 1)))
            print(json.dumps({"table": "small", "repetition": repetition, **{k: round(v, 3) for k, v in runs[-1].items()}}), flush=True)
        return {"tables": tables, "runs": runs}


def extension(package, name):
    paths = [p for d in sys.path for p in glob.glob(f"{d}/duckdb_extension_{package}/extensions/*/{name}.duckdb_extension")]
    return paths[0] if paths else None


def report(results):
    lines = []
    for result in results:
        rows, runs = result["rows"], result["runs"]
        median = {name: {k: statistics.median(r[k] for r in of) for k in of[0]} for name, of in runs.items()}
        reference = median["COPY to nowhere"]["wall"]
        lines += ["", f"### {result['table']}: {rows:,} rows, {result['heap']:,.0f} MiB in PostgreSQL", "",
                  "| what | rows/s | × COPY | client CPU-s per M rows | peak RSS MiB | written MiB |", "|---|---|---|---|---|---|"]
        for name, m in median.items():
            written = f"{m['size']:,.0f}" if "size" in m else ""
            lines.append(f"| {name} | {rows / m['wall'] / 1000:,.0f}k | {reference / m['wall']:.2f} "
                         f"| {m['cpu'] / rows * 1e6:.2f} | {m['rss']:,.0f} | {written} |")
        if "DuckDB scanner" in median:
            lines += ["", f"Ours against the DuckDB scanner: {median['DuckDB scanner']['wall'] / median['connect-runtime']['wall']:.2f}×."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    for name in ("port", "database", "psql", "program"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=6_000_000, help="rows of lineitem (read by scripts/bench)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--memory", default="512MiB", help="memory.max of the load")
    parser.add_argument("--write", help="replace the part of this file below '<!-- results -->'")
    options = parser.parse_args()
    bench = Bench(options)
    contestants = [("COPY to nowhere", bench.copy), ("connect-runtime", bench.ours)]
    if extension("postgres_scanner", "postgres_scanner"):
        contestants.append(("DuckDB scanner", bench.duckdb))
    try:
        more = {"lineitem": [("connect-runtime, 8 connections", bench.eight)]}
        results = [bench.run(table, contestants + more.get(table, [])) for table in ("lineitem", "wide")]
        small = bench.run_small()
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    version = bench.ask("SHOW server_version")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    where = (f"{time.strftime('%Y-%m-%d')}, commit {commit}, {os.cpu_count()} CPUs shared with the server, {platform.machine()}, "
             f"PostgreSQL {version}, {options.repetitions} repetitions in turn, medians; "
             f"2 connections each, zstd level 3, memory.max {options.memory}.")
    wall, cpu, rss = (statistics.median(r[k] for r in small["runs"]) for k in ("wall", "cpu", "rss"))
    tables = (f"### {small['tables']} tables of 100 rows, 4 at a time\n\n{small['tables'] / wall:,.0f} tables a second, "
              f"{cpu / small['tables'] * 1000:,.1f} CPU-ms a table, {rss:,.0f} MiB.\n")
    text = f"{where}\n{report(results)}\n\n{tables}"
    print("\n" + text)
    if options.write:
        with open(options.write) as f:
            head = f.read().split("<!-- results -->")[0]
        raw = "\n".join(json.dumps({"table": r["table"], "what": name, **{k: round(v, 3) for k, v in run.items()}})
                        for r in [*results, {"table": "small", "runs": {"connect-runtime": small["runs"]}}]
                        for name, runs in r["runs"].items() for run in runs)
        with open(options.write, "w") as f:
            f.write(f"{head}<!-- results -->\n{text}\n<details><summary>Raw output</summary>\n\n```\n{raw}\n```\n\n</details>\n")


main()
