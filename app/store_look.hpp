#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// What `status` wants to know of a database, in a few cheap statements.
namespace sagaz::inline v0::app {

struct StoreTarget;

struct BacklogLook {
    std::int64_t pending{};
    double oldest_age_seconds{};
    bool is_estimate{};
};

struct ParkedCount {
    std::string state{};
    std::string reason{};
    std::int64_t events{};
    std::string detail{};  ///< Of one of them: what was seen, and what to change.
};

struct RelayLook {
    std::string id{};
    std::string version{};
    double up_seconds{};
    double beat_age_seconds{};  ///< By the database's clock.
    std::int64_t beat{};
    std::int64_t published{};
    std::string down_reason{};  ///< Of the destination as this relay sees it; empty: up.
    std::int64_t down_for_ms{};

    /// Some beats may be lost to a busy machine; a relay beats at least every two seconds.
    bool is_alive() const { return beat_age_seconds < 15; }
};

struct SlotLook {
    std::int16_t slot{};
    std::string owner{};  ///< A relay's id; empty: none.
    std::int64_t epoch{};
};

struct StoreLook {
    int version{};
    int compatible_from{};  ///< The oldest version whose programs may work with the schema.
    BacklogLook backlog{};
    std::vector<ParkedCount> parked{};
    std::vector<RelayLook> relays{};
    std::vector<SlotLook> slots{};
};

/// Belongs to one thread; every call ends within `deadline_ms` and throws `sagaz::Error`.
class StoreWindow {
public:
    explicit StoreWindow(const StoreTarget& target, int deadline_ms = 10'000);
    ~StoreWindow();
    StoreWindow(const StoreWindow&) = delete;
    StoreWindow& operator=(const StoreWindow&) = delete;

    BacklogLook backlog();
    std::vector<ParkedCount> parked();
    std::vector<RelayLook> relays();
    StoreLook look();

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Events a second, from what each relay reported at two looks; negative: not known.
double rate_between(const std::vector<RelayLook>& before, const std::vector<RelayLook>& after);

/// Slots whose owner is none or has not reported lately.
std::int64_t slots_without_owner(const StoreLook& look);

/// Sentences on one thing each; empty when it is well.
std::string destination_sentence(const StoreLook& look);
std::string parked_sentence(const std::vector<ParkedCount>& parked);
std::string backlog_sentence(const StoreLook& look);

/// One sentence on what is wrong, the worst first; empty when nothing is. `newest` is the schema
/// version of this build.
std::string diagnosis(const StoreLook& look, int newest);

}  // namespace sagaz::inline v0::app
