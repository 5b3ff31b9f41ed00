#include "app/store_look.hpp"

#include "app/commands.hpp"
#include "app/row.hpp"
#include "app/store.hpp"
#include "app/units.hpp"

#include <algorithm>

namespace sagaz::inline v0::app {
namespace {

Milliseconds seconds(double value) {
    return Milliseconds{static_cast<std::int64_t>(value * 1'000)};
}

// Relays that left a row behind long ago do not concern anybody.
constexpr auto kRelays = R"(
select r.id, r.version, extract(epoch from clock_timestamp() - r.started_at),
       extract(epoch from clock_timestamp() - r.beat_at), r.beat,
       coalesce(r.report->>'published', '0'), coalesce(r.report->>'down_reason', ''),
       coalesce(r.report->>'down_for_ms', '0')
from @schema@.relay r
where r.beat_at > clock_timestamp() - interval '1 hour'
   or r.id in (select s.owner from @schema@.slot s)
order by r.started_at, r.id
limit 100)";

constexpr auto kSqliteRelays = R"(
select r.id, r.version, (julianday('now') - julianday(r.started_at)) * 86400.0,
       (julianday('now') - julianday(r.beat_at)) * 86400.0, r.beat,
       coalesce(json_extract(r.report, '$.published'), 0),
       coalesce(json_extract(r.report, '$.down_reason'), ''),
       coalesce(json_extract(r.report, '$.down_for_ms'), 0)
from @schema@.relay r
where julianday(r.beat_at) > julianday('now') - 1.0 / 24
   or r.id in (select s.owner from @schema@.slot s)
order by r.started_at, r.id
limit 100)";

}  // namespace

struct StoreWindow::State {
    StoreSession session;
};

StoreWindow::StoreWindow(const StoreTarget& target, int deadline_ms)
    : state_{new State{StoreSession{target, Purpose::look, Milliseconds{deadline_ms}}}} {}

StoreWindow::~StoreWindow() = default;

BacklogLook StoreWindow::backlog() {
    const auto rows = state_->session.look(
        "select pending_events, oldest_pending_age_seconds, is_estimate from @schema@.backlog");
    if (rows.empty()) {
        return {};
    }
    const auto estimate = text(rows[0], 2);
    return {whole(rows[0], 0), real(rows[0], 1), estimate == "t" || estimate == "1"};
}

std::vector<ParkedCount> StoreWindow::parked() {
    std::vector<ParkedCount> counts;
    for (const auto& row : state_->session.look(
             "select state, reason, count(*), max(detail) from @schema@.parked "
             "where direction = 'outbox' group by state, reason "
             "order by reason = 'behind_parked', count(*) desc, state, reason limit 100")) {
        counts.push_back({text(row, 0), text(row, 1), whole(row, 2), text(row, 3)});
    }
    return counts;
}

std::vector<RelayLook> StoreWindow::relays() {
    std::vector<RelayLook> relays;
    for (const auto& row :
         state_->session.look(state_->session.is_sqlite() ? kSqliteRelays : kRelays)) {
        relays.push_back({text(row, 0), text(row, 1), real(row, 2), real(row, 3), whole(row, 4),
                          whole(row, 5), text(row, 6), whole(row, 7)});
    }
    return relays;
}

StoreLook StoreWindow::look() {
    StoreLook look;
    for (const auto& row :
         state_->session.look("select version, compatible_from from @schema@.schema_version "
                              "order by version desc limit 1")) {
        look.version = static_cast<int>(whole(row, 0));
        look.compatible_from = static_cast<int>(whole(row, 1));
    }
    look.backlog = backlog();
    look.parked = parked();
    look.relays = relays();
    for (const auto& row : state_->session.look(
             "select slot, owner, epoch from @schema@.slot where destination = 'default' "
             "order by slot")) {
        look.slots.push_back(
            {static_cast<std::int16_t>(whole(row, 0)), text(row, 1), whole(row, 2)});
    }
    return look;
}

double rate_between(const std::vector<RelayLook>& before, const std::vector<RelayLook>& after) {
    double rate = -1;
    for (const auto& relay : after) {
        const auto earlier = std::find_if(before.begin(), before.end(),
                                          [&](const RelayLook& old) { return old.id == relay.id; });
        if (earlier == before.end() || earlier->beat == relay.beat) {
            continue;
        }
        // Both by the database's clock: how long the relay was up at each of the two beats.
        const auto passed = (relay.up_seconds - relay.beat_age_seconds) -
                            (earlier->up_seconds - earlier->beat_age_seconds);
        if (passed > 0 && relay.published >= earlier->published) {
            rate = std::max(rate, 0.0) +
                   static_cast<double>(relay.published - earlier->published) / passed;
        }
    }
    return rate;
}

std::int64_t slots_without_owner(const StoreLook& look) {
    return std::ranges::count_if(look.slots, [&](const SlotLook& slot) {
        return std::ranges::none_of(look.relays, [&](const RelayLook& relay) {
            return relay.is_alive() && relay.id == slot.owner;
        });
    });
}

std::string destination_sentence(const StoreLook& look) {
    for (const auto& relay : look.relays) {
        if (relay.is_alive() && !relay.down_reason.empty()) {
            const auto since = Milliseconds{relay.down_for_ms} + seconds(relay.beat_age_seconds);
            return "the destination has been down for " + duration_text(since) + ": " +
                   relay.down_reason;
        }
    }
    return {};
}

// The first is the cause with the most events: what waits behind another comes last.
std::string parked_sentence(const std::vector<ParkedCount>& parked) {
    std::int64_t events = 0;
    for (const auto& count : parked) {
        events += count.events;
    }
    if (events == 0) {
        return {};
    }
    const auto& cause = parked.front();
    return std::to_string(events) + (events == 1 ? " event is" : " events are") +
           " parked, first of all for " + cause.reason +
           (cause.detail.empty() ? "" : ": " + cause.detail) +
           " (later events of its key are parked behind it): see sagaz parked ls";
}

std::string backlog_sentence(const StoreLook& look) {
    if (look.backlog.oldest_age_seconds <= 60) return {};
    return "the relay is behind: the oldest event has waited " +
           duration_text(seconds(look.backlog.oldest_age_seconds));
}

std::string diagnosis(const StoreLook& look, int newest) {
    if (look.version < newest) {
        return "the schema is at version " + std::to_string(look.version) +
               " and this build knows " + std::to_string(newest) + ": run sagaz migrate";
    }
    if (look.compatible_from > newest) {
        return "the schema is at version " + std::to_string(look.version) +
               " and this build knows " + std::to_string(newest) +
               ", which no longer works with it: update sagaz";
    }
    const auto is_alive = [](const RelayLook& relay) { return relay.is_alive(); };
    if (std::none_of(look.relays.begin(), look.relays.end(), is_alive)) {
        return "no relay is running, so nothing is published: start sagaz relay";
    }
    if (auto down = destination_sentence(look); !down.empty()) return down;
    if (const auto unowned = slots_without_owner(look); unowned > 0) {
        return std::to_string(unowned) + " of " + std::to_string(look.slots.size()) +
               " slots have no live owner: a relay takes them within its lease, else see its log";
    }
    if (auto parked = parked_sentence(look.parked); !parked.empty()) return parked;
    return backlog_sentence(look);
}

}  // namespace sagaz::inline v0::app
