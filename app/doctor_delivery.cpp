// Whether anybody moves events, and what stays behind.
#include "app/doctor.hpp"
#include "app/table.hpp"

#include <algorithm>
#include <array>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

bool is_alive(const RelayLook& relay) { return relay.is_alive(); }

// A log that no relay has ever read and that nobody has written to lacks nothing yet.
Result check_relay(Patient& patient) {
    const auto& look = patient.look();
    const auto alive = std::ranges::count_if(look.relays, is_alive);
    if (alive > 0) return ok(std::to_string(alive) + " alive");
    const auto has_run = std::ranges::any_of(look.slots, [](const auto& s) { return s.epoch > 0; });
    if (has_run) return finding("none has reported within 15 s", "start sagaz relay");
    if (look.backlog.pending > 0) {
        return finding("none has ever run, and " + grouped(look.backlog.pending) + " events wait",
                       "start sagaz relay");
    }
    return skipped("none has run yet, and no event waits for one: start sagaz relay");
}

// A relay that has just come or gone leaves slots without an owner for a moment.
constexpr std::chrono::milliseconds kMoment{3'000};

Result check_slots(Patient& patient) {
    if (const auto found = patient.found({"relay"}); !found.empty()) {
        return skipped("follows from " + found);
    }
    if (std::ranges::none_of(patient.look().relays, is_alive)) return skipped("no relay runs");
    auto unowned = slots_without_owner(patient.look());
    if (unowned > 0) {
        std::this_thread::sleep_for(kMoment);
        unowned = std::min(unowned, slots_without_owner(patient.look_again()));
    }
    const auto all = std::to_string(patient.look().slots.size());
    return unowned == 0 ? ok(all + " of " + all + " have a living owner")
                        : finding(std::to_string(unowned) + " of " + all + " have no living owner",
                                  "a relay takes them within its lease; if none does, see the "
                                  "relays' logs, and whether relay.lease is the same in all");
}

constexpr auto kOfInboxes = R"(
select count(*) from (select 1 from @schema@.parked p where p.direction = 'inbox' limit 10000) f)";

Result check_parked(Patient& patient) {
    const auto events = parked_sentence(patient.look().parked);
    if (!events.empty()) return finding(events, "mend the cause, then sagaz parked replay");
    const auto messages = patient.value(kOfInboxes);
    return messages == "0" ? ok("nothing")
                           : finding(messages + " messages of inboxes are parked",
                                     "see sagaz parked ls --direction inbox; mend the cause, then "
                                     "sagaz parked replay");
}

Result check_delivery(Patient& patient) {
    const auto found = patient.found({"relay", "slots", "broker", "topics", "replication"});
    if (!found.empty()) return skipped("follows from " + found + ": run doctor again after that");
    // A relay that has just started is not connected yet, and reports every two seconds.
    auto down = destination_sentence(patient.look());
    for (int n = 0; n < 5 && !down.empty(); ++n) {
        std::this_thread::sleep_for(std::chrono::seconds{1});
        down = destination_sentence(patient.look_again());
    }
    if (!down.empty()) return finding(down, "change what it names; see sagaz status");
    const auto behind = backlog_sentence(patient.look());
    if (!behind.empty()) {
        return finding(
            behind,
            "see sagaz status for the rate: start another relay, or see why the destination is "
            "slow");
    }
    return ok(grouped(patient.look().backlog.pending) + " events pending");
}

constexpr std::array kChecks{
    Check{"relay", "without one nothing is published", check_relay, Needs::schema},
    Check{"slots", "events of a slot without an owner wait", check_slots, Needs::schema},
    Check{"parked", "what is parked is not known to anybody yet", check_parked, Needs::schema},
    Check{"delivery", "what waits is not known to anybody yet", check_delivery, Needs::schema},
};

}  // namespace

std::span<const Check> checks_of_delivery() { return kChecks; }

}  // namespace sagaz::inline v0::app
