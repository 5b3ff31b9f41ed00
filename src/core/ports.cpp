// The ports' destructors: one place for their vtables.
#include <sagaz/broker.hpp>
#include <sagaz/store.hpp>
#include <sagaz/telemetry.hpp>
#include <sagaz/transaction.hpp>

namespace sagaz::inline v0 {

Batch::~Batch() = default;
Broker::~Broker() = default;
Store::~Store() = default;
Telemetry::~Telemetry() = default;
Transaction::~Transaction() = default;

Dialect Transaction::dialect() const noexcept { return Dialect::postgres; }

}  // namespace sagaz::inline v0
