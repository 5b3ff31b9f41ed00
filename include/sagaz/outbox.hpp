#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>
#include <sagaz/transaction.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace sagaz::inline v0 {

class OptimisticPublisher;

namespace core {
class Holds;
}  // namespace core

/// What `append` gives back: the identities of the events of one transaction. Movable, and
/// mergeable so that one ticket can stand for everything a transaction appended.
///
/// One of an `Outbox` that belongs to a publisher is to be handed to it after the commit. Dropped
/// instead, it gives its hold back in the background, so that the relay takes its events at its
/// next look. It may be dropped on any thread, and never waits nor throws.
class SAGAZ_EXPORT Ticket {
public:
    /// One appended row as the database returned it.
    struct Entry {
        Id event_id{};
        std::int64_t position{};      ///< The row's place in the log.
        std::uint64_t transaction{};  ///< The transaction id that wrote it; SQLite: its position.
        std::int16_t slot{};
        Id incarnation{};       ///< Of the database's memory at that moment; zero: none yet.
        std::uint64_t order{};  ///< The same for events of one (topic, key); zero: not known.
        std::size_t bytes{};    ///< Of payload and headers; zero: not known.
    };

    Ticket() noexcept;
    explicit Ticket(std::vector<Entry> entries);
    Ticket(Ticket&&) noexcept;
    Ticket& operator=(Ticket&&) noexcept;
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    ~Ticket();

    /// The event ids in the order of their appends.
    const std::vector<Id>& ids() const noexcept { return ids_; }
    std::span<const Entry> entries() const noexcept { return entries_; }

    /// Takes over everything `other` stands for. Only for events of the same transaction.
    void merge(Ticket&& other);

private:
    friend class Outbox;
    friend class OptimisticPublisher;
    void give_back() noexcept;

    std::shared_ptr<core::Holds> holds_;  ///< Whom its holds are given back to; null: it has none.
    std::chrono::steady_clock::time_point hold_ends_{};  ///< Not before; zero: not known.
    std::vector<Entry> entries_;
    std::vector<Id> ids_;
};

/// What became of a transaction whose COMMIT was not answered.
enum class CommitOutcome {
    committed,  ///< Its events are there: go on as after a successful commit.
    aborted,    ///< They are not, and cannot appear any more: run the transaction again.
    /// It is still running: its COMMIT may be on its way, or wait for a standby, or the
    /// transaction is prepared. Ask again, in a new transaction.
    wait,
    /// The database lost its memory since the append (a crash, a failover, a restore), or had not
    /// been attached to by a relay before it, and the events are not there. Whether they ever
    /// were cannot be told any more: look for the business rows themselves.
    lost,
    /// It is over, and the place of its events in the log has been emptied since; or nobody knows
    /// the events: the ticket was given to a publisher. Look for the business rows themselves.
    unknown,
};

/// Writes events into the caller's own transaction. Stateless and thread-safe; never commits.
/// An event is published if, and only if, that transaction commits.
class SAGAZ_EXPORT Outbox {
public:
    /// `schema` names where the tables live; throws `invalid` (`schema_name`) for anything but
    /// a plain identifier of letters, digits and underscores.
    explicit Outbox(std::string schema = "sagaz");

    /// For events that `publisher` will send: while it would, each append takes a hold, so that the
    /// relay leaves the event alone for its `grace`. The same INSERT and the same round trip.
    /// Writes into the publisher's `OptimisticOptions::schema`; its role needs the right to write
    /// `held_until` (`sagaz_publisher`). May outlive the publisher: then it is a plain one.
    explicit Outbox(OptimisticPublisher& publisher);

    /// Appends one event in the open transaction behind `driver` (a `PGconn*`, a `sqlite3*`, or
    /// any type with an `Adapter`). One round trip. Throws `invalid` before anything is sent when
    /// the event is over a limit; the driver's own errors pass through.
    template <class Driver>
    Ticket append(Driver& driver, const Event& event) const {
        return append(driver, std::span<const Event>{&event, 1});
    }

    /// Appends several events in one round trip, in this order; at most `kEventsMax`.
    template <class Driver>
    Ticket append(Driver& driver, std::span<const Event> events) const {
        if constexpr (std::is_base_of_v<Transaction, Driver>) {
            return append_in(driver, events);
        } else {
            typename Adapter<Driver>::type transaction{driver};
            return append_in(transaction, events);
        }
    }

    /// The statement itself, for callers that run their own I/O (asio, userver, ODBC). Its
    /// parameters view into `event`, which must outlive it; an event without an id gets one from
    /// the database. Throws `invalid` as `append` does.
    ///
    /// With a publisher it takes a hold as `append` does. Make a ticket of what it returned
    /// (`ticket_of`) and hand it over, or drop it: otherwise nobody gives the hold back, and the
    /// event goes out when `grace` is over.
    Statement append_statement(const Event& event, Dialect dialect = Dialect::postgres) const;

    /// The ticket of `event`, of what its `append_statement` returned. Throws `fatal`
    /// (`unexpected_answer`) when that is something else.
    Ticket ticket_of(const Event& event, const Rows& returned) const;

    /// Tells what became of the transaction that `ticket` stands for, after the answer to its
    /// COMMIT was lost. Never a guess: `committed` and `aborted` are final. Events are found by
    /// their ids alone, since after a failover transaction ids and places in the log come again.
    ///
    /// `driver` is as for `append`, with a transaction of its own begun: a *new* one, best on a new
    /// connection, READ COMMITTED (one that keeps its snapshot is never told `aborted`), on the
    /// primary. One round trip (SQLite: one more than there are events, and BEGIN IMMEDIATE; it
    /// throws `busy` while the other writer is at work). Only reads; the driver's errors pass
    /// through, and then nothing is known: ask again.
    ///
    /// A ticket that was moved from is empty, and `unknown`. An event that was given an id by hand
    /// is the same event in each try, so `committed` may be that of an earlier one.
    template <class Driver>
    CommitOutcome resolve(Driver& driver, const Ticket& ticket) const {
        if constexpr (std::is_base_of_v<Transaction, Driver>) {
            return resolve_in(driver, ticket);
        } else {
            typename Adapter<Driver>::type transaction{driver};
            return resolve_in(transaction, ticket);
        }
    }

    static constexpr std::size_t kEventsMax = 1'000;  ///< Events of one call.

private:
    Ticket append_in(Transaction& transaction, std::span<const Event> events) const;
    CommitOutcome resolve_in(Transaction& transaction, const Ticket& ticket) const;

    std::string schema_;
    std::shared_ptr<core::Holds> holds_;  ///< Null: a plain one.
};

}  // namespace sagaz::inline v0
