#include "stores/postgres/lock_tries.hpp"

#include "core/replaced.hpp"
#include "stores/postgres/lock_holders.hpp"
#include "stores/postgres/migration.hpp"

#include <sagaz/error.hpp>

#include <thread>

namespace sagaz::inline v0::postgres {
namespace {

constexpr int kTries = 10;
constexpr Milliseconds kPause{500};

// Who has locked a table of ours, the oldest first.
constexpr std::string_view kInTheWay = R"(
WITH wanted AS (
    SELECT c.oid, c.oid AS held, c.relname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = '@schema@'
    WHERE c.relkind IN ('r', 'p')
), {holders}, oldest AS (
    SELECT * FROM holder ORDER BY since LIMIT 3
)
SELECT pg_catalog.string_agg(
           h.who || coalesce(' (' || nullif(h.application_name, '') || ')', '')
           || pg_catalog.format(' has locked %s', h.relname)
           || coalesce(pg_catalog.format(' for %s s', extract(
                  epoch FROM pg_catalog.clock_timestamp() - h.since)::int8), ''),
           ', ' ORDER BY h.since)
FROM oldest h)";

std::string who_is_in_the_way(Connection& connection, std::string_view schema) {
    const Result row = connection.execute(
        with_schema(core::replaced(kInTheWay, "{holders}", kLockHolders), schema));
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
