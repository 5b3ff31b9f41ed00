#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/export.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/publisher_store.hpp>
#include <sagaz/telemetry.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sagaz::inline v0 {

/// Limits and times of an optimistic publisher. Outside their range its constructor throws
/// `invalid` (`option_range`).
struct OptimisticOptions {
    bool enabled{true};
    std::string schema{"sagaz"};  ///< Where its Outboxes write: the schema of its store.
    Milliseconds timeout{500};    ///< From a call to its answer, at most; 10 ms to a minute.
    Milliseconds grace{1'500};    ///< From an append, how long the relay leaves its event alone;
                                  ///< above `timeout`, at most ten minutes. What a relay allows at
                                  ///< most is its own `RelayOptions::grace`.
    std::size_t queue_max{10'000};        ///< Events handed over and not answered; beyond it
                                          ///< `queue_full`. Costs about 300 bytes each; 1 to
                                          ///< 1,000,000.
    int breaker_failures{5};              ///< Failures in a row that open the breaker: then nothing
    Milliseconds breaker_initial{1'000};  ///< is sent until a try succeeds, the first after so
    Milliseconds breaker_max{5'000};      ///< long, doubled up to here. 10 ms to an hour.
};

/// Why an event was left to the relay. The first four are no trouble.
enum class LeftReason {
    disabled,       ///< Switched off, or stopped.
    late,           ///< It has no hold, or its hold was over, or nearly.
    behind,         ///< An earlier event of its key was not delivered in time.
    not_committed,  ///< Its transaction was rolled back, or had not committed.
    timeout,        ///< No answer in time. It may arrive.
    refused,        ///< The destination will not take it as it is: the relay will park it.
    unavailable,    ///< Database or destination cannot be reached.
    breaker_open,   ///< They could not be a moment ago, so this was not tried.
    queue_full,     ///< More is waiting than `queue_max`, or memory has run out.
    in_doubt,       ///< Sent, and the connection broke before the answer. It may arrive.
    not_durable,    ///< The database could not say in time that it is on disk.
};

/// The word for it in metrics and logs: "breaker_open".
SAGAZ_EXPORT std::string_view word_of(LeftReason reason) noexcept;

/// What became of a ticket: of all its events, or why not of the first that was not sent.
struct Published {
    bool published{};
    LeftReason reason{};  ///< Where it was not.
    explicit operator bool() const noexcept { return published; }
    bool operator==(const Published&) const = default;
};

/// Sends events right after their commit, so that they arrive a millisecond or two later instead of
/// a poll of the relay; whatever fails is left to the relay, which runs anyway.
///
/// Append through an `Outbox` made from it, commit, then hand the ticket over:
///
///     auto ticket = outbox.append(transaction, event);
///     transaction.commit();
///     publisher.publish_after_commit(std::move(ticket));
///
/// Nothing depends on it. An event is published if and only if its transaction commits, whether or
/// not the ticket is ever handed over: the publisher looks for the committed row and never trusts
/// its caller, and a relay publishes what the publisher did not. Messages are the same bytes on
/// both ways, and the order of a (topic, key) holds across all publishers and relays
/// (`PublisherStore`). An answer that was lost, or a process that was killed, makes a repeat with
/// the same id.
///
/// All functions but constructor and destructor may be called from any thread. The publisher has
/// one thread of its own, which owns store and broker. Its Outboxes and their tickets may outlive
/// it: then nothing of them is held or sent, and what is held still is given to the relay when its
/// time is over.
class SAGAZ_EXPORT OptimisticPublisher {
public:
    /// Throws `invalid` (`option_range`, `schema_name`) for an option that cannot be. Starts the
    /// thread and connects there, so that a database or broker that is down does not keep a service
    /// from starting. `telemetry` is borrowed and may be null; it gets the `outbox_optimistic_*`
    /// metrics.
    OptimisticPublisher(std::unique_ptr<PublisherStore> store, std::unique_ptr<Broker> broker,
                        OptimisticOptions options = {}, Telemetry* telemetry = nullptr);
    /// As `stop` with `timeout`.
    ~OptimisticPublisher();
    OptimisticPublisher(const OptimisticPublisher&) = delete;
    OptimisticPublisher& operator=(const OptimisticPublisher&) = delete;

    /// Waits until all events of the ticket were acknowledged or one of them is left to the relay,
    /// at most `timeout`. Call it after the commit: before, it is `not_committed`. An empty ticket
    /// is published. Not to be called from a callback of `submit`: it would wait for itself.
    Published publish_after_commit(Ticket&& ticket) noexcept;

    using Callback = std::function<void(Published)>;
    /// The same without waiting. `callback` may be empty; it is called once, on the publisher's
    /// thread or, when the answer is known at once, in the caller's. It must not throw (what it
    /// throws is logged and dropped), and what it takes long for delays other events.
    void submit(Ticket&& ticket, Callback callback = {}) noexcept;

    /// Off: appends take no hold, tickets are answered `disabled`, and what waits is given back.
    void enable(bool on) noexcept;

    /// Finishes what is on its way, gives back the holds of the rest, and ends the thread: within
    /// `deadline` and what a call of store or broker that hangs takes longer. Then everything is
    /// `disabled`. Twice is once. In a callback of `submit` it only begins.
    void stop(Milliseconds deadline) noexcept;

private:
    friend class Outbox;
    class Shell;
    std::shared_ptr<Shell> shell_;
};

}  // namespace sagaz::inline v0
