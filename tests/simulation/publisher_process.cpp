#include "publisher_process.hpp"

#include <fmt/format.h>

#include <utility>

namespace sagaz::simulation {

constexpr milliseconds kStopWithin{200};

PublisherProcess::PublisherProcess(const Setup& setup)
    : Process(setup.world.scheduler, setup.world.trace, setup.who, setup.seed),
      history_(setup.world.history),
      database_(setup.world.database),
      options_(setup.options),
      clock_(setup.world.scheduler, setup.clock_rate, seconds{random_.below(1'000)}) {
    store_ = std::make_unique<SimPublisherStore>(setup.world, setup.store, who_, random_.next());
    broker_ = std::make_unique<SimBroker>(setup.destination, who_, random_.next(),
                                          SimBroker::User::publisher);
    driver_ = std::make_unique<publisher::Driver>(*store_, *broker_, options_, clock_, nullptr);
}

std::optional<Duration> PublisherProcess::hold() const {
    if (is_over() || !driver_->step().is_on()) return std::nullopt;
    if (driver_->step().breaker() == core::Breaker::State::open) return std::nullopt;
    return options_.grace;
}

void PublisherProcess::post(std::function<void()> task) {
    if (is_over()) return;
    posted_.push_back(std::move(task));
    wake();
}

void PublisherProcess::hand_over(const SimTicket& ticket) {
    post([this, ticket, at = clock_.now()] { take(ticket, at); });
}

void PublisherProcess::take(const SimTicket& ticket, Instant handed_over_at) {
    core::HandedOver handed;
    handed.call = next_call_++;
    for (const auto& [event, row, order] : ticket.rows) {
        handed.events.push_back({row, order, database_.row(event).payload.size()});
    }
    handed.at = clock_.now();
    handed.deadline = handed_over_at + options_.timeout;
    handed.hold_ends = clock_.at(ticket.appended_at) + options_.grace;
    open_[handed.call] = ticket;
    driver_->step().take(std::move(handed));
}

void PublisherProcess::give_back(const SimTicket& ticket) {
    post([this, ticket] {
        std::vector<RowRef> rows;
        for (const auto& row : ticket.rows) rows.push_back(row.row);
        driver_->step().give_back(rows);
    });
}

void PublisherProcess::enable(bool on) {
    post([this, on] { driver_->step().enable(on); });
}

void PublisherProcess::take_answers() {
    for (const auto& [call, published] : driver_->step().take_answers()) {
        const auto ticket = open_.find(call);
        if (ticket == open_.end()) {
            history_.violation(fmt::format("{} answered a ticket twice, or one of nobody", who_));
            continue;
        }
        ++(published ? published_ : left_[static_cast<std::size_t>(published.reason)]);
        for (const auto& row : ticket->second.rows) {
            if (published && !history_.has_arrived(row.event)) {
                history_.violation(fmt::format("{} called event {} published, which never arrived",
                                               who_, row.event));
            }
        }
        open_.erase(ticket);
    }
}

Process::Turn PublisherProcess::turn() {
    for (const auto& task : std::exchange(posted_, {})) task();
    const publisher::Turn turn = driver_->turn();
    take_answers();
    const bool is_posted = !posted_.empty();
    return {turn.ended, is_posted ? Duration{} : clock_.real(turn.wake_at) - scheduler_.now()};
}

void PublisherProcess::begin_stop() {
    driver_->step().stop(clock_.now(), clock_.now() + kStopWithin);
}

void PublisherProcess::vanish() {
    driver_.reset();
    broker_.reset();
    store_.reset();
    open_.clear();
    posted_.clear();
}

}  // namespace sagaz::simulation
