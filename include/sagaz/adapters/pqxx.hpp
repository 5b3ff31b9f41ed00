#pragma once

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/transaction.hpp>

#include <pqxx/connection>
#include <pqxx/errorhandler>
#include <pqxx/except>
#include <pqxx/nontransaction>
#include <pqxx/result>
#include <pqxx/transaction>
#include <pqxx/transaction_base>
#include <pqxx/version>

#include <concepts>
#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#if PQXX_VERSION_MAJOR < 6 || (PQXX_VERSION_MAJOR == 6 && PQXX_VERSION_MINOR < 4) || \
    (PQXX_VERSION_MAJOR == 7 && PQXX_VERSION_MINOR < 8)
#error "sagaz/adapters/pqxx.hpp needs libpqxx 6.4, or 7.8 and later"
#endif

#if PQXX_VERSION_MAJOR >= 7
#include <pqxx/params>
#else
#include <pqxx/binarystring>
#endif

namespace sagaz::inline v0 {

namespace postgres {

/// The caller's own libpqxx transaction. Blocks for one round trip per statement. libpqxx's
/// exceptions pass through untouched (`pqxx::sql_error`, `pqxx::broken_connection`), as its own
/// retry and in-doubt logic wants them.
class PqxxTransaction final : public Transaction {
public:
    /// `transaction` is borrowed. Throws `invalid` (`no_transaction`) for a `pqxx::nontransaction`:
    /// an event belongs to the transaction of what it tells.
    explicit PqxxTransaction(::pqxx::transaction_base& transaction) : transaction_{transaction} {
        if (dynamic_cast<const ::pqxx::nontransaction*>(&transaction) != nullptr) {
            throw Error(ErrorKind::invalid, "no_transaction",
                        "a pqxx::nontransaction is no transaction", "use pqxx::work");
        }
    }

    Rows execute(const Statement& statement) override {
        const ::pqxx::result result = run(transaction_, statement);
        Rows rows;
        rows.reserve(static_cast<std::size_t>(result.size()));
        for (const auto& row : result) {
            auto& values = rows.emplace_back();
            for (const auto& field : row) {
                if (field.is_null()) {
                    values.emplace_back(std::nullopt);
                } else {
                    values.emplace_back(field.c_str());
                }
            }
        }
        return rows;
    }

private:
#if PQXX_VERSION_MAJOR >= 7
    // A template, so that only what this libpqxx has is looked up.
    template <class Driver>
    static ::pqxx::result run(Driver& transaction, const Statement& statement) {
        ::pqxx::params parameters;
        parameters.reserve(statement.parameters.size());
        for (const auto& parameter : statement.parameters) {
            if (parameter.null) {
                parameters.append();
            } else if (parameter.binary) {
                parameters.append(
                    ::pqxx::binary_cast(parameter.bytes.data(), parameter.bytes.size()));
            } else {
                parameters.append(std::string{parameter.bytes});
            }
        }
        // exec_params is deprecated from 7.9 on, where exec takes parameters.
        if constexpr (requires { transaction.exec(statement.sql, parameters); }) {
            return transaction.exec(statement.sql, std::move(parameters));
        } else {
            return transaction.exec_params(statement.sql, parameters);
        }
    }
#else
    // exec_params of libpqxx 6 takes any number of parameters of one kind, or a number known when
    // compiling of several kinds; its older form takes both, and is deprecated there. None of them
    // looks whether the transaction is still open: once libpqxx has ended it they would run outside
    // of any. `prepared` looks, throws `usage_error`, and says nothing to the server.
    static ::pqxx::result run(::pqxx::transaction_base& transaction, const Statement& statement) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        static_cast<void>(transaction.prepared({}));
        auto invocation = transaction.parameterized(statement.sql);
#pragma GCC diagnostic pop
        for (const auto& parameter : statement.parameters) {
            if (parameter.null) {
                invocation();
            } else if (parameter.binary) {
                invocation(::pqxx::binarystring(parameter.bytes.data(), parameter.bytes.size()));
            } else {
                invocation(std::string{parameter.bytes});
            }
        }
        return invocation.exec();
    }
#endif

    ::pqxx::transaction_base& transaction_;
};

/// The caller's own libpqxx connection, outside a transaction, for the inbox; its user links
/// `sagaz::postgres`. The handler gets a `pqxx::work`. libpqxx's exceptions pass through untouched,
/// and `error_of` says what they mean. Two round trips more than with a `PGconn*`: BEGIN goes by
/// itself, and libpqxx does not say how the server answered COMMIT, so a statement before it asks
/// whether it will be one.
///
/// libpqxx 6 ends the transaction at the first `exec` that fails, so its batches have no
/// savepoints: after a failure the messages run one by one. It also makes a lost connection anew by
/// itself, where libpqxx 7 says `unavailable`.
///
/// A COMMIT that comes with a warning is `in_doubt`: so PostgreSQL tells that somebody cancelled
/// its wait for a standby, which may lack it then. libpqxx hands on no more than a text in the
/// server's language, so any warning is taken for that one (in another language than English, so is
/// a notice of a deferred trigger). The message comes again, and is a duplicate. Handlers of the
/// connection's notices get them all the same.
class PqxxUnitOfWork final : public UnitOfWork {
public:
    /// `connection` is borrowed.
    explicit PqxxUnitOfWork(::pqxx::connection& connection) : connection_{connection} {}
    ~PqxxUnitOfWork() override { rollback(); }

    ::pqxx::work& native() { return work_.value(); }

