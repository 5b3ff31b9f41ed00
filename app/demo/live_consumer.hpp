#pragma once

#include "app/demo/stage.hpp"
#include "app/verify/sources.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace sagaz::inline v0::app::demo {

/// The warehouse fed with what the destination's file gets, one message after the other: one that
/// has to come again holds up the later ones, so that their order holds.
class LiveConsumer {
public:
    /// Called after each try of a message.
    using Tried = std::function<void(const Message&, const Outcome<std::monostate>&)>;

    /// What is in the file already is handed over too, but `tried` is not told of its duplicates.
    LiveConsumer(const Stage& stage, Tried tried);

    /// Hands over what has come, at most `most` messages; false when there was nothing to do.
    bool turn(std::size_t most);

private:
    using Clock = std::chrono::steady_clock;

    bool fetch();

    std::string path_;
    Tried tried_;
    Warehouse warehouse_;
    std::optional<verify::FileReader> arrivals_;
    std::int64_t old_end_{};
    std::optional<Message> head_;
    Clock::time_point head_due_;
};

}  // namespace sagaz::inline v0::app::demo
