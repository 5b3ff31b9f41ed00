#pragma once

#include <sagaz/inbox.hpp>
#include <sagaz/transaction.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What the inbox says to a database: the one place where dialects differ.
namespace sagaz::inline v0::inbox {

/// The statements of one dialect. Each list is run in order; the first row of the last one is the
/// answer. In all but `duration` and `reason` the first eight values are the same: $1 consumer,
/// $2 id, $3 source topic, $4 event type, $5 payload (bytes), $6 key, $7 headers (JSON), $8 content
/// type.
struct Script {
    std::vector<std::string> mark{};  ///< $9 on_failure, $10 keep payload, $11 lock time-out
    /// `mark` of several: $2 to $8 are arrays, and an outcome comes back for each, in a row of its
    /// own, up to the first that is in progress. Empty: there is none.
    std::string mark_all{};
    /// $9 cause, $10 attempts at most, $11 attempts now, $12 lock time-out
    std::vector<std::string> count{};
    std::vector<std::string> park{};      ///< $9 reason, $10 detail
    std::vector<std::string> reason{};    ///< $1 consumer, $2 id: why it is parked
    std::vector<std::string> duration{};  ///< $1 consumer, $2 id, $3 milliseconds
    /// $1 consumer, $2 on_failure, $3 keep payload: the parked message that is due, if one is, as
    /// `Due` has it.
    std::string due{};
    /// What taking it needs beside, $1 consumer, $2 position, $3 keep payload.
    std::vector<std::string> take{};
    /// $1 consumer, $2 id, $3 cause, $4 attempts at most, $5 and $6 waits in milliseconds
    std::vector<std::string> refuse{};
};

/// With "@schema@" in it. PostgreSQL's says what the functions of its migration do; SQLite has no
/// functions, so there the same steps are statements (script_sqlite.cpp).
Script postgres_script();
Script sqlite_script();

/// The statements as they are sent, made once an inbox and not once a message.
class Scripts {
public:
    explicit Scripts(std::string_view schema);
    const Script& of(Dialect dialect) const noexcept {
        return dialect == Dialect::sqlite ? sqlite_ : postgres_;
    }

private:
    Script postgres_;
    Script sqlite_;
};

/// A message as the tables take it: every text is one, whatever bytes came, and what must fit an
/// index does. Views into the message, the options and the scripts, which outlive it.
class Delivery {
public:
    Delivery(const Message& message, const InboxOptions& options, const Scripts& scripts);

    /// False when nothing identifies the message; it is then named after its place in the broker.
    bool has_id() const noexcept { return has_id_; }
    const Message& message() const noexcept { return *message_; }

    /// Runs in the open transaction. `waits` is false where the connection's own time-outs count.
    Settlement mark(Transaction& transaction, bool waits) const;

    /// How many of `deliveries`, from the first on, one statement marks: 0 where it marks none.
    static std::size_t together(std::span<const Delivery> deliveries, Dialect dialect);
    /// Marks them in the open transaction, in their order, up to the first that is in progress; as
    /// many outcomes. Before the commit `kCloseMarks` has to say that all are handled.
    static std::vector<Settlement> mark_all(Transaction& transaction,
                                            std::span<const Delivery> deliveries);

    struct Counted {
        Settlement settlement{};
        int attempts{};
    };
    /// Adds `counted` attempts; parks at `attempts_max`. `waits` as for `mark`.
    Counted count(Transaction& transaction, std::string_view cause, int attempts_max, int counted,
                  bool waits) const;

    void park(Transaction& transaction, std::string_view reason, std::string_view detail) const;
    std::string reason(Transaction& transaction) const;
    void keep_duration(Transaction& transaction, double seconds) const;

private:
    std::vector<Parameter> values() const;
    std::optional<std::string> lock_timeout(bool waits) const;
    void add_options(std::vector<Parameter>& values,
                     const std::optional<std::string>& patience) const;
    std::size_t bytes() const noexcept;

    const Message* message_;
    const InboxOptions* options_;
    const Scripts* scripts_;
    std::string id_;
    bool has_id_{};
    std::string source_topic_;
    std::string event_type_;
    std::optional<std::string> key_;
    std::optional<std::string> headers_;
    std::string content_type_;
};

/// After `Delivery::mark_all` and the handlers: from here on the transaction may be committed.
inline constexpr std::string_view kCloseMarks = "CLOSE sagaz_batch";

/// A parked message that was taken out to be handled again; its mark is set. `duplicate`: it was
/// before.
struct Due {
    Settlement settlement{};
    Message message{};
};

/// Runs in the open transaction. None: nothing is due.
std::optional<Due> take_due(Transaction& transaction, const InboxOptions& options,
                            const Scripts& scripts);

/// Counts an attempt of one that was taken, after the rollback.
Delivery::Counted refuse_due(Transaction& transaction, const InboxOptions& options,
                             const Scripts& scripts, const std::string& id, std::string_view cause);

}  // namespace sagaz::inline v0::inbox
