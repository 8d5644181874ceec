# A throw-away or kept PostgreSQL cluster for the demo and the benchmark. To be sourced.
# Sets pg_port; leaves `pg` to run psql as the superuser through the cluster's socket.

pg_bin() {
  local newest
  newest="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)"
  [ -n "$newest" ] || newest="$(dirname "$(command -v initdb)")"
  echo "$newest"
}

# PostgreSQL refuses to run as root.
pg_unprivileged() {
  if [ "$(id -u)" != 0 ]; then "$@"
  elif id -u postgres >/dev/null 2>&1; then setpriv --reuid postgres --regid postgres --clear-groups "$@"
  else setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"; fi
}

pg_start() { # folder (made if missing), password of role app
  local folder="$1" password="$2" bin
  bin="$(pg_bin)"
  mkdir -p "$folder"
  if [ ! -e "$folder/made" ]; then
    if [ "$(id -u)" = 0 ]; then chown "$(pg_unprivileged id -u):$(pg_unprivileged id -g)" "$folder"; fi
    (cd "$folder" && pg_unprivileged env HOME="$folder" "$bin/initdb" -D data -U postgres -E UTF8 --locale=C.UTF-8 \
      --auth-local=trust --auth-host=scram-sha-256 --no-sync >/dev/null)
  fi
  pg_port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  pg_folder="$folder"
  # -c on the command line, so that a kept cluster follows this file.
  (cd "$folder" && pg_unprivileged env HOME="$folder" LC_ALL=C.UTF-8 "$bin/postgres" -D data -p "$pg_port" -k "$folder" \
    -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c wal_level=logical \
    -c max_wal_size=4GB -c shared_buffers="${PG_SHARED_BUFFERS:-256MB}" -c autovacuum=off) >"/tmp/connect-pg-$$.log" 2>&1 &
  for _ in $(seq 300); do
    if pg postgres -c 'SELECT 1' >/dev/null 2>&1; then
      if [ ! -e "$folder/made" ]; then
        pg postgres -c "CREATE ROLE app LOGIN PASSWORD '$password'"
        touch "$folder/made"
      fi
      rm -f "/tmp/connect-pg-$$.log"
      return 0
    fi
    sleep 0.1
  done
  echo "PostgreSQL does not start:" >&2
  cat "/tmp/connect-pg-$$.log" >&2
  return 1
}

# Starts a cluster of the benchmarks that is kept, and fills a database of it if it is not there. Made anew when its
# definition changes. The cluster's folder has this name in the cache.
pg_filled() { # name, file of SQL, database, rows
  local cluster="${XDG_CACHE_HOME:-$HOME/.cache}/connect-runtime/$1" definition
  # As root the server runs as another user, who cannot look into root's home.
  if [ "$(id -u)" = 0 ]; then cluster="/var/tmp/connect-runtime-$1"; fi
  definition="$(cat "$2" scripts/lineitem.sql)"
  if [ -e "$cluster/made" ] && [ "$(cat "$cluster/definition" 2>/dev/null)" != "$definition" ]; then rm -rf "$cluster"; fi
  export PG_SHARED_BUFFERS=512MB
  trap pg_stop EXIT
  pg_start "$cluster" bench
  echo "$definition" >"$cluster/definition"
  if [ "$(pg postgres -Atc "SELECT count(*) FROM pg_database WHERE datname = '$3'")" = 0 ]; then
    echo "bench: making $4 rows of lineitem, once (in $cluster)" >&2
    pg postgres -c "DROP DATABASE IF EXISTS ${3}_new" 2>/dev/null
    pg postgres -c "CREATE DATABASE ${3}_new"
    pg "${3}_new" -v rows="$4" -f - <"$2"
    pg "${3}_new" -c "VACUUM (ANALYZE, FREEZE)"
    pg postgres -c "ALTER DATABASE ${3}_new RENAME TO $3"
  fi
}

pg() { # database, arguments of psql
  local database="$1"
  shift
  "$(pg_bin)/psql" -X -q -v ON_ERROR_STOP=1 -h "$pg_folder" -p "$pg_port" -U postgres -d "$database" "$@"
}

pg_stop() {
  [ -n "${pg_folder:-}" ] && [ -e "$pg_folder/data/postmaster.pid" ] || return 0
  local pid
  pid="$(head -1 "$pg_folder/data/postmaster.pid")"
  kill -INT "$pid" 2>/dev/null || true
  for _ in $(seq 300); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
}
