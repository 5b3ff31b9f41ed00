#pragma once

#include "process.hpp"
#include "publisher/driver.hpp"
#include "sim_broker.hpp"
#include "sim_publisher_store.hpp"

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sagaz::simulation {

/// What an append gave back: the rows as they were, and when their holds began.
struct SimTicket {
    struct Row {
        EventIndex event{};
        RowRef row{};
        std::uint64_t order{};
    };
    std::vector<Row> rows{};
    Instant appended_at{};
};

/// The rest of a service: its optimistic publisher, the product's driver on a simulated store and
/// broker, with a clock of its own that may be fast or slow.
class PublisherProcess final : public Process {
public:
    struct Setup {
        SimSession::World world;
        Destination& destination;
        OptimisticOptions options{};
        StoreFaults store{};
        int clock_rate{1'000};  ///< In parts of a thousand of the true time.
        std::string who{};
        std::uint64_t seed{};
    };

    explicit PublisherProcess(const Setup& setup);

    // By any thread of the service; the publisher's own takes it at its next turn.

    /// For how long an append of now is to be held; none: nobody would send it.
    std::optional<Duration> hold() const;
    void hand_over(const SimTicket& ticket);
    /// As a ticket that is dropped.
    void give_back(const SimTicket& ticket);
    void enable(bool on);
    void heal() {
        if (!is_over()) store_->heal();
    }
    /// Tickets that were handed over and not answered.
    std::size_t open() const { return is_over() ? 0 : open_.size() + posted_.size(); }
    std::uint64_t published() const { return published_; }
    /// Tickets that were left to the relay, by reason.
    using LeftCounts = std::array<std::uint64_t, core::kLeftReasons>;
    const LeftCounts& left() const { return left_; }

private:
    class OwnClock final : public core::Clock {
    public:
        OwnClock(const Scheduler& scheduler, int rate, Duration ahead)
            : scheduler_(scheduler), begin_(scheduler.now()), ahead_(ahead), rate_(rate) {}
        core::Instant now() const override { return at(scheduler_.now()); }
        core::Instant at(Instant real) const {
            return begin_ + ahead_ + (real - begin_) * rate_ / 1'000;
        }
        /// When this clock shows `mine`.
        Instant real(core::Instant mine) const {
            return begin_ + (mine - begin_ - ahead_) * 1'000 / rate_ + microseconds{1};
        }

    private:
        const Scheduler& scheduler_;
        Instant begin_;
        Duration ahead_;
        int rate_;
    };

    Turn turn() override;
    void begin_stop() override;
    void freeze_clients(Instant until) override { broker_->freeze(until); }
    void vanish() override;
    void post(std::function<void()> task);
    void take(const SimTicket& ticket, Instant handed_over_at);
    void take_answers();

    History& history_;
    const SimDatabase& database_;
    OptimisticOptions options_;
    OwnClock clock_;
    std::unique_ptr<SimPublisherStore> store_;
    std::unique_ptr<SimBroker> broker_;
    std::unique_ptr<publisher::Driver> driver_;
    std::vector<std::function<void()>> posted_;
    std::map<std::uint64_t, SimTicket> open_;  ///< By call.
    std::uint64_t next_call_{1};
    std::uint64_t published_{};
    LeftCounts left_{};
};

}  // namespace sagaz::simulation
