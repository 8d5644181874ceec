"""Reads Iceberg tables for the tests, with programs that are not ours: PyIceberg and DuckDB.

One JSON request per line on stdin, one JSON answer per line on stdout. Both engines hand over Arrow, and
`canonical.py` turns that into the exact texts which `tests/src/compare.rs` asks PostgreSQL for. Nothing here
may depend on our own code: the table is found as any other program would find it, through the catalog, whose
PyIceberg properties are the only argument.
"""

import glob
import hashlib
import json
import os
import sqlite3
import sys
import urllib.error
import urllib.request
import uuid

import duckdb
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pyiceberg.exceptions
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import EqualTo, IsNull
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from canonical import canonical


class SqliteTables:
    """The catalog's own tables in SQLite, straight."""

    def __init__(self, uri):
        self.path = uri.removeprefix("sqlite:///")

    def query(self, sql, values=()):
        # Not read-only: what a killed writer left in the journal, the next to open rolls back.
        with sqlite3.connect(f"file:{self.path}?mode=rw", uri=True, timeout=30) as db:
            return db.execute(sql, values).fetchone()

    def exist(self):
        found = "SELECT count(*) FROM sqlite_master WHERE name IN ('iceberg_tables', 'iceberg_namespace_properties')"
        return os.path.exists(self.path) and self.query(found)[0] == 2

    def metadata_location(self, namespace, table):
        row = self.query(LOCATION.format("?"), (".".join(namespace), table))
        return row and row[0]


class PostgresTables:
    """The same in PostgreSQL."""

    def __init__(self, uri):
        self.connection = psycopg2.connect(uri.replace("+psycopg2", ""))
        self.connection.autocommit = True

    def query(self, sql, values=()):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchone()

    def exist(self):
        found = "SELECT to_regclass('iceberg_tables') IS NOT NULL AND to_regclass('iceberg_namespace_properties') IS NOT NULL"
        return self.query(found)[0]

    def metadata_location(self, namespace, table):
        row = self.query(LOCATION.format("%s"), (".".join(namespace), table))
        return row and row[0]


LOCATION = (
    "SELECT metadata_location FROM iceberg_tables"
    " WHERE catalog_name = 'iceberg' AND table_namespace = {0} AND table_name = {0}"
)


class RestTables:
    """A REST catalog, asked without PyIceberg."""

    def __init__(self, properties):
        self.uri, self.token = properties["uri"].rstrip("/"), properties.get("token")
        config = json.load(urllib.request.urlopen(f"{self.uri}/v1/config"))
        self.separator = config["overrides"].get("namespace-separator", "%1F")

    def exist(self):
        return True

    def metadata_location(self, namespace, table):
        url = f"{self.uri}/v1/namespaces/{self.separator.join(namespace)}/tables/{table}"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
                return json.load(answer)["metadata-location"]
        except urllib.error.HTTPError as e:
            if e.code == 404:
                return None
            raise


