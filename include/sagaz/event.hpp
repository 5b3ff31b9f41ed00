#pragma once

#include <sagaz/id.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sagaz::inline v0 {

using Milliseconds = std::chrono::milliseconds;

/// A point in time, UTC, by the database's clock.
using Time = std::chrono::sys_time<std::chrono::microseconds>;

/// One header of a message. A list of them may repeat a name, as Kafka allows.
struct Header {
    std::string name{};
    std::string value{};

    bool operator==(const Header&) const = default;
};

/// What a service wants the world to know. Owns its bytes. The order of its members is API.
struct Event {
    std::string topic{};  ///< Empty: the schema's topic template decides.
    std::optional<std::string>
        key{};                 ///< Events of one (topic, key) stay in order; none: no order.
    std::string event_type{};  ///< Becomes `ce_type`; required.
    std::string payload{};     ///< Any bytes, at most `kPayloadMax`.
    std::string content_type{"application/json"};
    std::vector<Header> headers{};  ///< At most `kHeadersMax`; reserved names are refused.
    Id id{};                        ///< Zero: append makes one.
    std::optional<std::string> aggregate_type{};
    std::optional<std::string> aggregate_id{};  ///< Becomes `ce_subject`.
    std::optional<std::string> saga_id{};

    bool operator==(const Event&) const = default;
};

inline constexpr std::size_t kPayloadMax = std::size_t{16}
                                           << 20;  ///< Bytes; the table checks it too.
inline constexpr std::size_t kTopicMax = 249;      ///< Kafka's own limit.
inline constexpr std::size_t kKeyMax = 2'000;      ///< Bytes; it must fit an index.
inline constexpr std::size_t kEventTypeMax = 255;
inline constexpr std::size_t kHeadersMax = 64;
inline constexpr std::size_t kHeadersBytesMax = 32'768;  ///< Names and values together.

/// An event as it came from a broker.
struct Message {
    std::string id{};  ///< As it came; a UUID for events of sagaz.
    Event event{};
    std::string source_topic{};
    std::int32_t partition{-1};  ///< -1 where the broker has none.
    std::int64_t position{-1};   ///< Offset, delivery tag or stream sequence.
    Time time{};
};

}  // namespace sagaz::inline v0
