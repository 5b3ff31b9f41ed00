#pragma once

#include "core/clock.hpp"
#include "core/relay_watch.hpp"

#include <sagaz/store.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

/// Which slots this relay owns, when it may take another's, and which one it should give away.
///
/// Why no clock can steal or freeze a slot. An owner proves that it lives by a counter. A
/// challenger takes a slot when (owner, epoch, counter) has not changed for `lease` on its own
/// monotonic clock, counting only time between two reads that both succeeded and were about as far
/// apart as planned: after an outage of the database every counter looks old, and a process that
/// was frozen itself has seen nothing in between.
///
/// Why a wrong guess costs repeats and nothing else. Whoever takes a slot raises its epoch, by one
/// statement that finds owner, epoch and counter as they were seen. Storing a cursor and parking
/// are one statement that finds (slot, owner, epoch) and locks the slot's row FOR SHARE, so it and
/// a take-over wait for each other: in an epoch that has passed nothing is stored and nothing
/// parked, whatever its owner still believes. The new owner reads the cursor in a later statement
/// than its take-over, so it starts where the last store of the old one ended, and sends from
/// there in the order of the log. What the old one sends late was sent by it before, or is sent by
/// the new one too, in the same order of each key: a repeat. Two that both think they own a slot,
/// or none that does, are therefore matters of cost, and so is everything that follows here.
///
/// How slots are spread. Each relay computes everybody's even share from the relays that it sees
/// alive (RelayWatch), ranked by id, and takes free slots up to its own share. One that has more
/// gives one slot away at a time: it stops reading it, lets what is on its way be settled, stores
/// the cursor, and releases it (RelayStep). So the next owner repeats nothing. It begins the next
/// move when no slot is free any more. When the events are not answered it reads on after `grace`
/// and tries another slot a lease later: a move is worth no longer pause than a held event.
///
/// Why differing views do not make slots wander. A slot is given away only when the relays seen
/// have been the same for a while, when somebody is below its share in the giver's own view, and
/// has looked at the slots a moment ago; and it is taken only by one that is below its share in
/// *its* view. If the two disagree, the slot is free for a while; then anybody takes it, and who
/// has more than its share by that leaves it so for a whole lease.
///
/// How long a moved slot's keys pause: from the release to the next look of a relay below its
/// share, kMovingMax, and the five statements from there to its first row.
namespace sagaz::inline v0::core {

class LeaseStep {
public:
    /// `grace`: for how long a slot to be given away may be left unread.
    LeaseStep(const Id& relay, Duration lease, Duration grace);

    /// When the store must be asked next.
    Instant observe_at() const noexcept { return observe_at_; }
    /// True when this relay could not beat for a whole lease: others may own its slots by now.
    bool is_stale(Instant now) const noexcept {
        return !owned_.empty() && now - seen_at_ >= lease_;
    }

    /// Takes what `observe` returned. Returns the slots that were lost to others.
    std::vector<std::int16_t> observed(const Observed& seen, Instant now);
    /// An `observe` failed: ask again then.
    void failed(Instant retry_at) noexcept { observe_at_ = retry_at; }

    /// Slots to acquire now: free, expired, or ours by a take-over whose answer was lost.
    const std::vector<SlotView>& claims() const noexcept { return claims_; }
    void acquired(std::span<const OwnedSlot> slots);

    /// The slot to be given to another relay: read no more of it, settle, store, and release it.
    /// May be taken back by the next look.
    std::optional<std::int16_t> leaving() const noexcept { return leaving_; }

    /// The slot is no longer ours: released, or taken by another.
    void lost(std::int16_t slot);
    /// Forgets everything: the database lost its memory.
    void forget();
    /// No more claims: this relay is stopping.
    void stop_claiming() noexcept;

    std::vector<OwnedSlot> owned() const;
    std::size_t owned_count() const noexcept { return owned_.size(); }
    /// Slots that nobody who lives owned at the last look; those taken since do not count.
    std::size_t without_owner() const;
    bool owns_all() const noexcept { return slot_count_ > 0 && owned_.size() == slot_count_; }

private:
    struct Watch {
        SlotView seen{};
        Duration silent{};
    };

    Duration calm_interval() const noexcept;
    Duration interval() const noexcept;
    void watch(const SlotView& slot, Duration counted);
    bool is_expired(const Watch& watch) const noexcept;
    void count_slots();
    bool is_below_its_share(const Id& relay) const;
    bool has_taker() const;
    bool is_moving() const;
    void choose_claims();
    void choose_leaving(Instant now);

    Id relay_;
    Duration lease_;
    Duration patience_;  ///< With a slot whose events are not answered.
    RelayWatch relays_;
    Instant observe_at_{};
    Instant seen_at_{};
    bool has_seen_{};
    bool claiming_{true};
    std::size_t slot_count_{};
    std::map<std::int16_t, Watch> watches_;
    std::map<std::int16_t, std::int64_t> owned_;
    std::vector<SlotView> claims_;
    std::map<Id, std::size_t> counts_;  ///< Slots of each owner at the last look.
    std::size_t free_count_{};          ///< Slots that nobody owned then.
    std::size_t share_{};               ///< What this relay should have.
    Duration settled_for_{};            ///< Since slots or relays last changed.
    std::optional<std::int16_t> leaving_;
    Instant leaving_since_{};
    std::optional<std::int16_t> stuck_;  ///< The last one that could not be given away.
    Instant give_at_{};                  ///< Gives nothing away before.
};

}  // namespace sagaz::inline v0::core
