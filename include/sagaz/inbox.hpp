#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>
#include <sagaz/outcome.hpp>
#include <sagaz/telemetry.hpp>
#include <sagaz/transaction.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace sagaz::inline v0 {

/// What a parked message does to the later ones of its (source topic, key).
enum class OnFailure {
    park_key,    ///< They are parked behind it, so that the key's order holds.
    park_event,  ///< They go on. A message without a key never stops another.
};

/// When an attempt is written down.
enum class CountAttempts {
    after_failure,   ///< When the handler threw. Costs nothing while all is well; a handler that
                     ///< ends the process is not counted, and comes again without end.
    before_handler,  ///< Before the handler runs, in a commit of its own, so that one that ends the
                     ///< process is counted too. One more commit a message, and no batches.
};

struct InboxOptions {
    std::string consumer_name{};  ///< Required, at most 255 bytes; half of the mark's key.
    std::string schema{"sagaz"};
    int max_attempts{10};  ///< At least 1; the attempt of this number parks the message.
    OnFailure on_failure{OnFailure::park_key};
    CountAttempts count_attempts{CountAttempts::after_failure};
    bool keep_payload{};   ///< Beside the mark; its hash always is. A parked message keeps its own.
    bool keep_duration{};  ///< Fills `processing_duration_ms`: one more statement a message.
    Milliseconds lock_timeout{5'000};   ///< For another that handles the same message: then
                                        ///< `in_progress`. 0: as long as the connection allows.
    Milliseconds retry_initial{1'000};  ///< `retry_in` after the first attempt; it doubles.
    Milliseconds retry_max{60'000};
    /// The headers where a message without an id has it, in this order. None: `ce_id`,
    /// `message_id`, `id` (Debezium), `event_id` (the original sagaz).
    std::vector<std::string> id_headers{};
};

/// What a handler returned: its value, or `std::monostate` for one that returns nothing.
template <class Result>
using HandlerValue =
    std::conditional_t<std::is_void_v<Result>, std::monostate, std::decay_t<Result>>;

/// Lets a handler's effects in the database happen exactly once per (consumer, event).
///
/// The mark "seen" is inserted first, in the same transaction as the effects, and is unique; they
/// commit together or not at all. So it does not matter how often a message comes, or to how many
/// consumers at once. What a handler does outside that transaction (a mail, a call of another
/// service) happens at least once: hand the event's id on as an idempotency key.
///
/// What a consumer's loop does is decided by the outcome alone: settled means acknowledge, anything
/// else means that the message has to come again, not before `retry_in`. An `Error` is not about
/// the message but about the call, and nothing is acknowledged after one: `unavailable` and
/// `in_doubt` (the answer to COMMIT was lost; the repeat is a duplicate if it had committed) mean a
/// new connection; `invalid` and `fatal` that a person has to change something.
///
/// Of the handler's exceptions only `std::bad_alloc` and an `Error` that is `fatal` escape, after
/// the rollback and uncounted: they say that the process is broken. Every other one rolls back and
/// is `retry_later` with its text as the reason, so keep payloads out of it. An `Error` of kind
/// `conflict` or `unavailable`, or the driver's own exception that means it, is not the message's
/// fault and counts no attempt; `connection_lost` is thrown on. With a `PGconn*` let
/// `postgres::LibpqTransaction` run the handler's statements: it throws such errors, while an
/// exception of a type of your own says nothing of a deadlock or an outage, and counts.
///
/// Stateless and thread-safe; the connection belongs to the calling thread. Works in any isolation
/// level and through a pooler in transaction mode. Under REPEATABLE READ a message that one
/// consumer parks while another's batch with the same message runs may be both parked and
/// processed.
class SAGAZ_EXPORT Inbox {
public:
    /// Throws `invalid` (`consumer_name`, `schema_name`, `option_range`). `telemetry` is borrowed
    /// and may be null; it gets the `consumer_inbox_*` metrics.
    explicit Inbox(InboxOptions options, Telemetry* telemetry = nullptr);

    /// Handles `message` in a transaction of its own: mark, `handler(native, message)`, commit.
    /// `connection` is a `PGconn*` or any type with a `ConnectionAdapter`, and in no transaction
    /// (`invalid`, `transaction_open`). Returns an `Outcome` of what the handler returns. Blocks
    /// for two round trips (three where the adapter has no `begin_with` of its own, four with
    /// libpqxx), `lock_timeout` and the handler; a duplicate for as many. The handler must not end
    /// the transaction: `fatal` (`transaction_ended`) where that is seen, which a COMMIT or
    /// ROLLBACK with a BEGIN right behind it is not.
    template <class Connection, class Handler>
    auto process(Connection& connection, const Message& message, Handler&& handler) const {
        return with_unit(connection, [&](auto& unit) {
            using Value = ValueOf<decltype(unit), Handler>;
            std::optional<Value> value;
            return finish(process_in(unit, message,
                                     [&](std::size_t) { call(value, handler, unit, message); }),
                          value);
        });
    }

    /// Handles many messages in one transaction, in their order; an outcome each, in the same
    /// order. At most `kBatchMax`, or `invalid` (`too_many_events`) before anything is done. First
    /// without savepoints. When a handler throws, everything is rolled back and run
    /// again with a savepoint before each, so that only the failing ones are left out; after a
    /// deadlock or a serialization failure they run one by one. So a handler may run up to three
    /// times, of which one counts. After a message that has to come again, the later ones of its
    /// (source topic, key) are `retry_later` without being tried, so that order holds.
    template <class Connection, class Handler>
    auto process_batch(Connection& connection, std::span<const Message> messages,
                       Handler&& handler) const {
        return with_unit(connection, [&](auto& unit) {
            using Value = ValueOf<decltype(unit), Handler>;
            std::vector<std::optional<Value>> values(messages.size());
            auto plain = process_batch_in(unit, messages, [&](std::size_t n) {
                call(values[n], handler, unit, messages[n]);
            });
            std::vector<Outcome<Value>> outcomes;
            outcomes.reserve(plain.size());
            for (std::size_t n = 0; n < plain.size(); ++n) {
                outcomes.push_back(finish(std::move(plain[n]), values[n]));
            }
            return outcomes;
        });
    }

    /// For a unit of work of your own: sets the mark in the transaction that is open behind
    /// `driver`. `processed`: go on and commit. `duplicate` or `parked`: have no effect, commit,
    /// acknowledge. `in_progress`: roll back, it comes again. Waits for another that handles the
    /// same message as long as the connection's own lock_timeout says; the driver's errors pass
    /// through, and then the transaction has failed.
    template <class Driver>
    Settlement mark(Driver& driver, const Message& message) const {
        return with_transaction(
            driver, [&](Transaction& transaction) { return mark_in(transaction, message); });
    }

    /// After your rollback, in a new transaction that you commit: counts an attempt. `parked` when
    /// it was the last one (acknowledge), `duplicate` when another succeeded, else `retry_later`.
    /// `cause` is kept and shown: no payload in it.
    template <class Driver>
    Settlement failed(Driver& driver, const Message& message, std::string_view cause) const {
        return with_transaction(driver, [&](Transaction& transaction) {
            return failed_in(transaction, message, cause);
        });
    }

    /// Handles the next parked message that is due, as `process` does a message that comes: those
    /// that `sagaz parked replay --consumer` set free, and what stood behind them, in the order of
    /// their key. Nothing when none is due. Call it every few seconds until then, from the
    /// consumer's own loop or beside it with another connection; several at once share the work. A
    /// handler that throws costs an attempt, `retry_later`; after `max_attempts` it is `parked` and
    /// dead again. One that ends its process is not counted. Three round trips, and those of the
    /// handler.
    template <class Connection, class Handler>
    auto replay(Connection& connection, Handler&& handler) const {
        return with_unit(connection, [&](auto& unit) {
            using Value = ValueOf<decltype(unit), Handler>;
            std::optional<Value> value;
            std::optional<Outcome<Value>> outcome;
            auto plain = replay_in(
                unit, [&](const Message& message) { call(value, handler, unit, message); });
            if (plain) outcome = finish(std::move(*plain), value);
            return outcome;
        });
    }

    static constexpr std::size_t kBatchMax = 10'000;  ///< Messages of one `process_batch`.

private:
    using Plain = Outcome<std::monostate>;
    using Handle = std::function<void(std::size_t)>;  ///< Runs the handler for the n-th message.
    struct Sql;                                       ///< The statements for the schema.

    template <class Unit, class Handler>
    using ValueOf = HandlerValue<
        std::invoke_result_t<Handler&, decltype(std::declval<Unit>().native()), const Message&>>;

    template <class Connection, class Use>
    static auto with_unit(Connection& connection, Use&& use) {
        if constexpr (std::is_base_of_v<UnitOfWork, Connection>) {
            return use(connection);
        } else {
            typename ConnectionAdapter<Connection>::type unit{connection};
            return use(unit);
        }
    }

    template <class Driver, class Use>
    static Settlement with_transaction(Driver& driver, Use&& use) {
        if constexpr (std::is_base_of_v<Transaction, Driver>) {
            return use(driver);
        } else {
            typename Adapter<Driver>::type transaction{driver};
            return use(transaction);
        }
    }

    template <class Value, class Handler, class Unit>
    static void call(std::optional<Value>& value, Handler& handler, Unit& unit,
                     const Message& message) {
        value.reset();
        if constexpr (std::is_void_v<std::invoke_result_t<Handler&, decltype(unit.native()),
                                                          const Message&>>) {
            std::invoke(handler, unit.native(), message);
            value.emplace();
        } else {
            value.emplace(std::invoke(handler, unit.native(), message));
        }
    }

    template <class Value>
    static Outcome<Value> finish(Plain&& plain, std::optional<Value>& value) {
        Outcome<Value> outcome{plain.settlement, {}, plain.retry_in, std::move(plain.reason)};
        if (outcome.settlement == Settlement::processed) outcome.value = std::move(value);
        return outcome;
    }

    Plain process_in(UnitOfWork& unit, const Message& message, const Handle& handle) const;
    std::vector<Plain> process_batch_in(UnitOfWork& unit, std::span<const Message> messages,
                                        const Handle& handle) const;
    std::optional<Plain> replay_in(UnitOfWork& unit,
                                   const std::function<void(const Message&)>& handle) const;
    Settlement mark_in(Transaction& transaction, const Message& message) const;
    Settlement failed_in(Transaction& transaction, const Message& message,
                         std::string_view cause) const;

    InboxOptions options_;
    std::shared_ptr<const Sql> sql_;
    Telemetry* telemetry_;
};

/// The shape of the original sagaz: a connection and a consumer, fields instead of a message.
/// Borrows the connection.
template <class Connection>
class ConsumerInbox {
public:
    ConsumerInbox(Connection& connection, std::string consumer_name, Telemetry* telemetry = nullptr)
        : ConsumerInbox(connection, named(std::move(consumer_name)), telemetry) {}
    ConsumerInbox(Connection& connection, InboxOptions options, Telemetry* telemetry = nullptr)
        : connection_(&connection), inbox_(std::move(options), telemetry) {}

    /// As `Inbox::process`. `handler` takes the payload alone, or the transaction and the message.
    template <class Handler>
    auto process_idempotent(std::string event_id, std::string source_topic, std::string event_type,
                            std::string payload, Handler&& handler) {
        const Message message{
            .id = std::move(event_id),
            .event = {.event_type = std::move(event_type), .payload = std::move(payload)},
            .source_topic = std::move(source_topic)};
        if constexpr (std::is_invocable_v<Handler&, const std::string&>) {
            return inbox_.process(*connection_, message, [&](auto&, const Message& m) {
                return std::invoke(handler, m.event.payload);
            });
        } else {
            return inbox_.process(*connection_, message, handler);
        }
    }

private:
    static InboxOptions named(std::string consumer_name) {
        InboxOptions options;
        options.consumer_name = std::move(consumer_name);
        return options;
    }

    Connection* connection_;
    Inbox inbox_;
};

}  // namespace sagaz::inline v0