class Lake:
    def __init__(self, properties):
        self.properties = properties
        self.connection = None
        self.known = None

    def catalog(self, create="false"):
        # A reader must not create the catalog's own tables under the program that is about to.
        return load_catalog("iceberg", **self.properties, init_catalog_tables=create)

    def tables_of_catalog(self):
        if self.known is None:
            uri = self.properties["uri"]
            if self.properties["type"] == "rest":
                self.known = RestTables(self.properties)
            else:
                self.known = SqliteTables(uri) if uri.startswith("sqlite") else PostgresTables(uri)
        return self.known

    def exists(self):
        return self.tables_of_catalog().exist()

    def load(self, request):
        try:
            return self.catalog().load_table((*request["namespace"], request["table"]))
        except pyiceberg.exceptions.NoSuchTableError:
            return None

    def metadata_location(self, request):
        """Straight from the catalog's table, so that DuckDB's way in shares nothing with PyIceberg's."""
        return self.tables_of_catalog().metadata_location(request["namespace"], request["table"])

    def duckdb(self):
        if self.connection is None:
            self.connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
            for name in ("avro", "httpfs", "iceberg"):
                pattern = f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension"
                (path,) = [p for d in sys.path for p in glob.glob(os.path.join(d, pattern))]
                self.connection.load_extension(path)
            self.connection.execute("SET TimeZone = 'UTC'")
            if endpoint := self.properties.get("s3.endpoint"):
                self.connection.execute(
                    "CREATE SECRET (TYPE s3, KEY_ID '{}', SECRET '{}', REGION '{}', ENDPOINT '{}', URL_STYLE 'path',"
                    " USE_SSL false)".format(
                        self.properties["s3.access-key-id"],
                        self.properties["s3.secret-access-key"],
                        self.properties["s3.region"],
                        endpoint.removeprefix("http://"),
                    )
                )
        return self.connection

    def scan(self, request, what, more="", values=()):
        """A DuckDB query over the table as of its current metadata; None when there is no such table."""
        location = self.metadata_location(request)
        if location is None:
            return None
        codec = ", metadata_compression_codec = 'gzip'" if ".gz." in location else ""
        quoted = location.replace("'", "''")
        return self.duckdb().execute(f"SELECT {what} FROM iceberg_scan('{quoted}'{codec}){more}", values)

    def references(self, request):
        """Every file that the table refers to, by any of its snapshots."""
        table = self.load(request)
        if table is None:
            return []
        found = {table.metadata_location} | {e.metadata_file for e in table.metadata.metadata_log}
        for snapshot in table.metadata.snapshots:
            found.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                found.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                found |= {e.data_file.file_path for e in entries}
        return sorted(found)

    def read(self, request):
        if request["engine"] == "duckdb":
            found = self.scan(request, "*")
            table = found and found.to_arrow_table()
        else:
            found = self.load(request)
            table = found and found.scan().to_arrow()
        if found is None:
            return None
        columns = [canonical(c) for c in table.columns]
        return {"columns": table.column_names, "rows": [list(row) for row in zip(*columns)]}

    def count(self, request):
        if request["engine"] == "duckdb":
            found = self.scan(request, "count(*)")
            return found and found.fetchone()[0]
        found = self.load(request)
        # Reads the rows rather than trusting the manifests' counts.
        return None if found is None else found.scan(selected_fields=tuple(request["fields"])).to_arrow().num_rows

    def total(self, request):
        """The sum of an integer column, and the number of rows."""
        found = self.scan(request, f"""coalesce(sum("{request['column']}"), 0)::BIGINT, count(*)""")
        return found and list(found.fetchone())

    def history(self, request):
        """The same of each snapshot."""
        found, column = self.load(request), request["column"]
        snapshots = found.metadata.snapshots if found else []
        columns = [found.scan(snapshot_id=s.snapshot_id, selected_fields=(column,)).to_arrow()[column] for s in snapshots]
        return [[sum(values.to_pylist()), len(values)] for values in columns]

    def digests(self, request):
        """The MD5 of each value of a binary column, sorted: for values too large to be shown."""
        if request["engine"] == "duckdb":
            found = self.scan(request, f"""md5("{request['column']}")""")
            return found and sorted(row[0] for row in found.fetchall())
        found = self.load(request)
        values = found and found.scan(selected_fields=(request["column"],)).to_arrow()[request["column"]]
        return found and sorted(hashlib.md5(v.as_buffer()).hexdigest() for v in values)

    def describe(self, request):
        found = self.load(request)
        if found is None:
            return None
        schema, snapshot = found.schema(), found.current_snapshot()
        summary = snapshot.summary.model_dump() if snapshot and snapshot.summary else {}
        return {
            "format-version": found.metadata.format_version,
            "uuid": str(found.metadata.table_uuid),
            "location": found.location(),
            "fields": [
                {"name": f.name, "type": str(f.field_type), "required": f.required, "doc": f.doc}
                for f in schema.fields
            ],
            "identifier": [schema.find_column_name(i) for i in schema.identifier_field_ids],
            "properties": found.properties,
            "snapshots": len(found.metadata.snapshots),
            "snapshot-id": snapshot and snapshot.snapshot_id,
            "summary": {str(k): str(getattr(v, "value", v)) for k, v in summary.items()},
            "files": [task.file.file_path for task in found.scan().plan_files()],
        }

    def pruning(self, request):
        """Filters for some values of a column, NULL among them, by both engines."""
        found, column = self.load(request), request["column"]
        values = found.scan().to_arrow()[column].to_pylist()
        distinct = list(dict.fromkeys(v for v in values if v is not None))
        some = [None] * (None in values) + distinct[:4]
        files, told = len(list(found.scan().plan_files())), []
        for value in some:
            expression = IsNull(column) if value is None else EqualTo(column, value)
            expected = sum(v == value for v in values)
            scan = found.scan(row_filter=expression)
            quoted = '"' + column.replace('"', '""') + '"'
            ours = self.scan(request, "count(*)", f" WHERE {quoted} IS NOT DISTINCT FROM ?", [value])
            told.append(
                {
                    "value": repr(value),
                    "expected": expected,
                    "pyiceberg": self.rows_planned(scan, column, value),
                    "duckdb": ours.fetchone()[0],
                    "planned": len(list(scan.plan_files())),
                    "files": files,
                }
            )
        return told

    def rows_planned(self, scan, column, value):
        if not isinstance(value, uuid.UUID):
            return scan.to_arrow().num_rows
        # pyarrow cannot compare uuids; what PyIceberg plans to read it can say.
        paths = [task.file.file_path.removeprefix("file://") for task in scan.plan_files()]
        return sum(v == value for path in paths for v in pq.read_table(path)[column].to_pylist())

    def storage(self, request):
        found = self.load(request)
        snapshot = found.current_snapshot()
        paths = [task.file.file_path.removeprefix("file://") for task in found.scan().plan_files()]
        codecs, encodings = set(), {}
        for path in paths:
            footer = pq.read_metadata(path)
            for group in range(footer.num_row_groups):
                for n in range(footer.num_columns):
                    chunk = footer.row_group(group).column(n)
                    codecs.add(chunk.compression)
                    encodings.setdefault(chunk.path_in_schema, set()).update(chunk.encodings)
        with open(found.metadata_location.removeprefix("file://")) as f:
            raw = json.load(f)
        (current,) = [s for s in raw["snapshots"] if s["snapshot-id"] == snapshot.snapshot_id]
        return {
            "codecs": sorted(codecs),
            "encodings": {column: sorted(found) for column, found in encodings.items()},
            "spec": str(found.spec()),
            "next-row-id": raw.get("next-row-id"),
            "first-row-id": current.get("first-row-id"),
            "added-rows": current.get("added-rows"),
            "sorted": not found.sort_order().is_unsorted,
            "rows-before": found.scan(snapshot_id=snapshot.parent_snapshot_id).to_arrow().num_rows
            if snapshot.parent_snapshot_id
            else None,
        }

    def drop_table(self, request):
        self.catalog().drop_table((*request["namespace"], request["table"]))

    def roll_back(self, request):
        table = self.catalog().load_table((*request["namespace"], request["table"]))
        table.manage_snapshots().rollback_to_snapshot(request["snapshot"]).commit()

    def write_foreign(self, request):
        os.makedirs(self.properties["warehouse"], exist_ok=True)
        catalog = self.catalog(create="true")
        catalog.create_namespace_if_not_exists(tuple(request["namespace"]))
        schema = Schema(NestedField(1, "id", LongType(), required=False), NestedField(2, "gone", StringType(), required=False))
        spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "gone"))
        order = SortOrder(SortField(source_id=1, transform=IdentityTransform()))
        name, format = (*request["namespace"], request["table"]), str(min(request["format"], 2))
        properties = {"format-version": format, "owner": "another"}
        table = catalog.create_table(name, schema, partition_spec=spec, sort_order=order, properties=properties)
        rows = {"id": pa.array([1, 2, 3], pa.int64()), "gone": pa.array(["x", "y", None], pa.string())}
        table.append(pa.table(rows))
        if request["format"] == 3:
            # PyIceberg does not write that version: a table that was upgraded since.
            path = table.metadata_location.removeprefix("file://")
            with open(path) as f:
                raw = json.load(f)
            with open(path, "w") as f:
                json.dump({**raw, "format-version": 3, "next-row-id": 0}, f)
        return True

    def tables(self, request):
        catalog = self.catalog()
        try:
            return sorted(name[-1] for name in catalog.list_tables(tuple(request["namespace"])))
        except pyiceberg.exceptions.NoSuchNamespaceError:
            return []

    def write_sample(self, request):
        """A table written by PyIceberg itself: lets the harness be tested without our program."""
        if "://" not in self.properties["warehouse"]:
            os.makedirs(self.properties["warehouse"], exist_ok=True)
        catalog = self.catalog(create="true")
        catalog.create_namespace_if_not_exists(tuple(request["namespace"]))
        table = pa.table(
            {
                "id": pa.array([1, 2, 3], pa.int64()),
                "price": pa.array([b"12.50", b"-0.01", None], pa.binary()).cast(pa.string()).cast(pa.decimal128(38, 2)),
                "at": pa.array([0, -1, None], pa.timestamp("us", tz="UTC")),
                "day": pa.array([-719162, 2932896, None], pa.int32()).cast(pa.date32()),
                "half": pa.array([0.5, float("nan"), -0.0], pa.float32()),
                "raw": pa.array([b"\x00\xff", b"", None], pa.binary()),
            }
        )
        created = catalog.create_table((*request["namespace"], request["table"]), schema=table.schema)
        created.append(table)
        return True


def main():
    lake = Lake(json.loads(sys.argv[1]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if not request["op"].startswith("write_") and not lake.exists():
                answer = {"ok": [] if request["op"] == "tables" else None}
            else:
                answer = {"ok": getattr(lake, request["op"])(request)}
        except Exception as e:
            answer = {"error": f"{request}: {type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


main()
