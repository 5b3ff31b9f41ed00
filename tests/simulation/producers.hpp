#pragma once

#include "database.hpp"
#include "publisher_process.hpp"
#include "script.hpp"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sagaz::simulation {

/// The business: how many transactions, of what shape. Chances in parts of a thousand.
struct Business {
    int producers{3};
    int transactions{15};  ///< Of each producer.
    int hot_keys{2};
    int cold_keys{40};
    int null_keys{100};   ///< Events without a key.
    int early_xids{300};  ///< Transactions that write something before they lock a key.
    int long_transactions{100};
    Duration long_max{seconds{1}};
    Duration pause_max{milliseconds{40}};  ///< Between transactions.
    int savepoints{200};
    int rollbacks{80};
    int async_commits{300};
    int held{};      ///< Transactions whose events an optimistic publisher sends.
    int careless{};  ///< Of their tickets: dropped, handed over early or after a rollback.
    int copied{};    ///< Rows that a logical copy left, with equal positions.
};

/// Producers over a few hot keys and many cold ones. Each event is appended under the row lock of
/// its key, as guarantee 3 asks; everything else is left to the seed.
class Producers {
public:
    /// Some publisher that runs now; null: there is none.
    using PickPublisher = std::function<std::shared_ptr<PublisherProcess>()>;

    Producers(Scheduler& scheduler, SimDatabase& database, PickPublisher pick_publisher,
              const Business& business, std::uint64_t seed)
        : scheduler_(scheduler),
          database_(database),
          pick_publisher_(std::move(pick_publisher)),
          business_(business),
          random_(seed) {}

    void start();
    bool are_done() const { return running_ == 0; }

private:
    struct Work;

    Script produce(Random random);
    Duration upto(Random& random, Duration max) const {
        return Duration{
            static_cast<Duration::rep>(random.below(static_cast<std::uint64_t>(max.count()) + 1))};
    }
    NewEvent make_event(Random& random, const std::optional<std::string>& key, Duration hold);
    static Duration hold_of(const std::shared_ptr<PublisherProcess>& publisher);
    void append(SimDatabase::Tx tx, std::int64_t position, const NewEvent& event,
                SimTicket& ticket);
    std::vector<std::optional<std::string>> pick_keys(Random& random) const;

    Scheduler& scheduler_;
    SimDatabase& database_;
    PickPublisher pick_publisher_;
    Business business_;
    Random random_;
    int running_{};
    std::uint64_t made_{};
    Scripts scripts_;
};

}  // namespace sagaz::simulation
