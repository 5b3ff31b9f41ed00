#pragma once

#include <sagaz/event.hpp>

#include <optional>
#include <string>

namespace sagaz::inline v0 {

/// What became of one message at the inbox. A closed set; the first three mean: acknowledge it.
enum class Settlement { processed, duplicate, parked, retry_later, in_progress };

/// A settlement with what the handler returned. `value` is set only when `processed`, so that a
/// duplicate is never mistaken for a handler that returned nothing.
template <class T>
struct Outcome {
    Settlement settlement{Settlement::retry_later};
    std::optional<T> value{};
    Milliseconds retry_in{};  ///< For `retry_later` and `in_progress`: not before.
    std::string reason{};     ///< For `parked` and `retry_later`: the cause, without payload.

    /// True when the message may be acknowledged: it will never have to come again.
    bool is_settled() const noexcept { return settlement <= Settlement::parked; }
};

/// What a handler answers. A `Settlement` or any `Outcome` becomes one by itself, so that a handler
/// may end with `return inbox.process(...)`.
struct Reply {
    Settlement settlement{Settlement::retry_later};
    Milliseconds retry_in{};  ///< For `retry_later` and `in_progress`: not before. Zero: the
                              ///< consumer's own backoff. Taken as 10 ms to an hour.

    Reply(Settlement said, Milliseconds wait = {}) : settlement(said), retry_in(wait) {}
    template <class T>
    Reply(const Outcome<T>& outcome) : settlement(outcome.settlement), retry_in(outcome.retry_in) {}

    /// True when the message may be acknowledged: it will never have to come again.
    bool is_settled() const noexcept { return settlement <= Settlement::parked; }
};

}  // namespace sagaz::inline v0
