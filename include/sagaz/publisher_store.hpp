#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>
#include <sagaz/store.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

/// The PublisherStore port: what an optimistic publisher asks of a database. Users open one
/// (sagaz::postgres::open_publisher, sagaz::sqlite::open_publisher) and hand it over; only a new
/// database backend implements it, proved by the conformance suite.
namespace sagaz::inline v0 {

/// What `confirm` says of one event.
enum class Verdict {
    ready,   ///< Its transaction committed, and it is the next of its key: its row is in the batch.
    behind,  ///< An earlier event of its key is not delivered yet. Ask again while there is time.
    late,    ///< Its hold is over, released, or would be before a send could end: the relay's.
    not_committed,  ///< Not there: rolled back, still running, or delivered and removed.
};

struct Confirmation {
    std::vector<Verdict> verdicts{};  ///< One for each event asked for, in their order.
    std::unique_ptr<Batch> batch{};   ///< The rows of the ready ones, in that order; never null.
    std::uint64_t gate{};             ///< They may be sent once the log is on disk up to here.
    std::uint64_t flushed{};          ///< Log position by which all is on disk.
};

/// Confirms, and settles, the events that a publisher sends past the relay. One object belongs to
/// one thread. Every call is one statement, ends within the store's own deadline and throws
/// `sagaz::Error` as a `Store` does.
///
/// What the publisher's order rests on. `confirm` says `ready` only for an event whose transaction
/// is visible, whose hold lasts for longer than `margin` more, and of whose (topic, key) no earlier
/// event is undelivered: neither in the log by the destination's *stored* cursor, nor parked. Two
/// transactions that write one key are ordered by a lock of the caller's rows, so when the later
/// one's event is there the earlier one's is, or has been delivered and removed. Where the store
/// cannot tell cheaply it says `behind`, which costs a wait and never the order.
class SAGAZ_EXPORT PublisherStore {
public:
    PublisherStore() = default;
    virtual ~PublisherStore();
    PublisherStore(const PublisherStore&) = delete;
    PublisherStore& operator=(const PublisherStore&) = delete;

    /// Connects, checks the schema, and learns what shapes bytes. Called first, and again after an
    /// error of the connection. Never writes the database's memory: that is a relay's to do, and
    /// without one every event is `late`.
    virtual Attached attach() = 0;

    /// `acknowledged` are events that the destination accepted from this publisher and that are
    /// not settled yet: they count as delivered.
    virtual Confirmation confirm(std::span<const RowRef> asked,
                                 std::span<const RowRef> acknowledged, Milliseconds margin) = 0;

    /// As `Store::flushed`.
    virtual std::uint64_t flushed(bool force) = 0;

    /// Removes events that the destination accepted, and ends the holds of those that this
    /// publisher will not send, or no longer, so that the relay takes them at its next look. What
    /// is not there any more, or is another event, is left alone; doing it twice changes nothing.
    virtual void settle(std::span<const RowRef> accepted, std::span<const RowRef> left) = 0;
};

}  // namespace sagaz::inline v0
