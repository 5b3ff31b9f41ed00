#include "core/relay_options.hpp"

#include "core/option_range.hpp"

#include <cstddef>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kBytesMax = std::size_t{16} << 30;

void check_range(bool in_range, const char* option, const char* range) {
    check_option(in_range, "relay", option, range);
}

}  // namespace

RelayOptions checked(RelayOptions options) {
    constexpr Milliseconds kLongest = 87'600h;
    const auto is_time = [&](Milliseconds time, Milliseconds least) {
        return time >= least && time <= kLongest;
    };
    check_range(options.batch_max >= 1 && options.batch_max <= 100'000, "batch_max",
                "between 1 and 100000");
    check_range(options.batch_max_bytes >= 1'024 && options.batch_max_bytes <= kBytesMax,
                "batch_max_bytes", "between 1KiB and 16GiB");
    check_range(is_time(options.poll_interval, 1ms), "poll_interval", "between 1ms and 87600h");
    check_range(is_time(options.idle_poll_interval, options.poll_interval), "idle_poll_interval",
                "between poll_interval and 87600h");
    check_range(is_time(options.lease, 200ms), "lease", "between 200ms and 87600h");
    check_range(is_time(options.store_interval, 1ms), "store_interval", "between 1ms and 87600h");
    check_range(is_time(options.grace, 0ms), "grace", "between 0s and 87600h");
    check_range(is_time(options.drain_timeout, 0ms), "drain_timeout", "between 0s and 87600h");
    check_range(is_time(options.retention, 0ms), "retention", "between 0s and 87600h");
    check_range(
        is_time(options.retry_initial, 1ms) && is_time(options.retry_max, options.retry_initial),
        "retry_initial, retry_max", "between 1ms and 87600h, the second not below the first");
    check_range(is_time(options.parked_retry_initial, 1ms) &&
                    is_time(options.parked_retry_max, options.parked_retry_initial),
                "parked_retry_initial, parked_retry_max",
                "between 1ms and 87600h, the second not below the first");
    check_range(is_time(options.attempt_timeout, 1ms), "attempt_timeout", "between 1ms and 87600h");
    check_range(options.stopped_keys_max >= 1, "stopped_keys_max", "to 1 or more");
    check_range(options.max_attempts >= 1, "max_attempts", "to 1 or more");
    return options;
}

}  // namespace sagaz::inline v0::core
