#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

/// The history that runs and simulations record, and checkers read: docs/internals/history.md.
namespace sagaz::history {

enum class Type { invoke, ok, fail, info };

std::string_view to_string(Type type) noexcept;

/// One line. Members without a value are not written.
struct Operation {
    std::uint64_t seed{};
    std::string proc{};
    std::int64_t monotonic_ns{};
    std::uint64_t idx{};
    std::string f{};
    Type type{Type::invoke};
    std::string topic{};
    std::optional<std::string> key{};
    std::string id{};
    std::optional<std::int64_t> order{};
    std::string digest{};
    std::optional<std::int32_t> partition{};
    std::optional<std::int64_t> offset{};
    std::string detail{};
    nlohmann::ordered_json extra{};  ///< Members of the recorder's own; null when there are none.

    bool operator==(const Operation&) const = default;
};

/// One line without its newline. The members' order is fixed, so equal histories are equal bytes.
/// Bytes that are not UTF-8 are replaced: a history names things, it does not carry payloads.
std::string to_line(const Operation& operation);

/// Throws std::runtime_error that names what is wrong.
Operation parse_line(std::string_view line);

/// Writes lines to a stream that must outlive it; sets `seed` and `idx` itself. One thread.
class Writer {
public:
    Writer(std::ostream& stream, std::uint64_t seed) noexcept : stream_(stream), seed_(seed) {}

    /// Flushed at once when `f` is "fault", so that a killed recorder keeps what it did.
    void write(Operation operation);

    std::uint64_t written() const noexcept { return next_; }

private:
    std::ostream& stream_;
    std::uint64_t seed_;
    std::uint64_t next_{};
};

/// Reads a stream that must outlive it.
class Reader {
public:
    explicit Reader(std::istream& stream) noexcept : stream_(stream) {}

    /// Nothing at the end. Throws std::runtime_error with the line's number for a line that cannot
    /// be read, an `idx` that does not follow, or a second seed.
    std::optional<Operation> next();

private:
    std::istream& stream_;
    std::optional<std::uint64_t> seed_{};
    std::uint64_t expected_{};
};

}  // namespace sagaz::history
