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
class StoppedIndex {
public:
    /// By what words events of a key stand in the table: its topic, or types that the template makes
    /// into that topic. Shared, since few slots know more than a few such sets.
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
        bool deferring{};           ///< What comes of it waits in memory instead of being parked.
    };

    /// That of a key which was refused a moment ago: RetryStep says when it is tried again.
    static constexpr Instant kJustRefused = Instant::min();

    bool empty() const noexcept { return stops_.empty(); }
    std::size_t size() const noexcept { return stops_.size(); }
    bool contains(const std::string& key) const { return stops_.contains(key); }
    Stop* find(const std::string& key);
    Stop& at(const std::string& key) { return stops_.at(key); }
    const Stop& at(const std::string& key) const { return stops_.at(key); }

    /// Stops a key, unless it is; events of it stand in the table by these words too.
    Stop& add(const std::string& key, const StoppedKey& words, Instant due);
    void erase(const std::string& key);
    void schedule(const std::string& key, Instant due);

    /// When the first one is due; Instant::max(): none is.
    Instant first_due() const noexcept;
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

    std::set<Ways> ways_;
    std::unordered_map<std::string, Stop> stops_;  ///< Its nodes stay where they are.
    std::set<Node*, ByDue> queue_;                 ///< All of them, by when they are due.
};

}  // namespace sagaz::inline v0::core
