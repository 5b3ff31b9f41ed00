#include "app/store_look.hpp"

#include "app/commands.hpp"
#include "app/units.hpp"
#include "stores/postgres/connection.hpp"
#include "stores/postgres/migration.hpp"

#include <algorithm>
#include <cstdlib>

namespace sagaz::inline v0::app {
namespace {

std::string cell(const postgres::Result& result, int row, int column) {
    return PQgetvalue(result.get(), row, column);  // NULL reads as ""
}

std::int64_t whole(const postgres::Result& result, int row, int column) {
    return std::strtoll(PQgetvalue(result.get(), row, column), nullptr, 10);
}

double real(const postgres::Result& result, int row, int column) {
    return std::strtod(PQgetvalue(result.get(), row, column), nullptr);
}

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

}  // namespace

struct StoreWindow::State {
    postgres::Connection connection;
    std::string schema;

    postgres::Result run(const char* sql) {
        return connection.execute(postgres::with_schema(sql, schema));
    }
};

StoreWindow::StoreWindow(const StoreTarget& target, int deadline_ms)
    : state_{new State{postgres::Connection{target.url,
                                            {.connect = Milliseconds{std::min(deadline_ms, 5'000)},
                                             .statement = Milliseconds{deadline_ms}}},
                       target.schema}} {
    postgres::check_schema_name(target.schema);
}

StoreWindow::~StoreWindow() = default;

BacklogLook StoreWindow::backlog() {
    const auto result = state_->run(
        "select pending_events, oldest_pending_age_seconds, is_estimate from @schema@.backlog");
    if (PQntuples(result.get()) == 0) {
        return {};
    }
    return {whole(result, 0, 0), real(result, 0, 1), cell(result, 0, 2) == "t"};
}

std::vector<ParkedCount> StoreWindow::parked() {
    const auto result = state_->run(
        "select state, reason, count(*) from @schema@.parked where direction = 'outbox' "
        "group by state, reason order by count(*) desc, state, reason limit 100");
    std::vector<ParkedCount> counts;
    counts.reserve(static_cast<std::size_t>(PQntuples(result.get())));
    for (int row = 0; row < PQntuples(result.get()); ++row) {
        counts.push_back({cell(result, row, 0), cell(result, row, 1), whole(result, row, 2)});
    }
    return counts;
}

std::vector<RelayLook> StoreWindow::relays() {
    const auto result = state_->run(kRelays);
    std::vector<RelayLook> relays;
    relays.reserve(static_cast<std::size_t>(PQntuples(result.get())));
    for (int row = 0; row < PQntuples(result.get()); ++row) {
        relays.push_back({cell(result, row, 0), cell(result, row, 1), real(result, row, 2),
                          real(result, row, 3), whole(result, row, 4), whole(result, row, 5),
                          cell(result, row, 6), whole(result, row, 7)});
    }
    return relays;
}

StoreLook StoreWindow::look() {
    StoreLook look;
    look.version = static_cast<int>(
        whole(state_->run("select coalesce(max(version), 0) from @schema@.schema_version"), 0, 0));
    look.backlog = backlog();
    look.parked = parked();
    look.relays = relays();
    const auto slots = state_->run(
        "select slot, owner, epoch from @schema@.slot where destination = 'default' order by slot");
    for (int row = 0; row < PQntuples(slots.get()); ++row) {
        look.slots.push_back({static_cast<std::int16_t>(whole(slots, row, 0)), cell(slots, row, 1),
                              whole(slots, row, 2)});
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

std::string diagnosis(const StoreLook& look, int newest) {
    if (look.version < newest) {
        return "the schema is at version " + std::to_string(look.version) +
               " and this build knows " + std::to_string(newest) + ": run sagaz migrate";
    }
    const auto is_alive = [](const RelayLook& relay) { return relay.is_alive(); };
    if (std::none_of(look.relays.begin(), look.relays.end(), is_alive)) {
        return "no relay is running, so nothing is published: start sagaz relay";
    }
    for (const auto& relay : look.relays) {
        if (relay.is_alive() && !relay.down_reason.empty()) {
            const auto since = Milliseconds{relay.down_for_ms} + seconds(relay.beat_age_seconds);
            return "the destination has been down for " + duration_text(since) + ": " +
                   relay.down_reason;
        }
    }
    std::int64_t unowned = 0;
    for (const auto& slot : look.slots) {
        unowned += std::none_of(
            look.relays.begin(), look.relays.end(),
            [&](const RelayLook& relay) { return relay.is_alive() && relay.id == slot.owner; });
    }
    if (unowned > 0) {
        return std::to_string(unowned) + " of " + std::to_string(look.slots.size()) +
               " slots have no live owner: a relay takes them within its lease, else see its log";
    }
    std::int64_t parked = 0;
    for (const auto& count : look.parked) {
        parked += count.events;
    }
    if (parked > 0) {
        return std::to_string(parked) + " events are parked, most of them for \"" +
               look.parked[0].reason + "\": later events of their keys may be waiting";
    }
    if (look.backlog.oldest_age_seconds > 60) {
        return "the relay is behind: the oldest event has waited " +
               duration_text(seconds(look.backlog.oldest_age_seconds));
    }
    return {};
}

}  // namespace sagaz::inline v0::app
