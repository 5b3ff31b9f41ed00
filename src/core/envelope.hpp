#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/export.hpp>
#include <sagaz/store.hpp>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

/// The one place where a row becomes a message. The bytes depend on the row and the settings of the
/// database alone, so that every repeat, by whichever process, is identical. Headers follow the
/// CloudEvents Kafka protocol binding 1.0.2, binary content mode.
namespace sagaz::inline v0::core {

/// The topic of an event that names none: `{event_type}` in `topic_template` becomes the type in
/// lower case with '_' turned to '.' ("OrderPlaced": orderplaced, "order_placed": order.placed).
SAGAZ_EXPORT std::string topic_of(std::string_view topic_template, std::string_view event_type);

/// True for header names that the envelope owns; a user's header of that name is left out.
bool is_reserved_header(std::string_view name);

class EnvelopeEncoder {
public:
    explicit EnvelopeEncoder(const Settings& settings) : settings_(settings) {}

    /// The row's topic, or the template's. The view lives until `clear` or as long as the row.
    std::string_view topic(const Row& row);

    /// The views live until `clear` or as long as the row.
    Envelope encode(const Row& row, std::uint64_t token);

    /// Frees the scratch memory of the envelopes made so far.
    void clear();

    /// Headers that plain SQL wrote and the envelope left out, being reserved.
    std::uint64_t headers_dropped() const noexcept { return headers_dropped_; }

private:
    struct Scratch {
        std::string text{};
        std::vector<HeaderView> headers{};
    };

    void add_user_headers(std::string_view json, Scratch& scratch);
    void add_user_header(std::string name, std::string value, Scratch& scratch);

    Settings settings_;
    std::deque<Scratch> scratch_;  ///< Reused; a deque, so that views into it stay.
    std::size_t used_{};
    std::deque<std::string> strings_;
    std::uint64_t headers_dropped_{};
};

}  // namespace sagaz::inline v0::core
