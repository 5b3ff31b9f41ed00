#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/inbox_look.hpp"
#include "app/json_text.hpp"
#include "app/store.hpp"
#include "app/table.hpp"
#include "app/units.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;
using Table = std::vector<std::vector<std::string>>;

constexpr std::array kCountWords{"exact", "estimate", "at_least"};
constexpr std::array kBefore{"", "about ", "over "};

std::size_t place_of(CountIs count_is) { return static_cast<std::size_t>(count_is); }

Json to_json(const MarksLook& marks) {
    const auto age = [](const std::optional<double>& seconds) {
        return seconds ? Json(*seconds) : Json(nullptr);
    };
    return {{"count", marks.count},
            {"count_is", kCountWords.at(place_of(marks.count_is))},
            {"oldest_age_seconds", age(marks.oldest_age_seconds)},
            {"newest_age_seconds", age(marks.newest_age_seconds)}};
}

Json to_json(const AttemptsLook& attempts) {
    Json object{{"messages", attempts.messages}, {"most", attempts.most}};
    if (attempts.messages > 0) {
        object["last_cause"] = attempts.last_cause;
        object["last_age_seconds"] = attempts.last_age_seconds;
    }
    return object;
}

Json to_json(const std::vector<ConsumerLook>& looks) {
    auto consumers = Json::array();
    for (const auto& look : looks) {
        auto parked = Json::array();
        for (const auto& count : look.parked) {
            parked.push_back(
                {{"state", count.state}, {"reason", count.reason}, {"messages", count.events}});
        }
        consumers.push_back({{"consumer_name", look.name},
                             {"marks", to_json(look.marks)},
                             {"attempts", to_json(look.attempts)},
                             {"parked", parked}});
    }
    return {{"schema", 1}, {"consumers", consumers}};
}

std::string age_text(const MarksLook& marks, const std::optional<double>& seconds) {
    const std::string before = marks.count_is == CountIs::exact ? "" : "about ";
    return seconds ? before + seconds_text(*seconds) + " ago" : "-";
}

void write_unless_empty(const Table& rows, std::ostream& out) {
    if (rows.size() > 1) {
        out << '\n';
        write_table(out, rows);
    }
}

void write_text(const std::vector<ConsumerLook>& looks, std::ostream& out) {
    if (looks.empty()) {
        out << "no consumer has used the inbox\n";
        return;
    }
    Table marks{{"CONSUMER", "MARKS", "OLDEST", "NEWEST"}};
    Table attempts{{"CONSUMER", "COME AGAIN", "MOST ATTEMPTS", "LAST", "CAUSE"}};
    Table parked{{"CONSUMER", "PARKED", "STATE", "REASON"}};
    for (const auto& look : looks) {
        marks.push_back({look.name,
                         kBefore.at(place_of(look.marks.count_is)) + grouped(look.marks.count),
                         age_text(look.marks, look.marks.oldest_age_seconds),
                         age_text(look.marks, look.marks.newest_age_seconds)});
        if (look.attempts.messages > 0) {
            attempts.push_back(
                {look.name, grouped(look.attempts.messages), grouped(look.attempts.most),
                 seconds_text(look.attempts.last_age_seconds) + " ago", look.attempts.last_cause});
        }
        for (const auto& count : look.parked) {
            parked.push_back({look.name, grouped(count.events), count.state, count.reason});
        }
    }
    write_table(out, marks);
    write_unless_empty(attempts, out);
    write_unless_empty(parked, out);
}

}  // namespace

int run_inbox_status(const InboxStatusOptions& options, Console& console) {
    StoreSession session{options.store, Purpose::look};
    const auto looks = look_at_inbox(session, options.consumer);
    if (options.json) {
        console.out() << line_of(to_json(looks)) << '\n';
    } else {
        write_text(looks, console.out());
    }
    return kOk;
}

}  // namespace sagaz::inline v0::app
