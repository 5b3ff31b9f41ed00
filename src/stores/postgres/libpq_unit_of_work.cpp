// A transaction of the inbox on the caller's own connection.
//
// BEGIN and the first statement go in one round trip, in libpq's pipeline mode, which is left again
// before anybody else has the connection. Every answer up to the pipeline's end is read, whatever
// the first ones say, so nothing of it is left for the next statement to find.
//
// COMMIT is the one statement whose lost answer matters: the server may have done it. So whatever
// ends the connection between sending it and its answer is in_doubt, never "nothing happened". And
// COMMIT of a failed transaction is answered with ROLLBACK and no error, so its answer is read. And
// one that waits for a standby, and whose wait somebody cancels, is answered with success and a
// WARNING: it is done here, and lost if the standby takes over. That is in doubt too.
#include "stores/postgres/connection.hpp"
#include "stores/postgres/error_table.hpp"
#include "stores/postgres/libpq_statement.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>

#include <string>
#include <utility>
#include <vector>

namespace sagaz::inline v0::postgres {
namespace {

Error connection_lost(const PGconn* connection) {
    return {ErrorKind::unavailable, "connection_lost",
            "the connection is gone: " + first_line(PQerrorMessage(connection)),
            "make a new connection; the message comes again"};
}

using Receiver = PQnoticeReceiver;

// What a connection has whose owner set none. It has no name, so one is made, of which libpq knows
// before it connects that it cannot.
Receiver default_receiver() {
    static const Receiver found = [] {
        const char* const names[] = {"no such option", nullptr};
        const char* const values[] = {"", nullptr};
        PGconn* none = PQconnectStartParams(names, values, 0);
        const Receiver receiver = PQsetNoticeReceiver(none, nullptr, nullptr);
        PQfinish(none);
        return receiver;
    }();
    return found;
}

/// Sees, while it lives, whether a commit's wait for a standby is cancelled. An owner that has a
/// receiver of its own keeps it and gets the warning instead: libpq tells no one what argument it
/// would have to be given back with.
class StandbyWait {
public:
    explicit StandbyWait(PGconn* connection) : connection_(connection) {
        is_ours_ = PQsetNoticeReceiver(connection_, nullptr, nullptr) == default_receiver();
        if (is_ours_) PQsetNoticeReceiver(connection_, receive, this);
    }
    ~StandbyWait() {
        if (is_ours_) PQsetNoticeReceiver(connection_, default_receiver(), nullptr);
    }
    StandbyWait(const StandbyWait&) = delete;
    StandbyWait& operator=(const StandbyWait&) = delete;

    bool was_cancelled() const { return was_cancelled_; }

private:
    static void receive(void* self, const PGresult* notice) {
        if (is_of_cancelled_wait(notice)) static_cast<StandbyWait*>(self)->was_cancelled_ = true;
        default_receiver()(nullptr, notice);
    }

    PGconn* connection_;
    bool is_ours_{};
    bool was_cancelled_{};
};

/// Statements that are sent together, and answered together.
class Pipeline {
public:
    explicit Pipeline(PGconn* connection) : connection_(connection) {
        // Before anything is sent: who runs out of memory later leaves answers unread.
        results_.reserve(kAnswersMax);
        PQenterPipelineMode(connection_);
    }
    ~Pipeline() { PQexitPipelineMode(connection_); }
    Pipeline(const Pipeline&) = delete;
    Pipeline& operator=(const Pipeline&) = delete;

    /// Nothing goes behind a statement that libpq did not take, for want of memory: without its
    /// BEGIN the server would commit a mark by itself, and no handler ever run for it.
    void send(const std::string& sql, const Values& values) {
        is_whole_ =
            is_whole_ && PQsendQueryParams(connection_, sql.c_str(), values.count(), nullptr,
                                           values.pointers.data(), values.lengths.data(),
                                           values.formats.data(), 0) == 1;
        if (is_whole_) ++sent_;
    }
    /// An answer for each statement; fewer when one was not taken or the connection is gone.
    const std::vector<Result>& finish() {
        if (PQpipelineSync(connection_) == 0) return results_;
        // After each answer comes none, which ends it, and after the last the end of them all.
        for (int left = 2 * sent_; left >= 0; --left) {
            Result result(PQgetResult(connection_));
            if (PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC) break;
            if (result) results_.push_back(std::move(result));
        }
        PQexitPipelineMode(connection_);
        return results_;
    }

private:
    static constexpr std::size_t kAnswersMax = 5;  // of two statements, with what ends them

