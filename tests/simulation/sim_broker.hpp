#pragma once

#include "history.hpp"
#include "scheduler.hpp"
#include "trace.hpp"

#include <sagaz/broker.hpp>

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace sagaz::simulation {

/// What a destination does to its users, in parts of a thousand where no unit is named.
struct BrokerFaults {
    int refused_events{};
    int refused_keys{};
    int refusals_end{};           ///< Of what is refused: so many are accepted after `mend`.
    int lost_acknowledgements{};  ///< Of each message: it arrived, the receipt says `unknown`.
    int breaks{};                 ///< Of each message: it did not arrive, the receipt says so.
    int partial_takes{};          ///< Of each publish: less is taken than would fit.
    std::size_t capacity{1000};   ///< Messages on their way at once.
    Duration delay_max{milliseconds{2}};
    bool outage_takes_nothing{true};
};

/// The destination itself, shared by all brokers: what arrived, and whether it can be reached.
class Destination {
public:
    Destination(Scheduler& scheduler, const SimDatabase& database, History& history, Trace& trace)
        : scheduler_(scheduler), database_(database), history_(history), trace_(trace) {}

    void set_faults(const BrokerFaults& faults, std::uint64_t seed);
    const BrokerFaults& faults() const { return faults_; }
    /// From now on all goes well; refusals that did not end are for good.
    void heal();
    /// Somebody removed the cause of some refusals.
    void mend() { mended_ = true; }

    bool is_refused(const LogRow& row) const;
    /// Refused now, or before.
    bool was_ever_refused(const LogRow& row) const;
    void set_down(bool down);
    bool is_down() const { return down_; }
    void note_break() { ++breaks_; }
    std::uint64_t breaks() const { return breaks_; }

    void arrive(EventIndex event, std::uint64_t bytes, const std::string& who) {
        history_.on_arrived(event, bytes, who);
    }

    Scheduler& scheduler() { return scheduler_; }
    const SimDatabase& database() const { return database_; }
    History& history() { return history_; }
    Trace& trace() { return trace_; }

private:
    std::uint64_t draw(std::string_view bytes) const;

    Scheduler& scheduler_;
    const SimDatabase& database_;
    History& history_;
    Trace& trace_;
    BrokerFaults faults_;
    std::uint64_t refusal_seed_{};
    bool down_{};
    bool mended_{};
    std::uint64_t breaks_{};
};

/// A broker client that keeps the three promises of sagaz/broker.hpp and nothing beyond them.
/// Messages arrive one by one in virtual time, in any order between keys; `poll` never waits: it
/// returns what is there and notes until when it would have waited.
class SimBroker final : public Broker {
public:
    enum class User { relay, publisher };

    SimBroker(Destination& destination, std::string who, std::uint64_t seed,
              User user = User::relay);
    /// What was on its way may still arrive, a prefix of each key, as bytes in a dead process's
    /// socket do.
    ~SimBroker() override;

    std::size_t publish(std::span<const Envelope> envelopes) override;
    std::vector<Receipt> poll(Milliseconds deadline) override;
    std::string down() const override;
    void abandon(Milliseconds deadline) override;

    /// Called whenever receipts have come.
    void wake_by(std::function<void()> wake);
    /// How long the last `poll` would have waited; zero when it had something.
    Duration poll_wait() const;
    void forget_poll();
    /// The process is stopped: nothing more leaves it until then.
    void freeze(Instant until);

private:
    struct Client;
    std::shared_ptr<Client> client_;
};

}  // namespace sagaz::simulation
