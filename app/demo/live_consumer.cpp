#include "app/demo/live_consumer.hpp"

#include <utility>

namespace sagaz::inline v0::app::demo {

LiveConsumer::LiveConsumer(const Stage& stage, Tried tried)
    : path_{stage.events()}, tried_{std::move(tried)}, warehouse_{stage.warehouse} {
    warehouse_.build();
    std::error_code absent;
    const auto size = std::filesystem::file_size(path_, absent);
    if (!absent) old_end_ = static_cast<std::int64_t>(size);
}

bool LiveConsumer::fetch() {
    if (head_) return true;
    if (!arrivals_) {
        if (!std::filesystem::exists(path_)) return false;  // the relay makes it
        arrivals_.emplace(path_);
    }
    head_ = arrivals_->next();
    head_due_ = {};
    return head_.has_value();
}

bool LiveConsumer::turn(std::size_t most) {
    std::size_t tried = 0;
    while (tried < most && fetch() && Clock::now() >= head_due_) {
        const auto outcome = warehouse_.take(*head_);
        ++tried;
        const bool is_old = arrivals_->position() <= old_end_;
        if (!is_old || outcome.settlement != Settlement::duplicate) tried_(*head_, outcome);
        if (outcome.is_settled()) {
            head_.reset();
        } else {
            head_due_ = Clock::now() + outcome.retry_in;
        }
    }
    return tried > 0;
}

}  // namespace sagaz::inline v0::app::demo
