#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0 {

struct HeaderView {
    std::string_view name{};
    std::string_view value{};
};

/// One message to publish. All views are valid until `publish` returns.
struct Envelope {
    std::uint64_t token{};  ///< Comes back in the receipt. Grows with every envelope handed over.
    std::string_view topic{};
    std::optional<std::string_view> key{};
    std::span<const HeaderView> headers{};
    std::string_view payload{};
};

/// The broker's word on one envelope.
struct Receipt {
    enum class State {
        accepted,  ///< Stored as durably as the destination promises.
        refused,   ///< Will never be accepted as it is: too large, no such topic, not allowed.
        unknown,   ///< Not accepted as far as is known; it may have arrived. Publish it again.
    };
    std::uint64_t token{};
    State state{State::unknown};
    std::string reason{};  ///< For `refused`: a stable word ("payload_too_large", "unknown_topic").
    std::string detail{};  ///< The client library's own text; never the payload.
};

/// A destination: publishes envelopes and says what became of each. One object belongs to one
/// thread. A backend is proved by the conformance suite of `sagaz::testing`.
///
/// Three promises make the relay's order and safety, whatever the transport:
///
/// 1. **One receipt.** Each envelope that `publish` took gets exactly one receipt from a later
///    `poll`. Receipts may come in any order.
/// 2. **No overtaking.** An envelope is not accepted when an envelope of the same (topic, key)
///    that was taken before it was not. (Envelopes without a key have no order.)
/// 3. **A break settles everything.** When `poll` returns a receipt that is not `accepted`, the
///    same call has returned the receipts of everything taken so far: nothing is on its way any
///    more, and the caller may publish again from its first envelope that was not accepted.
///
/// A destination that cannot be reached refuses nothing: it takes less (or nothing), keeps
/// trying by itself with backoff, and says why in `down`.
class SAGAZ_EXPORT Broker {
public:
    Broker() = default;
    virtual ~Broker();
    Broker(const Broker&) = delete;
    Broker& operator=(const Broker&) = delete;

    /// Takes a prefix of `envelopes` and returns its length; fewer is back-pressure. Never waits
    /// for the network. Throws `fatal` only when the object can never work again.
    virtual std::size_t publish(std::span<const Envelope> envelopes) = 0;

    /// Returns the receipts that are there, waiting at most `deadline` for the first.
    virtual std::vector<Receipt> poll(Milliseconds deadline) = 0;

    /// Empty while the destination can be reached; otherwise why not, in words for a person.
    virtual std::string down() const = 0;

    /// Gives up whatever is still on its way; those envelopes get `unknown` receipts from the
    /// next `poll`. Used at the end of a drain. Returns within `deadline`.
    virtual void abandon(Milliseconds deadline) = 0;
};

}  // namespace sagaz::inline v0
