#include "app/brokers.hpp"
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/store.hpp"
#include "app/units.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
constexpr milliseconds kBetween{250};
constexpr milliseconds kOneLook{3'000};

struct Absence {
    std::string reason{};  ///< Empty: it is there.
    std::string what_to_do{};
};

Absence schema_absence(const StoreTarget& store, milliseconds deadline) {
    const auto status = schema_status(store, deadline);
    if (status.is_too_new()) {
        throw core::schema_too_new(store.schema, status.version, status.newest);
    }
    if (!status.is_behind()) {
        return {};
    }
    return {"schema \"" + store.schema + "\" is at version " + std::to_string(status.version) +
                " of " + std::to_string(status.newest),
            "run: sagaz migrate"};
}

// What waiting cannot heal goes on as an error.
Absence look_for(const std::string& target, const WaitOptions& options, milliseconds left) {
    const auto look = std::clamp(left, milliseconds{100}, kOneLook);
    try {
        if (target == "broker") {
            return {why_unreachable(options.broker, look),
                    "start it, or correct --broker and broker.options"};
        }
        if (target == "schema") {
            return schema_absence(options.store, look);
        }
        StoreSession{options.store, Purpose::look, look}.run("select 1");
        return {};
    } catch (const Error& error) {
        // A database that is still being made refuses names and passwords for a while.
        if (info_of(error.code()).exit == kUsage || error.code() == "schema_too_new") {
            throw;
        }
        return {std::string{error.code()} + ": " + error.what(), std::string{error.hint()}};
    }
}

}  // namespace

int run_wait(const WaitOptions& options, Console& console) {
    const auto started = Clock::now();
    const auto deadline = started + options.timeout;
    nlohmann::ordered_json ready = nlohmann::ordered_json::array();
    for (const auto& target : options.targets) {
        std::string said;
        for (;;) {
            const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
            const auto absence = look_for(target, options, left);
            const auto reason = hide_secrets(absence.reason);
            if (reason.empty()) {
                console.say(target + " is there");
                ready.push_back(target);
                break;
            }
            if (Clock::now() + kBetween >= deadline) {
                if (options.json) {
                    console.out() << nlohmann::ordered_json{{"schema", 1},
                                                            {"ready", ready},
                                                            {"missing", target},
                                                            {"reason", reason}}
                                         .dump()
                                  << '\n';
                }
                throw Error{ErrorKind::unavailable, "wait_timeout",
                            target + " is not there after " + duration_text(options.timeout) +
                                ": " + reason,
                            absence.what_to_do + "; --timeout waits longer"};
            }
            if (reason != said) {  // A pod's log has no progress to watch.
                console.say(std::string{"waiting for "}.append(target).append(": ").append(reason));
                said = reason;
            }
            std::this_thread::sleep_for(kBetween);
        }
    }
    if (options.json) {
        console.out() << nlohmann::ordered_json{{"schema", 1}, {"ready", ready}}.dump() << '\n';
    }
    return kOk;
}

}  // namespace sagaz::inline v0::app
