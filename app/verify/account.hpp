#pragma once

#include "app/verify/scratch.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/event.hpp>
#include <sagaz/id.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The judgement of `sagaz verify`: what should have arrived against what did.
///
/// Why its verdict can be trusted. Every arrival falls into exactly one of: its id is not in the
/// truth (foreign), it is the first of its id, or it is a repeat; and every id of the truth either
/// has a first arrival or is missing. So nothing is left out, whatever the order of reading. An
/// inversion is judged on first arrivals only, in the order in which one partition holds them: a
/// source hands over each partition in offset order, and partitions may interleave in any way,
/// since a key that is found in two partitions is damage of its own and is compared no further
/// than within each.
namespace sagaz::verify {

using Digest = std::array<char, 16>;  ///< MD5: names bytes, protects nothing.

Digest digest_of(std::string_view bytes);

/// The headers that an event was given, beside those that sagaz writes itself.
struct OwnHeaders {
    std::vector<Header> headers{};
    bool keeps_order{true};  ///< False: they came as an object, which has none.
};

/// One event of the truth. Views are valid during the call.
struct Expected {
    Id id{};
    std::optional<std::string_view> key{};
    std::int64_t order{};  ///< Grows along a key; equal numbers may come either way round.
    std::optional<std::string_view> topic{};
    std::optional<Digest> payload{};
    std::optional<std::string_view> event_type{};
    std::optional<std::string_view> content_type{};
    std::optional<std::string_view> source{};  ///< Of `ce_source`.
    std::optional<OwnHeaders> headers{};       ///< None: not compared. Reserved names are left out.
};

/// One message as the destination holds it. Views are valid during the call.
struct Arrival {
    std::string_view topic{};
    std::int32_t partition{};
    std::int64_t offset{};
    std::optional<std::string_view> key{};
    std::span<const HeaderView> headers{};
    std::string_view payload{};
};

enum class Damage {
    missing,    ///< In the truth, and nowhere at the destination.
    foreign,    ///< At the destination, and not in the truth: aborted, lost or unknown.
    inversion,  ///< Arrived first after a later event of its (topic, key) had.
    split_key,  ///< A (topic, key) in a second partition, where it has no order.
    wrong_topic,
    wrong_key,
    wrong_payload,
    wrong_header,     ///< A header of the contract absent, doubled, or saying something else; or
                      ///< the event's own are not those of the truth.
    wrong_repeat,     ///< A repeat that differs from the first arrival in key, headers or payload.
    duplicate_truth,  ///< The truth names an id twice: it is no truth.
};
inline constexpr std::array kDamages{
    Damage::missing,      Damage::foreign,        Damage::inversion,     Damage::split_key,
    Damage::wrong_topic,  Damage::wrong_key,      Damage::wrong_payload, Damage::wrong_header,
    Damage::wrong_repeat, Damage::duplicate_truth};

/// The word of a damage in reports ("missing", "foreign", ...).
std::string_view to_string(Damage damage) noexcept;

struct Finding {
    std::string id{};  ///< Empty when the message has none.
    std::string topic{};
    std::optional<std::string> key{};
    std::int32_t partition{-1};  ///< -1: it is at no place.
    std::int64_t offset{-1};
    std::string detail{};  ///< Words; never the payload.
};

struct Tally {
    std::uint64_t count{};
    std::vector<Finding> samples{};  ///< The first few.
};

struct Report {
    std::uint64_t expected{};         ///< Events of the truth.
    std::uint64_t messages{};         ///< Read from the destination, repeats included.
    std::uint64_t arrived{};          ///< Events of the truth that arrived.
    std::uint64_t repeats{};          ///< Messages beyond the first of their event: allowed.
    std::uint64_t repeated_events{};  ///< Events with at least one repeat.
    std::map<Damage, Tally> damages{};

    std::uint64_t count(Damage damage) const;
    bool is_damaged() const;
};

/// Feed the truth with `expect`, then the destination with `arrive`, then `close`. One thread.
class Account {
public:
    struct Limits {
        std::size_t samples_max{20};                     ///< Findings kept of each damage.
        std::size_t cache_bytes{std::size_t{64} << 20};  ///< Memory; the rest goes to disk.
    };
    Account() : Account(Limits{}) {}
    explicit Account(Limits limits);

    void expect(const Expected& event);
    void arrive(const Arrival& message);
    Report close();

    /// So far, for progress lines.
    std::uint64_t expected() const noexcept { return report_.expected; }
    std::uint64_t messages() const noexcept { return report_.messages; }
    std::vector<std::string> topics_expected();  ///< Those that the truth names.

private:
    struct Known;  // what the truth says of the event of one arrival
    void judge(const Arrival& message, const Id& id, const Known& known);
    void judge_headers(const Arrival& message, const Id& id, const Known& known);
    void judge_order(const Arrival& message, const Id& id, const Known& known);
    void found(Damage damage, const Arrival& message, const std::string& id, std::string detail);
    std::int64_t number_of(std::string_view topic);

    Limits limits_;
    Scratch scratch_;
    Query insert_truth_, mark_arrival_, highest_, set_highest_;
    std::map<std::string, std::int64_t, std::less<>> topics_{};
    Report report_{};
};

}  // namespace sagaz::verify
