#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>
#include <sagaz/transaction.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace sagaz::inline v0 {

/// What `append` gives back: the identities of the events of one transaction. Movable, and
/// mergeable so that one ticket can stand for everything a transaction appended.
class SAGAZ_EXPORT Ticket {
public:
    /// One appended row as the database returned it.
    struct Entry {
        Id event_id{};
        std::int64_t position{};      ///< The row's place in the log.
        std::uint64_t transaction{};  ///< The transaction id that wrote it; SQLite: its position.
        std::int16_t slot{};
        Id incarnation{};  ///< Of the database's memory at that moment; zero: none yet.
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
    std::vector<Entry> entries_;
    std::vector<Id> ids_;
};

/// Writes events into the caller's own transaction. Stateless and thread-safe; never commits.
/// An event is published if, and only if, that transaction commits.
class SAGAZ_EXPORT Outbox {
public:
    /// `schema` names where the tables live; throws `invalid` (`schema_name`) for anything but
    /// a plain identifier of letters, digits and underscores.
    explicit Outbox(std::string schema = "sagaz");

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
    Statement append_statement(const Event& event, Dialect dialect = Dialect::postgres) const;

    static constexpr std::size_t kEventsMax = 1'000;  ///< Events of one call.

private:
    Ticket append_in(Transaction& transaction, std::span<const Event> events) const;

    std::string schema_;
};

}  // namespace sagaz::inline v0
