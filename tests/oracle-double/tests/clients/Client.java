// Executes statements by Oracle's JDBC driver (thin) and prints what it got, as client.py does. The request comes in
// lines, since Java reads no JSON by itself: `key=value`, then for each statement `sql=…` and a `bind=…` for each bind.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import oracle.jdbc.OracleResultSet;
import oracle.jdbc.OracleTypes;
import oracle.sql.Datum;

public class Client {
    static final BigInteger BILLION = BigInteger.valueOf(1_000_000_000);

    record Statement(String sql, List<String> binds) {}

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        List<Statement> statements = new ArrayList<>();
        String url = "";
        int rows = 100;
        int timeout = 0;
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String key = line.substring(0, line.indexOf('='));
            String value = line.substring(line.indexOf('=') + 1);
            switch (key) {
                case "url" -> url = value;
                case "arraysize" -> rows = Integer.parseInt(value);
                case "timeout" -> timeout = Integer.parseInt(value);
                case "sql" -> statements.add(new Statement(value, new ArrayList<>()));
                case "bind" -> statements.get(statements.size() - 1).binds().add(value);
                default -> properties.put(key, value);
            }
        }
        String out;
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            List<String> results = new ArrayList<>();
            for (Statement statement : statements) {
                results.add(run(connection, statement, rows, timeout));
            }
            out = "[" + String.join(",", results) + "]";
        } catch (SQLException e) {
            out = problem(e);
        }
        System.out.write((out + "\n").getBytes(StandardCharsets.UTF_8));
        System.out.flush();
        System.exit(0);
    }

    static String run(Connection connection, Statement statement, int rows, int timeout) {
        try (PreparedStatement prepared = connection.prepareStatement(statement.sql())) {
            prepared.setFetchSize(rows);
            prepared.setQueryTimeout(timeout / 1000);
            for (int n = 0; n < statement.binds().size(); n++) {
                String value = statement.binds().get(n);
                if (value.matches("-?[0-9.]+")) {
                    prepared.setBigDecimal(n + 1, new java.math.BigDecimal(value));
                } else {
                    prepared.setString(n + 1, value);
                }
            }
            List<String> names = new ArrayList<>();
            List<String> found = new ArrayList<>();
            if (prepared.execute()) {
                OracleResultSet set = (OracleResultSet) prepared.getResultSet();
                var metadata = set.getMetaData();
                int[] kinds = new int[metadata.getColumnCount()];
                for (int n = 0; n < kinds.length; n++) {
                    names.add(quoted(metadata.getColumnName(n + 1)));
                    kinds[n] = metadata.getColumnType(n + 1);
                }
                while (set.next()) {
                    List<String> row = new ArrayList<>();
                    for (int n = 0; n < kinds.length; n++) {
                        row.add(quoted(canonical(set, n + 1, kinds[n], metadata.getColumnTypeName(n + 1))));
                    }
                    found.add("[" + String.join(",", row) + "]");
                }
            }
            return "{\"columns\":[" + String.join(",", names) + "],\"rows\":[" + String.join(",", found) + "]}";
        } catch (SQLException e) {
            return problem(e);
        }
    }

    static String problem(SQLException e) {
        String code = String.format("ORA-%05d", e.getErrorCode());
        return "{\"error\":" + quoted(code) + ",\"message\":" + quoted(String.valueOf(e.getMessage())) + "}";
    }

    static String canonical(OracleResultSet set, int n, int kind, String name) throws SQLException {
        switch (kind) {
            case OracleTypes.BINARY_FLOAT -> {
                float value = set.getFloat(n);
                return set.wasNull() ? null : String.format("%08x", Float.floatToIntBits(value));
            }
            case OracleTypes.BINARY_DOUBLE -> {
                double value = set.getDouble(n);
                return set.wasNull() ? null : String.format("%016x", Double.doubleToLongBits(value));
            }
            case Types.BOOLEAN -> {
                boolean value = set.getBoolean(n);
                return set.wasNull() ? null : String.valueOf(value);
            }
            case Types.BLOB, Types.VARBINARY, Types.LONGVARBINARY, OracleTypes.RAW -> {
                byte[] value = set.getBytes(n);
                return value == null ? null : hex(value);
            }
            case OracleTypes.JSON -> {
                String value = set.getString(n);
                return value;
            }
            case OracleTypes.VECTOR, OracleTypes.VECTOR_FLOAT32 -> {
                float[] value = set.getObject(n, float[].class);
                if (value == null) return null;
                List<String> all = new ArrayList<>();
                for (float v : value) all.add(String.format("%08x", Float.floatToRawIntBits(v)));
                return String.join(" ", all);
            }
            default -> {}
        }
        if (name.startsWith("DATE") || name.startsWith("TIMESTAMP") || name.startsWith("INTERVAL") || name.equals("NUMBER") || name.equals("FLOAT")) {
            Datum datum = set.getOracleObject(n);
            return datum == null ? null : bytes(name, datum);
        }
        return set.getString(n);
    }

    /** From the bytes that the driver hands out: its own conversions go through Java's calendar. */
    static String bytes(String name, Datum datum) throws SQLException {
        byte[] b = datum.getBytes();
        if (name.equals("NUMBER") || name.equals("FLOAT")) {
            return new oracle.sql.NUMBER(b).bigDecimalValue().toPlainString();
        }
        if (name.startsWith("INTERVALYM") || name.startsWith("INTERVAL YEAR")) {
            return String.valueOf(integer(b, 0) * 12 + (b[4] & 0xff) - 60);
        }
        if (name.startsWith("INTERVAL")) {
            long days = integer(b, 0);
            long seconds = ((days * 24 + (b[4] & 0xff) - 60) * 60 + (b[5] & 0xff) - 60) * 60 + (b[6] & 0xff) - 60;
            return BigInteger.valueOf(seconds).multiply(BILLION).add(BigInteger.valueOf(integer(b, 7))).toString();
        }
        int year = ((b[0] & 0xff) - 100) * 100 + (b[1] & 0xff) - 100;
        long nanos = b.length >= 11 ? integer(b, 7) + 0x80000000L : 0;
        String zone = "";
        if (b.length >= 13) zone = " " + (((b[11] & 0xff) - 20) * 60 + (b[12] & 0xff) - 60);
        return String.format("%04d-%02d-%02d %02d:%02d:%02d.%09d", year, b[2], b[3], b[4] - 1, b[5] - 1, b[6] - 1, nanos) + zone;
    }

    /** Four bytes in excess of 2^31. */
    static long integer(byte[] b, int at) {
        long value = 0;
        for (int n = 0; n < 4; n++) value = value << 8 | (b[at + n] & 0xff);
        return value - 0x80000000L;
    }

    static String hex(byte[] bytes) {
        StringBuilder all = new StringBuilder();
        for (byte b : bytes) all.append(String.format("%02x", b));
        return all.toString();
    }

    static String quoted(String text) {
        if (text == null) return "null";
        StringBuilder all = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') all.append('\\').append(c);
            else if (c < ' ') all.append(String.format("\\u%04x", (int) c));
            else all.append(c);
        }
        return all.append('"').toString();
    }
}
