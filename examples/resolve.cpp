// The answer to COMMIT was lost: did it happen? Asked on a new connection, until it is known.
#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/outbox.hpp>

#include <pqxx/pqxx>

#include <chrono>
#include <thread>

sagaz::CommitOutcome what_became_of(const char* url, const sagaz::Ticket& ticket) {
    const sagaz::Outbox outbox;
    for (int tries = 0; tries < 100; ++tries) {
        pqxx::connection connection{url};
        pqxx::work tx{connection};
        const auto outcome = outbox.resolve(tx, ticket);
        if (outcome != sagaz::CommitOutcome::wait) return outcome;
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
    }
    return sagaz::CommitOutcome::wait;  // still running: a standby is missing, or it is prepared
}
