#include "stores/postgres/rebaser.hpp"

#include "stores/postgres/migration.hpp"

#include <sagaz/error.hpp>

#include <chrono>
#include <thread>

namespace sagaz::inline v0::postgres {
namespace {

constexpr Milliseconds kLongest = std::chrono::hours{6};
constexpr Milliseconds kPatience{1'000};  ///< Of one call.
constexpr Milliseconds kConnect{10'000};
constexpr int kTries = 10;  ///< Of a second each, with a pause in which inserts go on.
constexpr Milliseconds kPause{500};

// One message of the simple protocol, so one transaction, that asks the server not to go by the
// defaults of the login or the database: an isolation that rebase() refuses, and an end to
// statements and transactions that would undo an hour's work again and again.
std::string script(std::string_view schema, bool forced) {
    return with_schema(std::string("SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
                                   "SELECT pg_catalog.set_config(s.name, '0', true) "
                                   "FROM pg_catalog.pg_settings s "
                                   "WHERE s.name IN ('statement_timeout', 'transaction_timeout'); "
                                   "SELECT @schema@.rebase(") +
                           (forced ? "true)" : "false)"),
                       schema);
}

}  // namespace

Rebaser::Rebaser(const std::string& url, const Options& options)
    : schema_(options.schema),
      connection_(url, {options.connect_timeout, kLongest}, options.current_url) {
    connection_.needs({options.schema + "_relay"});
}

void Rebaser::run(bool forced) {
    if (!is_running_) {
        connection_.send_script(script(schema_, forced));
        is_running_ = true;
        is_forced_ = forced;
    }
    if (!connection_.is_ready(kPatience)) {
        throw Error(ErrorKind::unavailable, "rebasing",
                    "the database was restored, and its log is being re-based",
                    "nothing to do: inserts wait until it is done; sagaz doctor then says more");
    }
    is_running_ = false;
    (void)connection_.receive();
    if (forced && !is_forced_) return run(true);  // That one may have found nothing to do.
    connection_.drop();                           // Not needed again, until the next disaster.
}

std::string rebase(const std::string& url, std::string_view schema) {
    check_schema_name(schema);
    Connection connection(url, {kConnect, kLongest});
    connection.needs({std::string(schema) + "_relay"});
    const std::string sql = script(schema, true);
    for (int tries = 1;; ++tries) {
        try {
            return PQgetvalue(connection.run_script(sql).get(), 0, 0);
        } catch (const Error& error) {
            const bool again = error.code() == "lock_not_available" || error.code() == "rebasing";
            if (!again) throw;
            if (error.code() == "rebasing") tries = 1;
            if (tries == kTries) {
                throw Error(ErrorKind::unavailable, std::string(error.code()),
                            "a transaction that has appended events does not end",
                            "end it (sagaz doctor names old ones), then run this again");
            }
        }
        std::this_thread::sleep_for(kPause);
    }
}

}  // namespace sagaz::inline v0::postgres