    Rows execute(const Statement& statement) override {
        try {
            return PqxxTransaction{native()}.execute(statement);
        } catch (const ::pqxx::usage_error&) {
            throw transaction_closed();
        }
    }

    void begin() override {
        try {
            work_.emplace(connection_);
        } catch (const ::pqxx::usage_error&) {
            throw Error(ErrorKind::invalid, "transaction_open",
                        "the connection is in a transaction already",
                        "end it first, or use mark and failed in your own unit of work");
        }
    }

    void commit() override {
        expect_open();
        const Warnings warnings{connection_};
        native().commit();
        work_.reset();
        if (warnings.were_heard()) {
            throw Error(ErrorKind::in_doubt, "commit_in_doubt",
                        "COMMIT came with a warning: a standby may lack it",
                        "let the message come again; see why the standby does not answer");
        }
    }

    void rollback() noexcept override {
        if (!work_) return;
        try {
            work_->abort();
        } catch (...) {  // NOLINT(bugprone-empty-catch): the connection is gone, and it with it
        }
        work_.reset();
    }

    void command(std::string_view sql) override {
        try {
            native().exec(std::string{sql});
        } catch (const ::pqxx::usage_error&) {
            throw transaction_closed();
        }
    }

    bool is_open() noexcept override {
        try {
            if (work_) expect_open();
        } catch (const Error& error) {
            return error.code() != "transaction_ended";
        } catch (...) {  // NOLINT(bugprone-empty-catch): the connection is gone, and it with it
        }
        return true;
    }

    std::optional<Error> error_of(const std::exception& thrown) const override {
        if (auto error = UnitOfWork::error_of(thrown)) return error;
        if (is<::pqxx::in_doubt_error>(thrown) ||
            is<::pqxx::statement_completion_unknown>(thrown)) {
            return Error{ErrorKind::in_doubt, "commit_in_doubt", "the answer to COMMIT was lost",
                         "make a new connection and let the message come again"};
        }
        if (is<::pqxx::broken_connection>(thrown)) {
            return Error{ErrorKind::unavailable, "connection_lost", "the connection is gone",
                         "make a new connection; the message comes again"};
        }
        // Before sql_error, since libpqxx 6 tells no SQLSTATE of these, and 7 derives them from it.
        if (is<::pqxx::deadlock_detected>(thrown)) return sqlstate_error("40P01", thrown.what());
        if (is<::pqxx::serialization_failure>(thrown)) {
            return sqlstate_error("40001", thrown.what());
        }
        if (is<::pqxx::transaction_rollback>(thrown)) return sqlstate_error("40000", thrown.what());
        if (const auto* sql = dynamic_cast<const ::pqxx::sql_error*>(&thrown)) {
            return sqlstate_error(sql->sqlstate(), thrown.what());
        }
        return std::nullopt;
    }

private:
    /// Hears, while it lives, whether the connection warns.
    class Warnings final : public ::pqxx::errorhandler {
    public:
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        // From 7.10 on a connection has a notice handler too, but only one, which is its owner's.
        explicit Warnings(::pqxx::connection& connection) : errorhandler{connection} {}
#pragma GCC diagnostic pop

        bool operator()(const char text[]) noexcept override {
            const std::string_view said{text};
            const bool is_harmless = said.starts_with("NOTICE") || said.starts_with("INFO") ||
                                     said.starts_with("LOG") || said.starts_with("DEBUG");
            were_heard_ = were_heard_ || !is_harmless;
            return true;
        }
        bool were_heard() const noexcept { return were_heard_; }

    private:
        bool were_heard_{};
    };

    template <class Thrown>
    static bool is(const std::exception& thrown) {
        return dynamic_cast<const Thrown*>(&thrown) != nullptr;
    }

    // A savepoint can be set only in a transaction block that has not failed, which is where COMMIT
    // is a commit. libpqxx says of one that it has ended itself only that it is closed: `abort`
    // then tells the aborted, where it does nothing, from the committed, where it is misuse.
    void expect_open() {
        try {
            native().exec("SAVEPOINT sagaz_commit");
            return;
        } catch (const ::pqxx::usage_error&) {  // NOLINT(bugprone-empty-catch): told apart below
        } catch (const ::pqxx::sql_error& error) {
            if (error.sqlstate() == "25P01") throw transaction_ended();
            if (error.sqlstate() != "25P02") throw;
        }
        try {
            native().abort();
        } catch (const ::pqxx::usage_error&) {
            throw transaction_ended();
        }
        throw Error(ErrorKind::invalid, "transaction_failed",
                    "a statement of the transaction failed and nobody said so",
                    "let the handler throw when a statement of its own fails");
    }

    static Error transaction_closed() {
        return {ErrorKind::conflict, "transaction_rolled_back",
                "libpqxx ended the transaction when a statement failed",
                "run the whole transaction again"};
    }

    static Error transaction_ended() {
        return {ErrorKind::fatal, "transaction_ended",
                "the handler ended the transaction of its mark",
                "take commit and abort out of the handler"};
    }

    ::pqxx::connection& connection_;
    std::optional<::pqxx::work> work_;
};

}  // namespace postgres

/// `outbox.append(tx, event)` with a `pqxx::work`, or any other transaction of libpqxx.
template <class Driver>
    requires std::derived_from<Driver, ::pqxx::transaction_base>
struct Adapter<Driver> {
    using type = postgres::PqxxTransaction;
};

/// `inbox.process(connection, message, handler)` with a `pqxx::connection`; the handler gets a
/// `pqxx::work`.
template <>
struct ConnectionAdapter<::pqxx::connection> {
    using type = postgres::PqxxUnitOfWork;
};

}  // namespace sagaz::inline v0
