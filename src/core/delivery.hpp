#pragma once

#include "core/envelope.hpp"
#include "core/slot_ledger.hpp"
#include "core/stopped_index.hpp"
#include "core/window.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/store.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

/// From rows to receipts: what is sent next, what is on its way, which keys must wait.
///
/// Why a key stays in order. Rows enter the queue in the order of their slot and leave it in that
/// order; the broker promises that nothing overtakes within a key, and that after any receipt that
/// is not `accepted` nothing is on its way any more ("a break settles everything"). So after a
/// break the queue is built again from the first entry that is not finished, and a key whose event
/// was refused is stopped before anything later of it is sent again. A held row stops its key the
/// same way until it is gone, released, or has been left long enough (held_rows.cpp).
namespace sagaz::inline v0::core {

/// A slot this relay owns.
struct OwnedLog {
    OwnedLog(const OwnedSlot& owned, const Cursor& cursor, std::uint64_t gate, std::uint64_t number)
        : slot(owned),
          generation(number),
          window(owned.slot, cursor, gate),
          ledger(owned.slot, cursor) {}

    /// A key that waits behind a held row, which is the front of `waiting`; or one that is stopped
    /// and about to go on (`deferring`), whose front may be any. Others of it may be held, or gone.
    struct KeyHold {
        std::deque<std::uint64_t> waiting{};
    };

    OwnedSlot slot;
    std::uint64_t generation;  ///< Tells this ownership from an earlier one of the same slot.
    SlotWindow window;
    SlotLedger ledger;
    Instant opened_at{};
    StoppedIndex stopped{};
    Instant turn_at{};  ///< Not loaded again before, for the stopped keys' turns.
    std::unordered_map<std::string, KeyHold> holds{};
    std::size_t waiting{};  ///< Rows in `holds`.
};

struct Counters {
    std::uint64_t accepted{};
    std::uint64_t attempts{};
    std::uint64_t refused{};
    std::uint64_t unknown{};
    std::uint64_t parked{};  ///< Stored as parked, and not accepted since.
};

class Delivery {
public:
    explicit Delivery(Duration grace) : grace_(grace) {}
    /// So many stopped keys of a slot are known by name, about.
    void limit_stopped(std::size_t max) noexcept { stopped_max_ = max; }

    void configure(const Settings& settings);
    void add(const OwnedSlot& slot, const Cursor& cursor, std::uint64_t gate);
    /// All keys of the slot of which something is parked, from a load.
    void stop_keys(std::int16_t slot, std::span<const StoppedKey> keys, Instant now);
    /// A slot that is to be loaded again, for the keys that are not known by name and are due.
    std::optional<OwnedSlot> take_turn(Instant now);
    /// After a store: what of the stopped keys need not be known by name any more.
    void forget_names(OwnedLog& log);
    void remove(std::int16_t slot);
    void clear();

    OwnedLog* find(std::int16_t slot);
    /// By slot, whatever the order in which they were taken over: a read asks in this order and
    /// gets its rows in it.
    const std::vector<std::unique_ptr<OwnedLog>>& logs() const noexcept { return logs_; }

    /// Takes the rows of a read.
    void take(std::unique_ptr<Batch> batch, Instant now);

    /// The envelopes to publish next: at most `max`, only rows whose gate is at or below `flushed`.
    /// Valid until the next call of `published`.
    std::span<const Envelope> prepare(std::size_t max, std::uint64_t flushed);
    /// The broker took the first `count` of them.
    void published(std::size_t count);
    void receive(std::span<const Receipt> receipts);
    /// Nothing more will be sent; what is not on its way is dropped.
    void stop_sending();

    /// True when something waits to be sent, and the gate of the first such row.
    bool has_ready();
    std::uint64_t first_gate();
    std::size_t in_flight() const noexcept { return flights_.size() - answered_; }
    std::size_t unsettled() const;
    /// Rows to be sent or on their way.
    std::size_t flowing() const noexcept { return queue_.size() + in_flight(); }
    std::size_t bytes() const noexcept { return pool_.bytes(); }
    /// True when the last receipts included one that was not accepted. Cleared by the call.
    bool take_broke() noexcept { return std::exchange(broke_, false); }

    // Stopped keys, for RetryStep; in stopped_keys.cpp.

