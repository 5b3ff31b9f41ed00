#pragma once

#include "core/consumer_step.hpp"

#include <sagaz/event.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace sagaz::core {

inline constexpr std::size_t kHeldMax = 100'000;
inline constexpr ConsumerStep::Options kOptions{std::chrono::seconds{1},
                                                std::chrono::milliseconds{100},
                                                std::chrono::seconds{5},
                                                2,
                                                8,
                                                kHeldMax};

inline Message message_of(const Partition& partition, std::int64_t position,
                          std::optional<std::string> key = {}) {
    Message message;
    message.event.key = std::move(key);
    message.source_topic = partition.topic;
    message.partition = partition.number;
    message.position = position;
    return message;
}

}  // namespace sagaz::core
