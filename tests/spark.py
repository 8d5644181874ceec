"""Reads Iceberg tables for the tests with Apache Spark, as `reader.py` does with others; apart, since Spark takes
long to start and needs Java.

One JSON request per line on stdin, one JSON answer per line on stdout. A request brings its catalog along, as
PyIceberg's properties. The arguments are the jars to run with.
"""

import json
import logging
import sys
import tempfile

from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, BinaryType, DoubleType, FloatType

from canonical import canonical

# Answers from the files' bounds and counts alone.
PUSH_DOWN = "spark.sql.iceberg.aggregate-push-down.enabled"


def quoted(name):
    return "`" + name.replace("`", "``") + "`"


def literal(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Spark:
    def __init__(self, jars):
        settings = {
            "spark.jars": ",".join(jars),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            "spark.sql.warehouse.dir": tempfile.gettempdir(),
        }
        builder = SparkSession.builder.master("local[2]")
        for name, value in settings.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("OFF")
        self.first = self.session
        self.sessions = {}

    def table(self, request):
        """The table's name in Spark, whose catalog is Java's own of the kind that the properties name."""
        properties = request["catalog"]
        key = json.dumps(properties, sort_keys=True)
        if key not in self.sessions:
            # The first column of a SQL catalog's tables is the name that the catalog has in Spark: so a session each.
            self.sessions[key] = self.first.newSession()
            prefix = "spark.sql.catalog.iceberg"
            more = {
                "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
                "uri": properties["uri"].replace("sqlite:///", "jdbc:sqlite:"),
                "warehouse": properties["warehouse"],
                "cache-enabled": "false",
            }
            self.sessions[key].conf.set(prefix, "org.apache.iceberg.spark.SparkCatalog")
            for name, value in more.items():
                self.sessions[key].conf.set(f"{prefix}.{name}", value)
        self.session = self.sessions[key]
        return ".".join(quoted(part) for part in ("iceberg", *request["namespace"], request["table"]))

    def rows(self, sql):
        return [tuple(row) for row in self.session.sql(sql).collect()]

    def read(self, request):
        table = self.table(request)
        found = self.session.sql(f"SELECT * FROM {table}").toArrow()
        columns = [canonical(column) for column in found.columns]
        return {"columns": found.column_names, "rows": [list(row) for row in zip(*columns)]}

    def lineage(self, request):
        table = self.table(request)
        ids = self.rows(f"SELECT _row_id, _last_updated_sequence_number FROM {table} ORDER BY 1")
        return [list(row) for row in ids]

    def contradictions(self, request):
        """What differs between an answer by the metadata and one by all rows; and how many were by metadata alone."""
        table = self.table(request)
        fields = {
            f.name: f.dataType
            for f in self.session.table(table).schema
            if not isinstance(f.dataType, ArrayType) and f.name in request["columns"]
        }
        # Whoever wrote the file: Iceberg's smallest and largest know nothing of NaN, its filter for 0 leaves out a
        # file that has only -0, and the smallest uuid by metadata is a ClassCastException.
        floating = {name for name, kind in fields.items() if isinstance(kind, (FloatType, DoubleType))}

        def text(name, expression):
            # As texts: Python has no year before 1 or after 9999.
            return f"hex({expression})" if isinstance(fields[name], BinaryType) else f"CAST({expression} AS STRING)"

        aggregates = [
            f"SELECT {literal(name)}, a, b, {text(name, 'c')}, {text(name, 'd')} FROM (SELECT count(*), count({c}),"
            f" min({c}), max({c}) FROM {table}) AS t(a, b, c, d)"
            for name, c in ((name, quoted(name)) for name in fields)
            if name not in floating and name not in request["uuids"]
        ]
        answers = []
        for way in ("true", "false"):
            self.session.conf.set(PUSH_DOWN, way)
            answers.append(self.union(aggregates))
            if way == "true" and aggregates:
                plan = self.rows("EXPLAIN " + " UNION ALL ".join(aggregates))[0][0]
                alone = len(aggregates) - plan.count("BatchScan")
        both = zip(sorted(answers[0]), sorted(answers[1]))
        wrong = [f"{a} by the metadata, {b} by the rows" for a, b in both if a != b]

        # The expression keeps the grouping from the metadata; the literals are folded, and leave files out.
        counts = {}
        grouped = [
            f"SELECT {literal(name)}, {text(name, quoted(name))}, count(*) FROM {table} GROUP BY 2" for name in fields
        ]
        for name, value, count in self.union(grouped):
            if not (name in floating and value in ("0.0", "-0.0")):
                counts.setdefault(name, {})[value] = count
        filters, expected = [], []
        for name, values in counts.items():
            for value, count in list(values.items())[:4]:
                wanted = "NULL" if value is None else literal(value)
                binary = isinstance(fields[name], BinaryType)
                wanted = f"unhex({wanted})" if binary else f"CAST({wanted} AS {fields[name].simpleString()})"
                asked = f"{quoted(name)} <=> {wanted}"
                filters.append(f"SELECT {literal(asked)}, count(*) FROM {table} WHERE {asked}")
                expected.append((asked, count))
        found = sorted(self.union(filters))
        wrong += [f"{a} rows, not {b}" for a, b in zip(found, sorted(expected)) if a != b]
        return {"wrong": wrong, "alone": alone if aggregates else 0}

    def union(self, queries):
        return self.rows(" UNION ALL ".join(queries)) if queries else []


def main():
    logging.disable()
    spark = Spark(sys.argv[1:])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": getattr(spark, request["op"])(request)}
        except Exception as e:
            answer = {"error": f"{request}: {type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


main()
