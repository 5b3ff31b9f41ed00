#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/json_text.hpp"
#include "app/store.hpp"
#include "app/store_look.hpp"
#include "app/table.hpp"
#include "app/units.hpp"

#include <sagaz/event.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <ostream>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

std::map<std::string, std::int64_t> slots_by_owner(const StoreLook& look) {
    std::map<std::string, std::int64_t> owned;
    for (const auto& slot : look.slots) {
        ++owned[slot.owner];
    }
    return owned;
}

// The destination as the live relays see it: the one that has been down longest speaks.
const RelayLook* down_relay(const StoreLook& look) {
    const RelayLook* worst = nullptr;
    for (const auto& relay : look.relays) {
        if (relay.is_alive() && !relay.down_reason.empty() &&
            (worst == nullptr || relay.down_for_ms > worst->down_for_ms)) {
            worst = &relay;
        }
    }
    return worst;
}

// "up", "down", or "unknown" when no live relay could say.
std::string destination_state(const StoreLook& look) {
    if (down_relay(look) != nullptr) {
        return "down";
    }
    const bool known = std::any_of(look.relays.begin(), look.relays.end(),
                                   [](const RelayLook& relay) { return relay.is_alive(); });
    return known ? "up" : "unknown";
}

Json to_json(const StoreLook& look, double rate, const std::string& wrong) {
    auto owned = slots_by_owner(look);
    Json object{
        {"schema", 1}, {"ok", wrong.empty()}, {"diagnosis", wrong}, {"version", look.version}};
    object["backlog"] = {{"pending_events", look.backlog.pending},
                         {"oldest_pending_age_seconds", look.backlog.oldest_age_seconds},
                         {"is_estimate", look.backlog.is_estimate}};
    object["rate_events_per_second"] = rate < 0 ? Json{nullptr} : Json{std::round(rate * 10) / 10};
    object["destination"] = {{"name", "default"}, {"state", destination_state(look)}};
    if (const auto* const down = down_relay(look)) {
        object["destination"]["down_reason"] = down->down_reason;
        object["destination"]["down_for_ms"] = down->down_for_ms;
    }
    object["relays"] = Json::array();
    for (const auto& relay : look.relays) {
        object["relays"].push_back({{"id", relay.id},
                                    {"version", relay.version},
                                    {"alive", relay.is_alive()},
                                    {"up_seconds", relay.up_seconds},
                                    {"last_beat_seconds_ago", relay.beat_age_seconds},
                                    {"published", relay.published},
                                    {"slots", owned[relay.id]}});
    }
    object["slots"] = Json::array();
    for (const auto& slot : look.slots) {
        object["slots"].push_back({{"slot", slot.slot},
                                   {"owner", slot.owner.empty() ? Json{nullptr} : Json{slot.owner}},
                                   {"epoch", slot.epoch}});
    }
    object["parked"] = Json::array();
    for (const auto& count : look.parked) {
        object["parked"].push_back({{"state", count.state},
                                    {"reason", count.reason},
                                    {"events", count.events},
                                    {"detail", count.detail}});
    }
    return object;
}

void write_text(const StoreLook& look, double rate, const std::string& wrong, std::ostream& out) {
    auto owned = slots_by_owner(look);
    out << (wrong.empty() ? "all is well" : plain(wrong)) << "\n\n";
    out << "backlog      " << (look.backlog.is_estimate ? "about " : "")
        << grouped(look.backlog.pending) << " events";
    if (look.backlog.pending > 0) {
        out << ", the oldest waits " << seconds_text(look.backlog.oldest_age_seconds);
    }
    out << "\nrate         "
        << (rate < 0 ? std::string{"not known"} : grouped(std::llround(rate)) + " events/s");
    out << "\ndestination  " << destination_state(look);
    if (const auto* const down = down_relay(look)) {
        out << " for " << duration_text(Milliseconds{down->down_for_ms}) << ": "
            << plain(down->down_reason);
    }
    const auto unowned = static_cast<std::size_t>(slots_without_owner(look));
    out << "\nslots        " << look.slots.size() - unowned << " of " << look.slots.size()
        << " owned\n";
    for (const auto& count : look.parked) {
        out << "parked       " << grouped(count.events) << ' ' << count.state << ": "
            << plain(count.reason) << (count.detail.empty() ? "" : ": ") << plain(count.detail)
            << '\n';
    }
    if (look.relays.empty()) {
        return;
    }
    std::vector<std::vector<std::string>> rows{
        {"RELAY", "SLOTS", "PUBLISHED", "UP", "LAST BEAT", "VERSION"}};
    for (const auto& relay : look.relays) {
        rows.push_back({relay.id, std::to_string(owned[relay.id]), grouped(relay.published),
                        seconds_text(relay.up_seconds),
                        seconds_text(relay.beat_age_seconds) + " ago", relay.version});
    }
    out << '\n';
    write_table(out, rows);
}

}  // namespace

int run_status(const StatusOptions& options, Console& console) {
    StoreWindow window{options.store};
    const auto before = window.relays();
    // A rate needs two beats of a relay: waits for the second, but not for a relay that is gone.
    const bool worth_waiting = std::any_of(before.begin(), before.end(),
                                           [](const RelayLook& relay) { return relay.is_alive(); });
    double rate = -1;
    const auto deadline = Clock::now() + options.interval;
    while (worth_waiting && rate < 0 && Clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
        rate = rate_between(before, window.relays());
        console.progress("waiting for a relay's next report");
    }
    const auto look = window.look();
    const auto wrong = diagnosis(look, newest_version(options.store));
    if (options.json) {
        console.out() << line_of(to_json(look, rate, wrong)) << '\n';
    } else {
        write_text(look, rate, wrong, console.out());
    }
    return options.exit_code && !wrong.empty() ? kCondition : kOk;
}

}  // namespace sagaz::inline v0::app
