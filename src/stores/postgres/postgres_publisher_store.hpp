#pragma once

#include "stores/postgres/connection.hpp"
#include "stores/postgres/durability_gate.hpp"
#include "stores/postgres/publisher_statements.hpp"
#include "stores/postgres/statements.hpp"

#include <sagaz/postgres.hpp>
#include <sagaz/publisher_store.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace sagaz::inline v0::postgres {

/// What an optimistic publisher asks of the log in PostgreSQL, over one connection of its own. What
/// makes it safe is argued where the SQL is, in migration 0006.
class PostgresPublisherStore final : public PublisherStore {
public:
    PostgresPublisherStore(const std::string& url, Options options);

    Attached attach() override;
    Confirmation confirm(std::span<const RowRef> asked, std::span<const RowRef> acknowledged,
                         Milliseconds margin) override;
    std::uint64_t flushed(bool force) override;
    void settle(std::span<const RowRef> accepted, std::span<const RowRef> left) override;

private:
    Result run(const std::string& sql, const Parameters& parameters, Format format = Format::text);
    Parameters guarded() const;  ///< $1

    Options options_;
    Statements statements_;
    PublisherStatements publisher_;
    Connection connection_;
    DurabilityGate durability_{options_.durability};
    std::optional<Id> incarnation_;  ///< None: no relay has attached, or a cursor is in doubt.
};

}  // namespace sagaz::inline v0::postgres
