#pragma once

#include <sagaz/error.hpp>
#include <sagaz/testing/store_conformance.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// What the tests of the store conformance suite share.
namespace sagaz::inline v0::testing {

inline Event event_of(std::string payload, std::optional<std::string> key = "k") {
    return {.topic = "orders",
            .key = std::move(key),
            .event_type = "Happened",
            .payload = std::move(payload)};
}

inline std::string code_of(const std::function<void()>& call) {
    try {
        call();
        return "";
    } catch (const Error& error) {
        return std::string(error.code());
    }
}

using Words = std::vector<std::string>;

// The body of every test: it has a new log and the means to use it.
class Case {
public:
    explicit Case(StoreSubject& subject) : subject_(subject) {}

    std::unique_ptr<Store> open() { return subject_.open(); }
    std::unique_ptr<Writer> begin() { return subject_.begin(); }
    void forget() { subject_.forget(); }
    bool writes_concurrently() const { return subject_.writes_concurrently(); }

    void commit(const std::vector<Event>& events) {
        const auto writer = begin();
        for (const auto& event : events) writer->append(event);
        writer->commit();
    }
    void commit(const std::string& payload) { commit({event_of(payload)}); }

private:
    StoreSubject& subject_;
};

/// One test of the suite.
struct StoreEntry {
    using Body = void (*)(Case&);
    const char* name{};
    Body body{};
};

/// Those about held rows.
std::span<const StoreEntry> held_entries();
/// Those about parked events.
std::span<const StoreEntry> parked_entries();

}  // namespace sagaz::inline v0::testing
