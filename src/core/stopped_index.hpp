#pragma once

#include "core/clock.hpp"

#include <sagaz/store.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace sagaz::inline v0::core {

/// The stopped keys of a slot, and when each is to be looked at: the only place where they are
/// remembered, since there may be millions of them. A key is named by its topic as it is sent, a
/// zero byte (no topic holds one), and the key.
///
/// Only so many are known by name. Of the *others*, all of which have events in the table and none
/// in memory but what waits to be put there, a hash is kept, enough to stop them, and when they are
/// due. When some are the slot is loaded again, and those that have been due for longest are taken
/// by name (`take`), so that all are tried in turn; of the dead nothing comes, so they are last.
/// Why that is safe: a key leaves the names only for the hashes, by a load that found it in the
/// table or when it is known to be there, and it leaves the hashes only by a load, which either
/// takes it by name or found nothing of it in the table. (Somebody may have discarded what an
/// attempt has on its way, so none is made meanwhile: RelayStep. One by an owner that does not know
/// that it was overtaken tells what a look would tell it: RetryStep.) Two keys with one hash: the
/// innocent one waits behind itself and is tried in its turn, and nothing of the guilty one goes
/// on.
class StoppedIndex {
public:
    /// By what words events of a key stand in the table: its topic, or types that the template
    /// makes into that topic. Shared, since few slots know more than a few such sets.
    struct Ways {
        bool by_topic{};
        std::set<std::string> types{};
        auto operator<=>(const Ways&) const = default;
    };

    /// A key that must not be sent: an event of it is parked, or about to be. See RetryStep.
    struct Stop {
        const Ways* ways{};
        std::uint64_t parked_to{};  ///< One past the last entry of it that was marked `parking`.
        Instant due{};              ///< Of the next look at it.
        std::uint16_t run_max{1};   ///< Events of the next attempt; more after an acceptance.
        bool is_waiting{};          ///< Not tried: a load is to bring its words.
        bool deferring{};           ///< What comes of it waits in memory instead of being parked.
        bool is_dead{};             ///< By the last look: only an operator can make it go on.
    };

    /// That of a key which was refused a moment ago: RetryStep says when it is tried again.
    static constexpr Instant kJustRefused = Instant::min();

    bool empty() const noexcept { return stops_.empty(); }
    std::size_t size() const noexcept { return stops_.size(); }
    bool contains(const std::string& key) const { return stops_.contains(key); }
    Stop* find(const std::string& key);
    Stop& at(const std::string& key) { return stops_.at(key); }
    const Stop& at(const std::string& key) const { return stops_.at(key); }

    /// True when events of it must not be sent, known by name or not.
    bool stops(const std::string& key) const { return contains(key) || is_other(key); }
    bool has_others() const noexcept { return !others_.empty(); }

    /// Stops a key, unless it is; events of it stand in the table by these words too.
    Stop& add(const std::string& key, const StoppedKey& words, Instant due);
    void erase(const std::string& key);

    struct Found {
        std::string key{};
        StoppedKey words{};
    };
    /// What a load found: all that stands in the table. By name are then about `max`.
    void take(const std::vector<Found>& found, std::size_t max, Instant now);
    /// Keeps only the hash of those of which `is_idle` is true, so that all of them is in the
    /// table: of the waiting ones, and when the names are more than `max`, of all. (But of one that
    /// was just refused it is not known when it is due.)
    template <class IsIdle>
    void forget_names(std::size_t max, IsIdle is_idle) {
        const bool are_many = queue_.size() > max;
        std::vector<std::string> idle;
        for (const auto& [key, stop] : stops_) {
            const bool may_go = stop.is_waiting || (are_many && stop.due != kJustRefused);
            if (may_go && !stop.deferring && is_idle(key, stop)) idle.push_back(key);
        }
        forget(idle);
    }
    /// True when each of those that a load took by name was looked at: others may have their turn.
    bool is_looked_through() const noexcept;
    void schedule(const std::string& key, Instant due);

    /// When the first one is due; Instant::max(): none is.
    Instant first_due() const noexcept;
    /// When the first of the others is; one that nobody looked at since it was learned of is.
    Instant first_other_due() const noexcept { return first_other_due_; }
    /// The same without the dead ones, of which nothing will come.
    Instant first_living_other_due() const noexcept { return first_living_other_due_; }
    /// The first ones that are due, at most `max`, by when.
    std::vector<std::string> due(Instant now, std::size_t max) const;
    /// Every way to name the key in a question to the store.
    std::vector<StoppedKey> words_of(const std::string& key, std::int16_t slot) const;

private:
    using Node = std::unordered_map<std::string, Stop>::value_type;
    struct ByDue {
        bool operator()(const Node* one, const Node* other) const noexcept {
            return one->second.due != other->second.due ? one->second.due < other->second.due
                                                        : one < other;
        }
    };

    /// There may be millions, so it is small.
    struct Other {
        std::uint64_t hash{};
        std::int64_t mark{};  ///< When it is due, in half milliseconds; odd: it is dead.

        Instant due() const noexcept { return Instant{Milliseconds{mark >> 1}}; }
        bool is_dead() const noexcept { return (mark & 1) != 0; }
    };

    static std::uint64_t hash_of(const std::string& key);
    static const Other* find_in(const std::vector<Other>& others, std::uint64_t hash);
    bool is_other(const std::string& key) const;
    void forget(const std::vector<std::string>& keys);
    void order_others(std::size_t sorted);
    void drop_unused_ways();

    std::set<Ways> ways_;
    std::unordered_map<std::string, Stop> stops_;  ///< Its nodes stay where they are.
    std::set<Node*, ByDue> queue_;  ///< All but the waiting ones, by when they are due.
    std::vector<Other> others_;     ///< Sorted by hash.
    Instant first_other_due_{Instant::max()};
    Instant first_living_other_due_{Instant::max()};
};

}  // namespace sagaz::inline v0::core
