#pragma once

#include <sagaz/error.hpp>
#include <sagaz/transaction.hpp>

#include <pqxx/nontransaction>
#include <pqxx/result>
#include <pqxx/transaction_base>
#include <pqxx/version>

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
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
    // compiling of several kinds; its older form takes both, and is deprecated there.
    static ::pqxx::result run(::pqxx::transaction_base& transaction, const Statement& statement) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
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

}  // namespace postgres

/// `outbox.append(tx, event)` with a `pqxx::work`, or any other transaction of libpqxx.
template <class Driver>
    requires std::derived_from<Driver, ::pqxx::transaction_base>
struct Adapter<Driver> {
    using type = postgres::PqxxTransaction;
};

}  // namespace sagaz::inline v0