    PGconn* connection_;
    std::vector<Result> results_;
    bool is_whole_{true};
    int sent_{};
};

}  // namespace

LibpqUnitOfWork::LibpqUnitOfWork(pg_conn* connection) : connection_(connection) {}

LibpqUnitOfWork::~LibpqUnitOfWork() { rollback(); }

Rows LibpqUnitOfWork::execute(const Statement& statement) {
    return LibpqTransaction(connection_).execute(statement);
}

void LibpqUnitOfWork::check_is_idle() const {
    if (PQtransactionStatus(connection_) == PQTRANS_UNKNOWN) throw connection_lost(connection_);
    if (PQpipelineStatus(connection_) != PQ_PIPELINE_OFF) {
        throw Error(ErrorKind::invalid, "pipeline_mode", "the connection is in pipeline mode",
                    "leave it before the inbox uses the connection");
    }
    if (PQtransactionStatus(connection_) != PQTRANS_IDLE) {
        throw Error(ErrorKind::invalid, "transaction_open",
                    "the connection is in a transaction already",
                    "end it first, or use mark and failed in your own unit of work");
    }
}

void LibpqUnitOfWork::begin() {
    check_is_idle();
    command("BEGIN");
    is_open_ = true;
}

Rows LibpqUnitOfWork::begin_with(const Statement& first) {
    check_is_idle();
    const Values values(first.parameters);
    Pipeline pipeline(connection_);
    pipeline.send("BEGIN", Values({}));
    pipeline.send(first.sql, values);
    is_open_ = true;  // It may have begun, whatever became of the rest: rollback looks.
    const auto& results = pipeline.finish();
    for (const auto& result : results) {
        if (!is_done(result.get())) throw postgres::error_of(result.get(), connection_);
    }
    if (results.size() != 2) throw connection_lost(connection_);
    return rows_in(results[1].get());
}

void LibpqUnitOfWork::commit() {
    switch (PQtransactionStatus(connection_)) {
        case PQTRANS_UNKNOWN: throw connection_lost(connection_);
        case PQTRANS_IDLE:
            is_open_ = false;
            throw Error(ErrorKind::fatal, "transaction_ended",
                        "the handler ended the transaction of its mark",
                        "take COMMIT and ROLLBACK out of the handler");
        default: break;
    }
    const StandbyWait wait(connection_);
    const Result result(PQexec(connection_, "COMMIT"));
    if (PQresultStatus(result.get()) == PGRES_COMMAND_OK) {
        is_open_ = false;
        if (wait.was_cancelled()) {
            throw Error(ErrorKind::in_doubt, "commit_in_doubt",
                        "the wait of COMMIT for a standby was cancelled, which may lack it",
                        "let the message come again; see why the standby does not answer");
        }
        if (std::string_view(PQcmdStatus(result.get())) == "COMMIT") return;
        throw Error(ErrorKind::invalid, "transaction_failed",
                    "a statement of the transaction failed and nobody said so",
                    "let the handler throw when a statement of its own fails");
    }
    const auto status = PQtransactionStatus(connection_);
    const bool was_refused = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE) != nullptr;
    // Idle without an error of the server's: it ended, and memory was short for its answer.
    if (status == PQTRANS_UNKNOWN || (status == PQTRANS_IDLE && !was_refused)) {
        throw Error(ErrorKind::in_doubt, "commit_in_doubt",
                    "the answer to COMMIT was lost: " + first_line(PQerrorMessage(connection_)),
                    "make a new connection and let the message come again");
    }
    throw postgres::error_of(result.get(), connection_);
}

// The state is the connection's, not our memory of it: a handler may have left anything.
void LibpqUnitOfWork::rollback() noexcept {
    if (!is_open_) return;
    is_open_ = false;
    const auto status = PQtransactionStatus(connection_);
    if (status == PQTRANS_IDLE || status == PQTRANS_UNKNOWN) return;
    PQclear(PQexec(connection_, "ROLLBACK"));
}

bool LibpqUnitOfWork::is_open() noexcept { return !was_ended().value(); }

std::optional<bool> LibpqUnitOfWork::was_ended() const noexcept {
    return is_open_ && PQtransactionStatus(connection_) == PQTRANS_IDLE;
}

void LibpqUnitOfWork::command(std::string_view sql) {
    const Result result(PQexec(connection_, std::string(sql).c_str()));
    if (!is_done(result.get())) throw postgres::error_of(result.get(), connection_);
}

}  // namespace sagaz::inline v0::postgres
