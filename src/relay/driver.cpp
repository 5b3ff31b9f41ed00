#include "relay/driver.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <type_traits>
#include <utility>
#include <variant>

namespace sagaz::inline v0::relay {

namespace command = core::command;

namespace {

template <class... Cases>
struct Overloaded : Cases... {
    using Cases::operator()...;
};

constexpr Field kDestination{"destination", "default"};

double seconds_since(Time time) {
    const auto now = std::chrono::time_point_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now());
    return std::max(0.0, std::chrono::duration<double>(now - time).count());
}

}  // namespace

Driver::Driver(Store& store, Broker& broker, const RelayOptions& options, core::Clock& clock,
               Telemetry* telemetry)
    : Driver(store, broker, options, clock, telemetry, Id::generate(),
             static_cast<std::uint64_t>(clock.now().time_since_epoch().count())) {}

Driver::Driver(Store& store, Broker& broker, const RelayOptions& options, core::Clock& clock,
               Telemetry* telemetry, const Id& relay, std::uint64_t seed)
    : store_(store),
      broker_(broker),
      clock_(clock),
      telemetry_(telemetry),
      relay_(relay),
      step_(relay, options, seed) {}

Turn Driver::turn() {
    Turn turn{false, clock_.now()};
    try {
        turn = perform(step_.next(clock_.now()));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::invalid || error.kind() == ErrorKind::fatal) throw;
        take_store_error(error);
    }
    report();
    return turn;
}

Turn Driver::perform(core::Command next) {
    Turn turn{false, clock_.now()};
    const auto now = [&] { return clock_.now(); };
    std::visit(
        Overloaded{
            [&](command::Attach&) {
                last_command_ = "attach";
                step_.on_attached(store_.attach(relay_));
                if (telemetry_ != nullptr) {
                    telemetry_->log(LogLevel::info, "store_attached", {});
                }
                store_error_.clear();
            },
            [&](command::Observe& observe) {
                last_command_ = "observe";
                const auto slots = store_.observe(observe.report);
                step_.on_observed(slots, now());
                store_error_.clear();
            },
            [&](command::Acquire& acquire) {
                last_command_ = "acquire";
                step_.on_acquired(store_.acquire(acquire.slots));
            },
            [&](command::Load& load) {
                last_command_ = "load";
                step_.on_loaded(store_.load(load.slots));
            },
            [&](command::OpenWindow&) {
                last_command_ = "open_window";
                step_.on_opened(store_.open_window(), now());
            },
            [&](command::FindLate& find) {
                last_command_ = "find_late";
                step_.on_late(store_.find_late(find.queries));
            },
            [&](command::StartRead& start) {
                last_command_ = "start_read";
                store_.start_read(start.request);
            },
            [&](command::FinishRead&) {
                last_command_ = "finish_read";
                step_.on_read(store_.finish_read(), now());
                if (telemetry_ != nullptr && step_.last_read_rows() > 0) {
                    telemetry_->observe("outbox_batch_size",
                                        static_cast<double>(step_.last_read_rows()),
                                        {&kDestination, 1});
                }
            },
            [&](command::Flush& flush) {
                last_command_ = "flush";
                step_.on_flushed(store_.flushed(flush.force), now());
            },
            [&](command::Publish& publish) {
                last_command_ = "publish";
                step_.on_published(broker_.publish(publish.envelopes), now());
                watch_destination();
            },
            [&](command::Poll& poll) {
                last_command_ = "poll";
                take_receipts(broker_.poll(poll.deadline));
                watch_destination();
            },
            [&](command::StoreCursors& cursors) {
                last_command_ = "store";
                step_.on_stored(store_.store(cursors.moves, cursors.parked), now());
            },
            [&](command::LookAt& look) {
                last_command_ = "look_at";
                step_.on_looked_at(store_.look_at(look.rows), now());
            },
            [&](command::Release& release) {
                last_command_ = "release";
                store_.release(release.slots);
                step_.on_released();
            },
            [&](command::Tidy& tidy) {
                last_command_ = "tidy";
                store_.tidy(tidy.slots);
                step_.on_tidied(now());
            },
            [&](command::Abandon& abandon) {
                last_command_ = "abandon";
                broker_.abandon(abandon.deadline);
                take_receipts(broker_.poll(Milliseconds{0}));
            },
            [&](command::Wait& wait) {
                last_command_ = "wait";
                turn.wake_at = wait.until;
            },
            [&](command::End&) {
                last_command_ = "end";
                turn.ended = true;
            },
        },
        next);
    return turn;
}

