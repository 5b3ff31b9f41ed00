#include "core/schema_name.hpp"
#include "core/text.hpp"
#include "inbox/run.hpp"

#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>

#include <fmt/format.h>

#include <utility>

namespace sagaz::inline v0 {
namespace {

constexpr std::size_t kConsumerNameMax = 255;

InboxOptions checked(InboxOptions options) {
    core::check_schema_name(options.schema);
    if (options.consumer_name.empty() || options.consumer_name.size() > kConsumerNameMax ||
        !core::is_text(options.consumer_name)) {
        throw Error(ErrorKind::invalid, "consumer_name", "not a consumer's name",
                    fmt::format("give 1 to {} bytes of UTF-8, the same for every replica of the "
                                "consumer and for ever",
                                kConsumerNameMax));
    }
    const Milliseconds none{0};
    if (options.max_attempts < 1 || options.lock_timeout < none || options.retry_initial < none ||
        options.retry_max < options.retry_initial) {
        throw Error(ErrorKind::invalid, "option_range",
                    "max_attempts or a duration of the inbox is out of range",
                    "max_attempts is at least 1, no duration is negative, and retry_max is at "
                    "least retry_initial");
    }
    return options;
}

}  // namespace

struct Inbox::Sql : inbox::Scripts {
    using Scripts::Scripts;
};

Inbox::Inbox(InboxOptions options, Telemetry* telemetry)
    : options_(checked(std::move(options))),
      sql_(std::make_shared<Sql>(options_.schema)),
      telemetry_(telemetry) {}

Inbox::Plain Inbox::process_in(UnitOfWork& unit, const Message& message,
                               const Handle& handle) const {
    return inbox::Run(unit, options_, *sql_, telemetry_).run({&message, 1}, handle)[0];
}

std::vector<Inbox::Plain> Inbox::process_batch_in(UnitOfWork& unit,
                                                  std::span<const Message> messages,
                                                  const Handle& handle) const {
    if (messages.size() > kBatchMax) {
        throw Error(
            ErrorKind::invalid, "too_many_events",
            fmt::format("{} messages in one batch, at most {} fit", messages.size(), kBatchMax),
            "process them in several batches");
    }
    return inbox::Run(unit, options_, *sql_, telemetry_).run(messages, handle);
}

std::optional<Inbox::Plain> Inbox::replay_in(
    UnitOfWork& unit, const std::function<void(const Message&)>& handle) const {
    return inbox::Run(unit, options_, *sql_, telemetry_).replay(handle);
}

Settlement Inbox::mark_in(Transaction& transaction, const Message& message) const {
    const inbox::Delivery delivery(message, options_, *sql_);
    if (delivery.has_id()) return delivery.mark(transaction, false);
    delivery.park(transaction, "id_missing", "the message carries no id");
    return Settlement::parked;
}

Settlement Inbox::failed_in(Transaction& transaction, const Message& message,
                            std::string_view cause) const {
    const inbox::Delivery delivery(message, options_, *sql_);
    const auto settlement =
        delivery.count(transaction, core::as_cause(cause), options_.max_attempts, 1, false)
            .settlement;
    inbox::Reporter(telemetry_, options_.consumer_name).failed(message.event.event_type);
    return settlement;
}

}  // namespace sagaz::inline v0
