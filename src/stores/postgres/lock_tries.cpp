#include "stores/postgres/lock_tries.hpp"

#include "stores/postgres/migration.hpp"

#include <sagaz/error.hpp>

#include <thread>

namespace sagaz::inline v0::postgres {
namespace {

constexpr int kTries = 10;
constexpr Milliseconds kPause{500};

// Who has locked a table of ours, the oldest first. Whoever is not in pg_monitor sees neither times
// nor programs of others; then the pid is all there is to say. A prepared transaction has no
// process; the lock on its own xid tells it.
constexpr std::string_view kHolders = R"(
WITH held AS (
    SELECT l.pid, l.virtualtransaction, pg_catalog.min(c.relname::text) AS relname
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_class c ON c.oid = l.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = '@schema@'
    WHERE l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p')
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                        WHERE d.datname = current_database())
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    GROUP BY l.pid, l.virtualtransaction
), named AS (
    SELECT h.relname, coalesce(p.prepared, a.xact_start) AS since,
           CASE WHEN h.pid IS NULL
                THEN pg_catalog.format('prepared transaction %L', p.gid)
                ELSE pg_catalog.format('pid %s', h.pid)
                     || coalesce(' (' || nullif(a.application_name, '') || ')', '') END AS who
    FROM held h
    LEFT JOIN pg_catalog.pg_locks x
        ON h.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = h.virtualtransaction
           AND x.locktype = 'transactionid'
    LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
    ORDER BY since LIMIT 3
)
SELECT pg_catalog.string_agg(
           pg_catalog.format('%s has locked %s', n.who, n.relname)
           || coalesce(pg_catalog.format(' for %s s', extract(
                  epoch FROM pg_catalog.clock_timestamp() - n.since)::int8), ''),
           ', ' ORDER BY n.since)
FROM named n)";

std::string who_is_in_the_way(Connection& connection, std::string_view schema) {
    const Result row = connection.execute(with_schema(kHolders, schema));
    if (PQgetisnull(row.get(), 0, 0) != 0) return "it was gone when it was looked for";
    return PQgetvalue(row.get(), 0, 0);
}

}  // namespace

void with_lock_tries(Connection& connection, std::string_view schema,
                     const std::function<void()>& change) {
    for (int tries = 1;; ++tries) {
        try {
            return change();
        } catch (const Error& error) {
            if (error.code() != "lock_not_available") throw;
            connection.drop();  // rolls back
            if (tries == kTries) {
                throw Error(ErrorKind::unavailable, std::string(error.code()),
                            "a transaction that is in the way does not end: " +
                                who_is_in_the_way(connection, schema),
                            "let it end, or end it: SELECT pg_terminate_backend(PID), ROLLBACK "
                            "PREPARED 'GID'; then run this again");
            }
        }
        std::this_thread::sleep_for(kPause);
    }
}

}  // namespace sagaz::inline v0::postgres
