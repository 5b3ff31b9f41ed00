#pragma once

#include <string_view>

namespace sagaz::inline v0::postgres {

/// The end of a WITH that has `wanted (oid, held, relname)`, a row for each relation `held` of a
/// table `oid`: `holder` has a row for each transaction of another that has locked any of them.
/// A prepared transaction has no process; the lock on its own xid tells it. Whoever is not in
/// pg_monitor sees neither times nor programs of others.
inline constexpr std::string_view kLockHolders = R"(lock AS (
    SELECT l.pid, l.virtualtransaction, pg_catalog.min(w.relname::text) AS relname,
           pg_catalog.count(DISTINCT w.oid) AS tables
    FROM pg_catalog.pg_locks l
    JOIN wanted w ON w.held = l.relation
    WHERE l.granted AND l.locktype = 'relation'
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                        WHERE d.datname = current_database())
      AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
    GROUP BY l.pid, l.virtualtransaction
), holder AS (
    SELECT k.pid, k.virtualtransaction, k.relname, k.tables,
           CASE WHEN k.pid IS NULL THEN pg_catalog.format('prepared transaction %L', p.gid)
                ELSE pg_catalog.format('pid %s', k.pid) END AS who,
           coalesce(p.prepared, a.xact_start) AS since,
           a.xact_start, a.query_start, a.application_name
    FROM lock k
    LEFT JOIN pg_catalog.pg_locks x
        ON k.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = k.virtualtransaction
           AND x.locktype = 'transactionid'
    LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = k.pid
))";

}  // namespace sagaz::inline v0::postgres
