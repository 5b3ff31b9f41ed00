#include "app/inbox_look.hpp"

#include "app/row.hpp"
#include "app/store.hpp"
#include "app/units.hpp"
#include "core/id_time.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace sagaz::inline v0::app {
namespace {

// From one consumer to the next by the key, past its marks: the table may have millions of each.
// What failed or is parked is little beside them.
constexpr auto kConsumers = R"(
with recursive marked (name) as (
    select min(i.consumer_name) from @schema@.consumer_inbox i
    union all
    select (select min(i.consumer_name) from @schema@.consumer_inbox i
            where i.consumer_name > m.name)
    from marked m where m.name is not null)
select m.name from marked m where m.name is not null
union select a.consumer_name from @schema@.inbox_attempt a
union select p.consumer_name from @schema@.parked p where p.direction = 'inbox'
order by 1)";

constexpr auto kParked = R"(
select p.state, p.reason, count(*), p.consumer_name
from @schema@.parked p where p.direction = 'inbox'
group by p.consumer_name, p.state, p.reason
order by p.consumer_name, count(*) desc, p.state, p.reason)";

// The planner's own guess: it knows the size of each partition now, and shares by the statistics.
constexpr auto kEstimate =
    "explain (format json) select 1 from @schema@.consumer_inbox i where i.consumer_name = $1";

// There was no UUIDv7 before 2020.
constexpr Milliseconds kFirstTime{1'577'836'800'000};
constexpr int kSample = 1'000;

std::string age_of(const StoreSession& session, const std::string& time) {
    return session.is_sqlite() ? "(julianday('now') - julianday(" + time + ")) * 86400.0"
                               : "extract(epoch from clock_timestamp() - " + time + ")";
}

struct Marks {
    std::int64_t count{};
    std::optional<double> oldest_age{};
    std::optional<double> newest_age{};
};

// The marks of a consumer in the order of their ids, and no more of them than `limit`.
Marks some_marks(StoreSession& session, const std::vector<std::string>& values,
                 const std::string& range_and_order, std::int64_t limit) {
    const auto row = session
                         .run("select count(*), " + age_of(session, "min(m.consumed_at)") + ", " +
                                  age_of(session, "max(m.consumed_at)") +
                                  " from (select i.consumed_at from @schema@.consumer_inbox i "
                                  "where i.consumer_name = $1" +
                                  range_and_order + " limit " + std::to_string(limit) + ") m",
                              values)
                         .at(0);
    if (whole(row, 0) == 0) {
        return {};
    }
    return {whole(row, 0), std::max(real(row, 1), 0.0), std::max(real(row, 2), 0.0)};
}

// Ids that carry their time are in the order of time, so the first and the last of them are about
// the oldest and the newest. Others have no order, so that the first are as good as any sample.
MarksLook estimated(StoreSession& session, const std::string& consumer, const Marks& first) {
    MarksLook look{kMarksCounted, CountIs::at_least, first.oldest_age, first.newest_age};
    if (!session.is_sqlite()) {
        const auto plan = nlohmann::json::parse(text(session.run(kEstimate, {consumer}).at(0), 0));
        look.count_is = CountIs::estimate;
        look.count =
            std::max(kMarksCounted, plan.at(0).at("Plan").at("Plan Rows").get<std::int64_t>());
    }
    const auto low = core::first_id_of(kFirstTime).text();
    const auto high = core::first_id_of(clock_of(session) + kClockAhead).text();
    for (const auto& marks :
         {some_marks(session, {consumer, low}, " and i.event_id >= $2 order by i.event_id",
                     kSample),
          some_marks(session, {consumer, high}, " and i.event_id <= $2 order by i.event_id desc",
                     kSample)}) {
        if (marks.count > 0) {
            look.oldest_age_seconds = std::max(look.oldest_age_seconds, marks.oldest_age);
            look.newest_age_seconds = std::min(look.newest_age_seconds, marks.newest_age);
        }
    }
    return look;
}

