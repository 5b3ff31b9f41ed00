#include "app/demo/kept_relay.hpp"

#include <sagaz/error.hpp>

#include <utility>

namespace sagaz::inline v0::app::demo {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kBetweenStarts{1'000};
constexpr milliseconds kShortLife{3'000};
constexpr int kShortLivesMax = 5;

}  // namespace

KeptRelay::KeptRelay(RelayPlan plan, std::function<void(const std::string&)> say)
    : plan_{std::move(plan)}, say_{std::move(say)} {
    start();
}

void KeptRelay::start() {
    process_ = std::make_unique<RelayProcess>(plan_);
    started_ = Clock::now();
    has_ended_ = false;
}

void KeptRelay::keep() {
    if (!has_ended_) {
        if (!process_->has_ended()) return;
        has_ended_ = true;
        short_lives_ = Clock::now() - started_ < kShortLife ? short_lives_ + 1 : 0;
        if (short_lives_ == kShortLivesMax) {
            throw Error{ErrorKind::unavailable, "relay_process",
                        "the relay ends each time it is started: " + process_->how_it_ended(),
                        "see " + plan_.log};
        }
    }
    if (Clock::now() - started_ < kBetweenStarts) return;
    const auto end = process_->how_it_ended();
    start();
    say_("the relay " + end + ", and was started again as process " + std::to_string(pid()));
}

void KeptRelay::stop(milliseconds deadline) {
    if (!process_->has_ended()) process_->stop(deadline);
}

}  // namespace sagaz::inline v0::app::demo