    /// True once after an event was marked `parking` that stops nothing but itself.
    bool take_parked_alone() noexcept { return std::exchange(parked_alone_, false); }
    bool has_parked_alone() const noexcept { return parked_alone_; }
    /// What comes of a stopped key waits in memory from now on, or is parked again.
    void defer_key(OwnedLog& log, const std::string& key);
    void park_key(OwnedLog& log, const std::string& key);
    /// True while entries of the key are marked `parking`, so not yet in the table.
    static bool has_parking(const OwnedLog& log, const std::string& key);
    /// Every parked event of the key was accepted or discarded: what comes of it is sent again.
    void resume_stopped(OwnedLog& log, const std::string& key);
    OnRefused on_refused() const noexcept { return settings_.on_refused; }
    void count_parked(std::span<const Parking> parked);
    /// One that was parked, by whomever, has been accepted.
    void count_accepted(const Row& row);

    // Rows that an optimistic publisher may still send; in held_rows.cpp.

    /// The held rows that are to be looked at now, at most `max`; `looked_at` answers, in their
    /// order. Those of a call that had no answer come again.
    std::vector<RowRef> ask_held(std::size_t max, Instant now);
    void looked_at(std::span<const HoldState> states, Instant now);
    /// When the first is to be looked at; Instant::max(): none is held.
    Instant look_at() const;
    /// True while a row that had been held, and is the relay's now, is not settled.
    bool has_taken_over() const noexcept { return !taken_over_.empty(); }
    /// Of those, at most `max` that were accepted before the last call and that no stored cursor
    /// passes: they are to be marked. Each comes once.
    std::vector<RowRef> to_be_marked(std::size_t max);

    BatchPool& pool() noexcept { return pool_; }
    Counters& counters() noexcept { return counters_; }
    const Counters& counters() const noexcept { return counters_; }
    std::uint64_t headers_dropped() const noexcept {
        return encoder_ ? encoder_->headers_dropped() : 0;
    }
    /// Accepted events by topic since the last call, for the metrics.
    using TopicCounts = std::map<std::string, std::uint64_t, std::less<>>;
    TopicCounts take_published() {
        last_published_ = nullptr;
        return std::exchange(published_, {});
    }
    /// When the events of the last receipts were appended: a sample, for the latency metric.
    std::optional<Time> accepted_sample() const noexcept { return accepted_sample_; }

private:
    struct Ref {
        std::int16_t slot{};
        std::uint64_t generation{};
        std::uint64_t sequence{};
    };
    struct Flight {
        Ref ref{};
        bool answered{};
    };
    struct Held {
        Ref ref{};
        Instant seen_at{};
        Instant due{};  ///< To be looked at.
    };
    struct TakenOver {
        Ref ref{};
        bool was_accepted{};  ///< At the last call of `to_be_marked`.
    };

    std::string key_of(const Row& row, std::uint64_t sequence);
    void place(OwnedLog& log, std::uint64_t sequence, Instant now);
    void wait(OwnedLog& log, std::uint64_t sequence, const std::string& key, Instant now);
    void resume_key(OwnedLog& log, const std::string& key);
    void ask_again(const Held& held);
    Entry* resolve(const Ref& ref);
    void settle(const Receipt& receipt, std::vector<std::pair<Ref, const Receipt*>>& refused);
    void count_published(const Row& row);
    void refuse(const Ref& ref, const Receipt& receipt);
    void park_behind(OwnedLog& log, std::uint64_t after, const std::string& key);
    void park_stopped(OwnedLog& log, std::uint64_t sequence, const std::string& key);
    void rebuild_queue();

    static bool is_idle(const OwnedLog& log, const std::string& key,
                        const StoppedIndex::Stop& stop);

    Duration grace_;
    std::size_t stopped_max_{10'000};
    Settings settings_;
    std::optional<EnvelopeEncoder> encoder_;
    std::vector<std::unique_ptr<OwnedLog>> logs_;
    std::vector<OwnedLog*> by_slot_;
    std::uint64_t next_generation_{1};
    BatchPool pool_;
    std::deque<Ref> queue_;
    std::vector<Held> held_;  ///< A heap, the first due at its front.
    std::vector<Held> asked_;
    std::vector<TakenOver> taken_over_;
    std::vector<Ref> prepared_;
    std::vector<Envelope> envelopes_;
    std::deque<Flight> flights_;
    std::uint64_t first_token_{1};  ///< Of the front of flights_.
    std::size_t answered_{};
    bool broke_{};
    bool sending_{true};
    bool parked_alone_{};
    std::set<Id> parked_here_;  ///< Of those counted as parked; the first ones, if there are many.
    Counters counters_;
    std::optional<Time> accepted_sample_;
    TopicCounts published_;
    TopicCounts::value_type* last_published_{};  ///< Of the latest event.
};

}  // namespace sagaz::inline v0::core