MarksLook marks_of(StoreSession& session, const std::string& consumer) {
    const auto first = some_marks(session, {consumer}, " order by i.event_id", kMarksCounted + 1);
    return first.count > kMarksCounted
               ? estimated(session, consumer, first)
               : MarksLook{first.count, CountIs::exact, first.oldest_age, first.newest_age};
}

std::map<std::string, AttemptsLook> all_attempts(StoreSession& session) {
    std::map<std::string, AttemptsLook> attempts;
    for (const auto& row : session.run(
             "select r.consumer_name, r.messages, r.attempts, r.last_cause, " +
             age_of(session, "r.last_at") +
             " from (select a.*, count(*) over (partition by a.consumer_name) as messages, "
             "row_number() over (partition by a.consumer_name "
             "order by a.attempts desc, a.last_at desc) as n from @schema@.inbox_attempt a) r "
             "where r.n = 1")) {
        attempts[text(row, 0)] = {whole(row, 1), whole(row, 2), text(row, 3),
                                  std::max(real(row, 4), 0.0)};
    }
    return attempts;
}

std::map<std::string, std::vector<ParkedCount>> all_parked(StoreSession& session) {
    std::map<std::string, std::vector<ParkedCount>> parked;
    for (const auto& row : session.run(kParked)) {
        parked[text(row, 3)].push_back({text(row, 0), text(row, 1), whole(row, 2)});
    }
    return parked;
}

std::string hint_for(const std::string& name, const std::vector<std::string>& known) {
    if (known.empty()) {
        return "no consumer has used the inbox there: check --store and --schema";
    }
    const auto guess = nearest(name, known);
    return (guess.empty() ? "" : "did you mean \"" + guess + "\"? ") +
           std::string{"see sagaz inbox status for those that are there"};
}

}  // namespace

std::vector<std::string> consumers_in(StoreSession& session,
                                      const std::optional<std::string>& only) {
    std::vector<std::string> names;
    for (const auto& row : session.run(kConsumers)) {
        names.push_back(text(row, 0));
    }
    if (!only) {
        return names;
    }
    if (std::find(names.begin(), names.end(), *only) == names.end()) {
        throw Error{ErrorKind::invalid, "consumer_unknown",
                    "\"" + *only + "\" has no mark, no attempt and nothing parked",
                    hint_for(*only, names)};
    }
    return {*only};
}

std::vector<ConsumerLook> look_at_inbox(StoreSession& session,
                                        const std::optional<std::string>& only) {
    std::vector<ConsumerLook> looks;
    auto attempts = all_attempts(session);
    auto parked = all_parked(session);
    for (const auto& name : consumers_in(session, only)) {
        looks.push_back({name, marks_of(session, name), attempts[name], parked[name]});
    }
    return looks;
}

std::vector<std::string> topics_in(StoreSession& session) {
    const auto high = core::first_id_of(clock_of(session) + kClockAhead).text();
    std::set<std::string> topics;
    for (const auto& name : consumers_in(session, std::nullopt)) {
        const auto newest = [&](const char* range) {
            return session.run(
                std::string{
                    "select distinct m.source_topic from (select i.source_topic from "
                    "@schema@.consumer_inbox i where i.consumer_name = $1 and i.event_id "} +
                    range + " $2 order by i.event_id desc limit " + std::to_string(kSample) + ") m",
                {name, high});
        };
        for (const auto* const range : {"<=", ">"}) {  // text ids are anywhere
            for (const auto& row : newest(range)) topics.insert(text(row, 0));
        }
    }
    topics.erase("");
    return {topics.begin(), topics.end()};
}

Milliseconds clock_of(StoreSession& session) {
    const auto row =
        session
            .run(session.is_sqlite()
                     ? "select cast((julianday('now') - 2440587.5) * 86400000 as integer)"
                     : "select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)")
            .at(0);
    return Milliseconds{whole(row, 0)};
}

}  // namespace sagaz::inline v0::app
