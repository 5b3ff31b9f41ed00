// The ports' destructors: one place for their vtables.
#include "core/holds.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/publisher_store.hpp>
#include <sagaz/store.hpp>
#include <sagaz/telemetry.hpp>
#include <sagaz/transaction.hpp>

namespace sagaz::inline v0 {

Batch::~Batch() = default;
Broker::~Broker() = default;
core::Holds::~Holds() = default;
PublisherStore::~PublisherStore() = default;
Store::~Store() = default;
Telemetry::~Telemetry() = default;
Transaction::~Transaction() = default;

Rows UnitOfWork::begin_with(const Statement& first) {
    begin();
    return execute(first);
}

std::optional<Error> UnitOfWork::error_of(const std::exception& thrown) const {
    const auto* const error = dynamic_cast<const Error*>(&thrown);
    if (error == nullptr) return std::nullopt;
    return *error;
}

bool UnitOfWork::is_open() noexcept { return true; }
std::optional<bool> UnitOfWork::was_ended() const noexcept { return std::nullopt; }

Dialect Transaction::dialect() const noexcept { return Dialect::postgres; }

}  // namespace sagaz::inline v0