void Driver::take_receipts(std::vector<Receipt> receipts) {
    step_.on_receipts(receipts, clock_.now());
    if (telemetry_ == nullptr) return;
    if (const auto sample = step_.delivery().accepted_sample()) {
        telemetry_->observe("outbox_end_to_end_latency_seconds", seconds_since(*sample),
                            {&kDestination, 1});
    }
    for (const Receipt& receipt : receipts) {
        if (receipt.state != Receipt::State::refused) continue;
        const Field fields[] = {{"reason", receipt.reason}, {"detail", receipt.detail}};
        telemetry_->log(LogLevel::warning, "event_refused", fields);
    }
}

void Driver::take_store_error(const Error& error) {
    const bool is_new = store_error_.empty();
    store_error_ = std::string(error.code()) + ": " + error.what();
    step_.on_store_error(error, clock_.now());
    if (telemetry_ == nullptr || !is_new) return;
    const Field fields[] = {{"code", error.code()}, {"error", error.what()}, {"do", error.hint()}};
    telemetry_->log(LogLevel::warning, "store_unavailable", fields);
}

void Driver::watch_destination() {
    std::string down = broker_.down();
    const bool changed = down.empty() != step_.destination_down().empty();
    if (changed && telemetry_ != nullptr) {
        const Field fields[] = {{"reason", down}};
        telemetry_->log(down.empty() ? LogLevel::info : LogLevel::warning,
                        down.empty() ? "destination_up" : "destination_down", fields);
        telemetry_->gauge("outbox_destination_up", down.empty() ? 1 : 0, {&kDestination, 1});
    }
    step_.on_destination(std::move(down), clock_.now());
}

void Driver::report() {
    if (telemetry_ == nullptr) return;
    const core::Counters& now = step_.counters();
    const auto count = [&](std::string_view metric, std::uint64_t to, std::uint64_t from,
                           std::span<const Field> labels) {
        if (to > from) telemetry_->count(metric, static_cast<double>(to - from), labels);
    };
    const std::span<const Field> plain{&kDestination, 1};
    const auto failed = [](std::string_view reason) {
        return std::array<Field, 2>{kDestination, Field{"reason", reason}};
    };
    count("outbox_publish_attempts_total", now.attempts, reported_.attempts, plain);
    count("outbox_publish_failures_total", now.refused, reported_.refused, failed("refused"));
    count("outbox_publish_failures_total", now.unknown, reported_.unknown, failed("unknown"));
    const std::array<Field, 2> topic{kDestination, Field{"topic", "all"}};
    count("outbox_published_events_total", now.accepted, reported_.accepted, topic);
    if (now.accepted > reported_.accepted) {
        telemetry_->gauge("outbox_last_publish_timestamp_seconds", seconds_since(Time{}), plain);
    }
    if (step_.slots_owned() != slots_reported_) {
        slots_reported_ = step_.slots_owned();
        telemetry_->gauge("outbox_slots_owned", static_cast<double>(slots_reported_), plain);
        const std::string slots = std::to_string(slots_reported_);
        const Field fields[] = {{"slots", slots}};
        telemetry_->log(LogLevel::info, "slots_owned", fields);
    }
    reported_ = now;
}

}  // namespace sagaz::inline v0::relay
