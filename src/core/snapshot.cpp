#include <sagaz/error.hpp>
#include <sagaz/store.hpp>

#include <algorithm>
#include <charconv>

namespace sagaz::inline v0 {
namespace {

[[noreturn]] void throw_malformed(std::string_view text) {
    throw Error(ErrorKind::fatal, "snapshot_malformed",
                "not a snapshot: \"" + std::string(text.substr(0, 80)) + "\"",
                "a cursor row was written by something else than sagaz; restore it from a backup");
}

std::uint64_t take_number(std::string_view& rest, std::string_view whole) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (error != std::errc{}) throw_malformed(whole);
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return value;
}

void take_character(char expected, std::string_view& rest, std::string_view whole) {
    if (rest.empty() || rest.front() != expected) throw_malformed(whole);
    rest.remove_prefix(1);
}

}  // namespace

bool Snapshot::sees(std::uint64_t transaction) const noexcept {
    if (transaction < xmin) return true;
    if (transaction >= xmax) return false;
    return !std::binary_search(running.begin(), running.end(), transaction);
}

Snapshot Snapshot::parse(std::string_view text) {
    Snapshot snapshot;
    std::string_view rest = text;
    snapshot.xmin = take_number(rest, text);
    take_character(':', rest, text);
    snapshot.xmax = take_number(rest, text);
    take_character(':', rest, text);
    while (!rest.empty()) {
        if (!snapshot.running.empty()) take_character(',', rest, text);
        const std::uint64_t transaction = take_number(rest, text);
        const bool in_order = snapshot.running.empty() || transaction > snapshot.running.back();
        if (!in_order || transaction < snapshot.xmin || transaction >= snapshot.xmax) {
            throw_malformed(text);
        }
        snapshot.running.push_back(transaction);
    }
    if (snapshot.xmin > snapshot.xmax) throw_malformed(text);
    return snapshot;
}

std::string Snapshot::text() const {
    std::string text = std::to_string(xmin) + ':' + std::to_string(xmax) + ':';
    for (std::size_t n = 0; n < running.size(); ++n) {
        if (n > 0) text.push_back(',');
        text += std::to_string(running[n]);
    }
    return text;
}

}  // namespace sagaz::inline v0
