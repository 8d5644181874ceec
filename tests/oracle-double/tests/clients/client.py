"""Executes statements by python-oracledb (thin) and prints what it got, each value in the form that is compared.

Reads JSON from standard input: `dsn`, `user`, `password`, optionally `lobs` (read through locators), `arraysize`,
`timeout` (ms), `tls` (keyword arguments of connect), and `statements`, each with `sql` and `binds`. Prints a list
with, for each, `columns` and `rows`, or `error` and `message`; of a connection that fails, that in place of the list.
"""

import datetime
import decimal
import json
import struct
import sys

import oracledb

EPOCH = datetime.datetime(1970, 1, 1)


def canonical(kind, value):
    if value is None:
        return None
    if isinstance(value, oracledb.LOB):
        value = value.read()
    if kind is oracledb.DB_TYPE_NUMBER:
        return format(value, "f")
    if kind is oracledb.DB_TYPE_BINARY_FLOAT:
        return struct.pack(">f", value).hex()
    if kind is oracledb.DB_TYPE_BINARY_DOUBLE:
        return struct.pack(">d", value).hex()
    if kind in (oracledb.DB_TYPE_JSON,):
        return json.dumps(plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    if kind is oracledb.DB_TYPE_VECTOR:
        return " ".join(struct.pack(">f", v).hex() for v in value)
    if kind is oracledb.DB_TYPE_INTERVAL_YM:
        return str(value.years * 12 + value.months)
    if isinstance(value, datetime.timedelta):
        return str((value.days * 86_400 + value.seconds) * 10**9 + value.microseconds * 1000)
    if isinstance(value, datetime.datetime):
        return f"{value.year:04}-{value:%m-%d %H:%M:%S}.{value.microsecond * 1000:09}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def plain(value):
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, decimal.Decimal):
        return "n:" + format(value, "f")
    return value


def numbers(cursor, metadata):
    if metadata.type_code is oracledb.DB_TYPE_NUMBER:
        return cursor.var(decimal.Decimal, arraysize=cursor.arraysize)
    return None


def run(connection, statement):
    cursor = connection.cursor()
    try:
        cursor.outputtypehandler = numbers
        cursor.arraysize = wanted.get("arraysize", 100)
        cursor.prefetchrows = wanted.get("prefetch", 2)
        cursor.execute(statement["sql"], statement.get("binds", []))
        if cursor.description is None:
            return {"columns": [], "rows": []}
        kinds = [d[1] for d in cursor.description]
        rows = [[canonical(k, v) for k, v in zip(kinds, row)] for row in cursor]
        return {"columns": [d[0] for d in cursor.description], "rows": rows}
    except oracledb.Error as e:
        return problem(e)


def problem(error):
    of = error.args[0]
    return {"error": of.full_code, "message": str(of)}


wanted = json.load(sys.stdin)
oracledb.defaults.fetch_lobs = wanted.get("lobs", False)
try:
    with oracledb.connect(user=wanted["user"], password=wanted["password"], dsn=wanted["dsn"], **wanted.get("tls", {})) as c:
        c.call_timeout = wanted.get("timeout", 0)
        print(json.dumps([run(c, s) for s in wanted["statements"]]))
except oracledb.Error as e:
    print(json.dumps(problem(e)))
