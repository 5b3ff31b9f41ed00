#pragma once

#include "core/consumer_step.hpp"

#include <sagaz/event.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

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

class ConsumerStepTest : public ::testing::Test {
protected:
    // The next command that is neither Serve nor a Fetch of a partition where nothing is.
    ConsumerCommand next() {
        while (true) {
            ConsumerCommand command = step_.next(now_);
            if (std::holds_alternative<consume::Serve>(command)) continue;
            const auto* fetch = std::get_if<consume::Fetch>(&command);
            if (fetch == nullptr) return command;
            auto& log = logs_[fetch->partition];
            if (log.empty()) {
                step_.on_nothing(fetch->partition);
            } else {
                step_.on_message(message_of(fetch->partition, log.front(), key_of(log.front())));
                log.erase(log.begin());
            }
        }
    }

    // The partition and position of the message to handle; none: another command.
    std::optional<std::pair<std::int32_t, std::int64_t>> handled() {
        const ConsumerCommand command = next();
        const auto* handle = std::get_if<consume::Handle>(&command);
        if (handle == nullptr) return std::nullopt;
        return std::pair{handle->message->partition, handle->message->position};
    }

    std::vector<Progress> committed() {
        const ConsumerCommand command = next();
        const auto* commit = std::get_if<consume::Commit>(&command);
        return commit == nullptr ? std::vector<Progress>{} : commit->progress;
    }

    Instant waits_until() {
        const ConsumerCommand command = next();
        const auto* wait = std::get_if<consume::Wait>(&command);
        return wait == nullptr ? Instant{} : wait->until;
    }

    // How long it takes until the next message is handed out.
    Duration until_handled() {
        const Instant from = now_;
        while (true) {
            const ConsumerCommand command = next();
            if (std::holds_alternative<consume::Handle>(command)) return now_ - from;
            const auto* wait = std::get_if<consume::Wait>(&command);
            if (wait == nullptr) return Duration::max();
            now_ = wait->until;
        }
    }

    using Handled = std::pair<std::int32_t, std::int64_t>;

    std::optional<std::string> key_of(std::int64_t position) const {
        const auto found = keys_.find(position);
        return found == keys_.end() ? std::nullopt : std::optional{found->second};
    }

    // The positions that are handed out one after another, of which those in `refused` are to be
    // handled again in an hour; until there is nothing to do. Takes part in commits.
    std::vector<std::int64_t> settle_all_but(const std::set<std::int64_t>& refused) {
        std::vector<std::int64_t> seen;
        while (true) {
            const ConsumerCommand command = next();
            if (const auto* handle = std::get_if<consume::Handle>(&command)) {
                seen.push_back(handle->message->position);
                step_.on_reply(refused.contains(seen.back())
                                   ? Reply{Settlement::retry_later, std::chrono::hours{1}}
                                   : Reply{Settlement::processed},
                               now_);
            } else if (const auto* commit = std::get_if<consume::Commit>(&command)) {
                for (const auto& [partition, done] : commit->progress) committed_[partition] = done;
                step_.on_committed(commit->progress, true);
            } else {
                return seen;
            }
        }
    }

    // What is committed, when the next commit is due too.
    std::int64_t committed_after_all() {
        now_ += std::chrono::seconds{1};
        settle_all_but({});
        return committed_[zero_];
    }

    Instant now_{std::chrono::hours{1}};
    ConsumerStep step_{kOptions, 1};
    Partition zero_{"orders", 0};
    Partition one_{"orders", 1};
    std::map<Partition, std::vector<std::int64_t>> logs_;
    std::map<std::int64_t, std::string> keys_;
    std::map<Partition, std::int64_t> committed_;
};

}  // namespace sagaz::core
