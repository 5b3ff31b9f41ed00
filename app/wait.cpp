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

// Empty when it is there; otherwise why not. What waiting cannot heal goes on as an error.
std::string why_not(const std::string& target, const WaitOptions& options, milliseconds left) {
    const auto look = std::clamp(left, milliseconds{100}, kOneLook);
    try {
        if (target == "broker") {
            return why_unreachable(options.broker, look);
        }
        if (target == "store") {
            StoreSession{options.store, look}.run("select 1");
            return {};
        }
        const auto status = schema_status(options.store);
        return status.is_behind()
                   ? "schema \"" + options.store.schema + "\" is at version " +
                         std::to_string(status.version) + " of " + std::to_string(status.newest)
                   : std::string{};
    } catch (const Error& error) {
        // A database that is still being made refuses names and passwords for a while.
        if (info_of(error.code()).exit == kUsage) {
            throw;
        }
        return std::string{error.code()} + ": " + error.what();
    }
}

}  // namespace

int run_wait(const WaitOptions& options, Console& console) {
    const auto started = Clock::now();
    const auto deadline = started + options.timeout;
    nlohmann::ordered_json ready = nlohmann::ordered_json::array();
    for (const auto& target : options.targets) {
        for (;;) {
            const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
            const auto reason = hide_secrets(why_not(target, options, left));
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
                            "start it, or correct its URL; --timeout waits longer"};
            }
            console.progress(
                std::string{"waiting for "}.append(target).append(": ").append(reason));
            std::this_thread::sleep_for(kBetween);
        }
    }
    if (options.json) {
        console.out() << nlohmann::ordered_json{{"schema", 1}, {"ready", ready}}.dump() << '\n';
    }
    return kOk;
}

}  // namespace sagaz::inline v0::app
