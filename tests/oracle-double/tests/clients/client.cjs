// Executes statements by node-oracledb (thin) and prints what it got, as client.py does.
"use strict";

const fs = require("fs");
const path = require("path");
const oracledb = require(path.join(process.argv[2], "node_modules", "oracledb"));

const wanted = JSON.parse(fs.readFileSync(0, "utf8"));
const pad = (n, digits) => String(n).padStart(digits, "0");

function bits(value, size) {
  const buffer = Buffer.alloc(size);
  if (size === 4) buffer.writeFloatBE(value);
  else buffer.writeDoubleBE(value);
  return buffer.toString("hex");
}

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "number") return "n:" + value;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((name) => [name, plain(value[name])]));
}

async function canonical(kind, value) {
  if (value === null || value === undefined) return null;
  if (value instanceof oracledb.Lob) value = await value.getData();
  if (value === null) return null;
  switch (kind) {
    case oracledb.DB_TYPE_BINARY_FLOAT:
      return bits(value, 4);
    case oracledb.DB_TYPE_BINARY_DOUBLE:
      return bits(value, 8);
    case oracledb.DB_TYPE_JSON:
      return JSON.stringify(plain(value));
    case oracledb.DB_TYPE_VECTOR:
      return Array.from(value, (v) => bits(v, 4)).join(" ");
    case oracledb.DB_TYPE_INTERVAL_YM:
      return String(BigInt(value.years) * 12n + BigInt(value.months));
    case oracledb.DB_TYPE_INTERVAL_DS: {
      const seconds = ((BigInt(value.days) * 24n + BigInt(value.hours)) * 60n + BigInt(value.minutes)) * 60n;
      return String((seconds + BigInt(value.seconds)) * 1000000000n + BigInt(value.fseconds));
    }
  }
  if (value instanceof Date) {
    const [year, time] = [pad(value.getUTCFullYear(), 4), value.toISOString().slice(-20, -5).replace("T", " ")];
    return `${year}${time}.${pad(value.getUTCMilliseconds(), 3)}000000`;
  }
  if (Buffer.isBuffer(value)) return value.toString("hex");
  return String(value);
}

async function run(connection, statement) {
  try {
    const options = {
      fetchArraySize: wanted.arraysize ?? 100,
      prefetchRows: wanted.prefetch ?? 2,
      fetchTypeHandler: (column) => {
        if (column.dbType === oracledb.DB_TYPE_NUMBER) return { type: oracledb.STRING };
        if (wanted.lobs) return undefined;
        if (column.dbType === oracledb.DB_TYPE_CLOB || column.dbType === oracledb.DB_TYPE_NCLOB) return { type: oracledb.STRING };
        if (column.dbType === oracledb.DB_TYPE_BLOB) return { type: oracledb.BUFFER };
        return undefined;
      },
    };
    const result = await connection.execute(statement.sql, statement.binds ?? [], options);
    const columns = (result.metaData ?? []).map((column) => column.name);
    const rows = [];
    for (const row of result.rows ?? []) {
      const values = [];
      for (let n = 0; n < row.length; n++) values.push(await canonical(result.metaData[n].dbType, row[n]));
      rows.push(values);
    }
    return { columns, rows };
  } catch (error) {
    return problem(error);
  }
}

function problem(error) {
  return { error: error.code ?? (/(?:ORA|NJS)-\d+/.exec(error.message) ?? [""])[0], message: error.message };
}

async function main() {
  let connection;
  try {
    const { user, password, dsn, tls } = wanted;
    connection = await oracledb.getConnection({ user, password, connectString: dsn, ...tls });
  } catch (error) {
    return problem(error);
  }
  connection.callTimeout = wanted.timeout ?? 0;
  const results = [];
  for (const statement of wanted.statements) results.push(await run(connection, statement));
  try {
    await connection.close();
  } catch {
    // One that a statement has ended is closed already.
  }
  return results;
}

main().then((results) => process.stdout.write(JSON.stringify(results) + "\n"));
