// Runs the checks one after the other and prints what they found; what they look at is in
// doctor_*.cpp by theme. A new check is a function there and a row in its table.
#include "app/doctor.hpp"

#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/json_text.hpp"
#include "app/row.hpp"
#include "app/table.hpp"
#include "app/url.hpp"
#include "core/envelope.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>

namespace sagaz::inline v0::app {

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) {
        text += (text.empty() ? "" : ", ") + word;
    }
    return text;
}

// --------------------------------------------------------------------------------------- Patient

bool Patient::is_sqlite() const { return sqlite_path(options_.store.url).has_value(); }

bool Patient::is_kafka() const {
    return options_.broker &&
           parse_broker_url(options_.broker->url, "--broker").kind == BrokerKind::kafka;
}

StoreSession& Patient::session() {
    if (!session_) session_.emplace(options_.store, Purpose::look, kDeadline);
    return *session_;
}

std::vector<std::string> Patient::column(std::string_view sql) {
    std::vector<std::string> values;
    for (const auto& row : rows(sql)) values.push_back(text(row, 0));
    return values;
}

std::string Patient::value(std::string_view sql) {
    const auto values = column(sql);
    return values.empty() ? std::string{} : values[0];
}

bool Patient::sees_sessions() {
    return is_true("select pg_has_role(current_user, 'pg_read_all_stats', 'usage')");
}

const StoreLook& Patient::look() {
    if (!look_) look_ = look_again();
    return *look_;
}

StoreLook Patient::look_again() const {
    return StoreWindow{options_.store, static_cast<int>(kDeadline.count())}.look();
}

// Of the newest of each slot, which an index gives at once however long the log is.
const std::vector<std::string>& Patient::topics() {
    if (topics_) return *topics_;
    const auto of_log = is_sqlite() ? R"(
select distinct f.topic, f.event_type from (
    select o.topic, o.event_type from @schema@.outbox o order by o.id desc limit 4000) f)"
                                    : R"(
select distinct o.topic, o.event_type
from @schema@.slot s
cross join lateral (select o.topic, o.event_type from @schema@.outbox o where o.slot = s.slot
                    order by o.id desc limit 250) o
where s.destination = 'default')";
    constexpr auto kOfParked = R"(
select distinct f.topic, f.event_type from (
    select p.topic, p.event_type from @schema@.parked p where p.direction = 'outbox'
    limit 10000) f)";
    const auto pattern = value("select value from @schema@.setting where key = 'topic_template'");
    std::set<std::string> all;
    for (const char* const sql : {of_log, kOfParked}) {
        for (const auto& row : rows(sql)) {
            const auto topic = text(row, 0);
            all.insert(topic.empty() ? core::topic_of(pattern, text(row, 1)) : topic);
        }
    }
    topics_.emplace(all.begin(), all.end());
    return *topics_;
}

const ClusterLook& Patient::cluster() {
    if (!cluster_) cluster_ = look_at_cluster(*options_.broker, topics(), kBrokerDeadline);
    return *cluster_;
}

std::string Patient::found(std::initializer_list<const char*> ids) const {
    std::vector<std::string> all;
    for (const char* const id : ids) {
        if (found_.contains(id)) all.emplace_back(id);
    }
    return joined(all);
}

namespace {

// ------------------------------------------------------------------------------------ the checks

std::vector<Check> all_checks() {
    std::vector<Check> all;
    for (const auto& some : {checks_of_server(), checks_of_log(), checks_of_horizon(),
                             checks_of_broker(), checks_of_delivery(), checks_of_inbox()}) {
        all.insert(all.end(), some.begin(), some.end());
    }
    return all;
}

// A database that does not answer would cost every check its deadline.
bool is_gone(std::string_view code) {
    return code == "deadline_passed" || code == "connection_failed" || code == "store_unreachable";
}

Result look_at(const Check& check, Patient& patient) {
    if (check.needs > patient.there) {
        return skipped(patient.there == Needs::nothing ? "the store is not there"
                                                       : "the schema is not there");
    }
    try {
        return check.look(patient);
    } catch (const Error& error) {
        // A check that fails says so itself; the others still run.
        const auto seen = std::string{error.code()} + ": " + error.what();
        if (is_gone(error.code())) patient.there = Needs::nothing;
        // Without its schema nothing of the rest can be seen: that is somebody's mistake.
        const bool is_first = check.needs < Needs::schema;
        if (error.code() == "permission_denied" && !is_first) {
            return skipped(seen + "; " + std::string{error.hint()});
        }
        return finding(seen, std::string{error.hint()});
    }
}

// ---------------------------------------------------------------------------------------- output

using Findings = std::vector<std::pair<Check, Result>>;

const char* word_of(Result::State state) {
    return state == Result::State::ok        ? "ok"
           : state == Result::State::finding ? "finding"
                                             : "skipped";
}

void write_json(const Findings& findings, bool is_well, std::ostream& out) {
    nlohmann::ordered_json object{
        {"schema", 1}, {"ok", is_well}, {"checks", nlohmann::ordered_json::array()}};
    for (const auto& [check, result] : findings) {
        object["checks"].push_back({{"id", check.id},
                                    {"state", word_of(result.state)},
                                    {"seen", hide_secrets(result.seen)},
                                    {"why", check.why},
                                    {"do", hide_secrets(result.what_to_do)}});
    }
    out << line_of(object) << '\n';
}

void write_text(const Findings& findings, std::ostream& out) {
    for (const auto& [check, result] : findings) {
        const bool is_finding = result.state == Result::State::finding;
        std::string word = is_finding ? "FINDING" : word_of(result.state);
        word.resize(9, ' ');
        out << word << check.id << ": " << plain(hide_secrets(result.seen)) << '\n';
        if (is_finding) {
            out << "         why: " << check.why
                << "\n         do:  " << plain(hide_secrets(result.what_to_do)) << '\n';
        }
    }
}

}  // namespace

int run_doctor(const DoctorOptions& options, Console& console) {
    Patient patient{options};
    Findings findings;
    for (const auto& check : all_checks()) {
        if (check.postgres_only && patient.is_sqlite()) {
            continue;  // not skipped: there is nothing of the kind
        }
        console.progress(std::string{"looking at "} + check.id);
        findings.emplace_back(check, look_at(check, patient));
        const auto state = findings.back().second.state;
        if (state == Result::State::finding) patient.note_finding(check.id);
        const std::string_view id = check.id;
        if (state == Result::State::ok && id == "store") patient.there = Needs::store;
        if (state == Result::State::ok && id == "schema") patient.there = Needs::schema;
    }
    const bool is_well = std::ranges::none_of(findings, [](const auto& finding) {
        return finding.second.state == Result::State::finding;
    });
    if (options.json) {
        write_json(findings, is_well, console.out());
    } else {
        write_text(findings, console.out());
    }
    return is_well ? kOk : kCondition;
}

}  // namespace sagaz::inline v0::app
