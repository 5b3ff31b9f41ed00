#include "core/relay_options.hpp"

#include <sagaz/error.hpp>

#include <string>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

void check_range(bool in_range, const char* option, const char* range) {
    if (in_range) return;
    throw Error(ErrorKind::invalid, "option_range",
                std::string("relay option ") + option + " is out of range",
                std::string("set it ") + range);
}

}  // namespace

RelayOptions checked(RelayOptions options) {
    check_range(options.batch_max >= 1 && options.batch_max <= 100'000, "batch_max",
                "between 1 and 100000");
    check_range(options.batch_max_bytes >= 1'024, "batch_max_bytes", "to 1KiB or more");
    check_range(options.poll_interval >= 1ms, "poll_interval", "to 1ms or more");
    check_range(options.idle_poll_interval >= options.poll_interval, "idle_poll_interval",
                "to poll_interval or more");
    check_range(options.lease >= 200ms, "lease", "to 200ms or more");
    check_range(options.store_interval >= 1ms, "store_interval", "to 1ms or more");
    check_range(options.drain_timeout >= 0ms, "drain_timeout", "to 0s or more");
    check_range(options.retention >= 0ms && options.retention <= 87'600h, "retention",
                "between 0s and 87600h");
    check_range(options.retry_initial >= 1ms && options.retry_max >= options.retry_initial,
                "retry_initial, retry_max", "to 1ms or more, the second not below the first");
    check_range(options.parked_retry_initial >= 1ms &&
                    options.parked_retry_max >= options.parked_retry_initial,
                "parked_retry_initial, parked_retry_max",
                "to 1ms or more, the second not below the first");
    check_range(options.max_attempts >= 1, "max_attempts", "to 1 or more");
    return options;
}

}  // namespace sagaz::inline v0::core
