#pragma once

#include "database.hpp"
#include "trace.hpp"

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sagaz::simulation {

/// What the destination and the cursors were told, checked against the truth in the database while
/// it happens and once more at the end. The promises, by their numbers in design section 3 (5 is
/// its section 5):
///
/// 1. Nothing is lost: every event of a surviving transaction arrived or is parked with a reason,
///    no stored cursor ever counts one that the broker has not accepted, and nothing is removed
///    from the log before.
/// 2. Nothing is published that did not commit, or whose commit is not on disk yet.
/// 3. First arrivals of a (topic, key) are in the order of appending under the key's lock; those of
///    parked events too, but with `park_event`. What an operator discarded has no order any more.
/// 4. A repeat has the same bytes.
/// 6. Only what the destination refuses is parked, or what stands behind it by policy.
/// 5. A relay leaves a held event to its publisher until the hold is over. What a publisher calls
///    published has arrived, and what it removes was accepted.
/// 4. In a run without faults there is none: starting, stopping and moving slots repeats nothing,
///    nor does what publishers send.
/// 7. Nothing of a stopped key arrives before the event that stopped it, unless that is discarded;
///    and nothing is un-parked that was not accepted.
class History {
public:
    History(const SimDatabase& database, Trace& trace) : database_(database), trace_(trace) {}

    /// Says whether the destination refuses an event, or did so before.
    void judge_refusals_by(std::function<bool(const LogRow&)> is_refused) {
        is_refused_ = std::move(is_refused);
    }

    void on_taken_by_relay(const Id& event_id, const std::string& who);
    void on_taken_by_publisher(const Id& event_id, const std::string& who);
    void on_arrived(EventIndex event, std::uint64_t bytes, const std::string& who);
    void on_accepted(EventIndex event);
    /// Before the statement that stores `cursor` and parks `parked` takes effect.
    void on_cursor(std::int16_t slot, const Cursor& cursor, const std::vector<ParkedEvent>& parked);
    void on_released(std::size_t slots) { moves_ += slots; }
    /// So long a relay leaves a held event alone.
    void expect_grace(Duration grace) { grace_ = grace; }
    /// Nothing goes wrong in this run, so nothing may repeat.
    void forbid_repeats() { forbids_repeats_ = true; }
    /// Before a row is marked as sent by a relay, or removed as sent by a publisher.
    void on_marked(const LogRow& row, const std::string& who);
    void on_removed(const LogRow& row, const std::string& who);
    /// Before a row is removed as delivered.
    void on_reclaimed(const LogRow& row, const std::string& who);
    /// Before the statement that takes it out of the parked ones.
    void on_unparked(EventIndex event);
    /// All is healed and quiet: what has not arrived by now is lost.
    void finish();

    void violation(std::string text);
    const std::vector<std::string>& violations() const { return violations_; }

    bool has_arrived(EventIndex event) const;
    bool is_settled(const LogRow& row) const;
    std::uint64_t repeats() const { return repeats_; }
    std::uint64_t moves() const { return moves_; }
    std::uint64_t marked() const { return marked_; }
    std::uint64_t first_arrivals() const { return first_arrivals_; }

private:
    struct Seen {
        std::uint64_t arrivals{};
        std::uint64_t bytes{};
        bool accepted{};
    };

    Seen& seen(EventIndex event);
    void check_durable(const LogRow& row, const std::string& who);
    void check_order(const LogRow& row);
    void check_parking(const LogRow& row, const ParkedEvent& parked);
    bool is_behind_a_refused_one(const LogRow& row) const;
    bool is_behind_one_that_is_missing(const LogRow& row) const;
    std::string name(const LogRow& row) const;

    const SimDatabase& database_;
    Trace& trace_;
    std::function<bool(const LogRow&)> is_refused_ = [](const LogRow&) { return false; };
    std::vector<Seen> seen_;
    std::map<std::pair<std::string, std::string>, EventIndex> newest_arrived_;
    std::vector<std::string> violations_;
    std::uint64_t repeats_{};
    std::uint64_t moves_{};
    std::uint64_t marked_{};
    bool forbids_repeats_{};
    Duration grace_{seconds{3'600}};
    std::uint64_t first_arrivals_{};
};

}  // namespace sagaz::simulation
