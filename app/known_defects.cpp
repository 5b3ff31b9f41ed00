#include "app/known_defects.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace sagaz::inline v0::app {
namespace {

constexpr std::int64_t v(std::int64_t major, std::int64_t minor, std::int64_t patch = 0) {
    return version_number(major, minor, patch);
}

constexpr std::string_view kStandbyStops =
    "a standby that replays a primary of an older minor release may stop with \"could not access "
    "status of transaction\", and substring() may refuse valid text";

// Its authors have never seen it by itself.
constexpr std::string_view kWalReset =
    "two connections that write and checkpoint at the same instant may, extremely rarely, damage a "
    "file in WAL mode";
constexpr std::string_view kWalResetSource = "https://www.sqlite.org/wal.html#walresetbug";

constexpr std::array kDefects{
    Defect{Product::librdkafka, 0, v(1, 9, 0), false,
           "an idempotent producer may lose messages that it reports as delivered, after a broker "
           "that restarts has called a topic unknown",
           "https://github.com/confluentinc/librdkafka/releases/tag/v1.9.0"},
    Defect{Product::librdkafka, v(1, 9, 0), v(2, 3, 0), true,
           "a request whose answer is lost may end the producer (\"sequence desynchronization\"); "
           "sagaz makes another one and repeats what was not acknowledged",
           "https://github.com/confluentinc/librdkafka/pull/4438"},
    Defect{Product::librdkafka, v(2, 2, 0), v(2, 5, 0), true,
           "a large batch that is sent again may end the producer (\"Unable to reconstruct "
           "MessageSet\"); sagaz makes another one and repeats what was not acknowledged",
           "https://github.com/confluentinc/librdkafka/pull/4750"},
    Defect{Product::librdkafka, v(2, 4, 0), v(2, 10, 0), true,
           "a topic that is deleted and made again while a relay runs may end the process: restart "
           "it after that",
           "https://github.com/confluentinc/librdkafka/pull/4970"},
    Defect{
        Product::librdkafka, v(2, 5, 0), v(2, 5, 3), false,
        "the process ends by an assertion when the brokers ask for client metrics (KIP-714) that "
        "it does not have",
        "https://github.com/confluentinc/librdkafka/releases/tag/v2.5.3"},
    Defect{Product::librdkafka, v(2, 10, 0), v(2, 10, 1), false,
           "after all brokers were down the client may never find them again",
           "https://github.com/confluentinc/librdkafka/issues/5088"},
    Defect{Product::postgres, v(14, 0), v(14, 4), false,
           "CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY may leave rows out of an index, and "
           "before 14.2 VACUUM may ruin one: rebuild indexes after the upgrade",
           "https://www.postgresql.org/docs/release/14.4/"},
    Defect{Product::postgres, v(14, 21), v(14, 22), false, kStandbyStops,
           "https://www.postgresql.org/docs/release/14.22/"},
    Defect{Product::postgres, v(15, 16), v(15, 17), false, kStandbyStops,
           "https://www.postgresql.org/docs/release/15.17/"},
    Defect{Product::postgres, v(16, 12), v(16, 13), false, kStandbyStops,
           "https://www.postgresql.org/docs/release/16.13/"},
    Defect{Product::postgres, v(17, 8), v(17, 9), false, kStandbyStops,
           "https://www.postgresql.org/docs/release/17.9/"},
    Defect{Product::postgres, v(18, 2), v(18, 3), false, kStandbyStops,
           "https://www.postgresql.org/docs/release/18.3/"},
    Defect{Product::sqlite, v(3, 7, 0), v(3, 44, 6), true, kWalReset, kWalResetSource},
    Defect{Product::sqlite, v(3, 45, 0), v(3, 50, 7), true, kWalReset, kWalResetSource},
    Defect{Product::sqlite, v(3, 51, 0), v(3, 51, 3), true, kWalReset, kWalResetSource},
};

}  // namespace

std::span<const Defect> known_defects() { return kDefects; }

std::string version_text(Product product, std::int64_t version) {
    const auto part = [&](std::int64_t unit) { return std::to_string(version / unit % 1'000); };
    const auto text = part(1'000'000) + '.' + part(1'000);
    const bool has_two = product == Product::postgres || product == Product::libpq;
    return has_two ? text : text + '.' + part(1);
}

std::vector<Defect> defects_of(Product product, std::int64_t version) {
    std::vector<Defect> found;
    std::ranges::copy_if(kDefects, std::back_inserter(found), [&](const Defect& defect) {
        return defect.product == product && version >= defect.from && version < defect.before;
    });
    return found;
}

}  // namespace sagaz::inline v0::app
