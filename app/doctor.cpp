// Each check says what was seen, why it matters and what to do. A check that cannot be made is
// skipped and says why; skipped is not passed. A new one is a function here and a row in kChecks.
#include "app/brokers.hpp"
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/doctor_inbox.hpp"
#include "app/doctor_log.hpp"
#include "app/errors.hpp"
#include "app/inbox_look.hpp"
#include "app/json_text.hpp"
#include "app/store.hpp"
#include "app/store_look.hpp"
#include "app/table.hpp"
#include "app/topic_retention.hpp"
#include "app/units.hpp"
#include "app/url.hpp"
#include "core/replaced.hpp"
#include "stores/postgres/lock_holders.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeadline{10'000};
constexpr int kServerMin = 140'000;  // as server_version_num

enum class State { ok, finding, skipped };

struct Result {
    State state{State::ok};
    std::string seen{};
    std::string what_to_do{};
};

Result ok(std::string seen) { return {State::ok, std::move(seen), {}}; }
Result finding(std::string seen, std::string what_to_do) {
    return {State::finding, std::move(seen), std::move(what_to_do)};
}
Result skipped(std::string why) { return {State::skipped, std::move(why), {}}; }

class Patient {
public:
    explicit Patient(const DoctorOptions& options) : options_{options} {}

    const DoctorOptions& options() const { return options_; }

    StoreSession& session() {
        if (!session_) {
            session_.emplace(options_.store, Purpose::look, kDeadline);
        }
        return *session_;
    }
    /// The first column of every row.
    std::vector<std::string> column(std::string_view sql,
                                    const std::vector<std::string>& parameters = {}) {
        std::vector<std::string> values;
        for (const auto& row : session().run(sql, parameters)) {
            values.push_back(row[0].value_or(""));
        }
        return values;
    }
    std::string value(const char* sql) {
        const auto values = column(sql);
        return values.empty() ? std::string{} : values[0];
    }
    const StoreLook& look() {
        if (!look_) {
            StoreWindow window{options_.store};
            look_ = window.look();
        }
        return *look_;
    }

private:
    const DoctorOptions& options_;
    std::optional<StoreSession> session_;
    std::optional<StoreLook> look_;
};

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) {
        text += (text.empty() ? "" : ", ") + word;
    }
    return text;
}

Result check_store(Patient& patient) {
    if (sqlite_path(patient.options().store.url)) {
        return ok("SQLite " + patient.value("select sqlite_version()"));
    }
    const auto version = patient.value("select current_setting('server_version_num')");
    if (std::stoi(version) < kServerMin) {
        return finding("PostgreSQL " + patient.value("show server_version"),
                       "upgrade the server to PostgreSQL 14 or later");
    }
    const auto encoding = patient.value("show server_encoding");
    if (encoding != "UTF8") {
        return finding("the database's encoding is " + encoding,
                       "make a database with ENCODING 'UTF8' and move there");
    }
    if (patient.value("select pg_is_in_recovery()") == "t") {
        return finding("a standby, or still in recovery", "give the URL of the primary");
    }
    return ok("PostgreSQL " + patient.value("show server_version"));
}

Result check_schema(Patient& patient) {
    const auto& store = patient.options().store;
    const auto status = schema_status(store);
    if (status.is_too_new()) {
        throw core::schema_too_new(store.schema, status.version, status.newest);
    }
    const auto seen = "version " + std::to_string(status.version) + " of " +
                      std::to_string(status.newest) + " in schema \"" + store.schema + '"';
    return status.is_behind() ? finding(seen, "run sagaz migrate") : ok(seen);
}

// What `sagaz relay` does with the tables, as rights of the login that asks.
constexpr auto kMissingRights = R"(
select p.privilege || ' on ' || r.object
from (values ('slot', 'SELECT UPDATE'), ('relay', 'SELECT INSERT UPDATE DELETE'),
             ('cursor', 'SELECT INSERT DELETE'), ('parked', 'SELECT INSERT UPDATE DELETE'),
             ('outbox', 'SELECT'), ('segment', 'SELECT UPDATE'),
             ('incarnation', 'SELECT INSERT UPDATE'), ('setting', 'SELECT'),
             ('destination', 'SELECT'), ('schema_version', 'SELECT'), ('backlog', 'SELECT')
      union all
      select format('outbox_%s', lpad(n::text, 2, '0')), 'SELECT DELETE TRUNCATE'
      from generate_series(0, 15) n) r (object, privileges)
cross join lateral string_to_table(r.privileges, ' ') p (privilege)
where not has_table_privilege(format('@schema@.%I', r.object), p.privilege)
union all
select 'SELECT on outbox_id' where not has_sequence_privilege('@schema@.outbox_id', 'SELECT')
union all
select 'EXECUTE on ' || f.oid::regprocedure from pg_catalog.pg_proc f
where f.pronamespace = '@schema@'::regnamespace
  and f.proname in ('attach', 'segment_cursors', 'segment_state', 'delete_aged', 'reclaim',
                    'rebase', 'cursor_doubt', 'inbox_keep')
  and not has_function_privilege(f.oid, 'EXECUTE')
order by 1)";

Result check_rights(Patient& patient) {
    const auto missing = patient.column(kMissingRights);
    const auto login = patient.value("select current_user");
    if (missing.empty()) {
        return ok(login + " may do what a relay does");
    }
    return finding(login + " lacks " + joined(missing),
                   "GRANT " + patient.options().store.schema + "_relay TO " +
                       patient.value("select quote_ident(current_user)") +
                       "; or run doctor with the relay's login");
}

Result check_durability(Patient& patient) {
    const auto off = patient.column(
        "select name from pg_settings where name in ('fsync', 'full_page_writes') "
        "and setting = 'off' order by name");
    return off.empty() ? ok("fsync and full_page_writes are on")
                       : finding(joined(off) + " off", "turn it on in postgresql.conf");
}

Result check_sequence(Patient& patient) {
    const auto cache = patient.value(
        "select seqcache from pg_catalog.pg_sequence where seqrelid = '@schema@.outbox_id'::"
        "regclass");
    if (cache != "1") {
        return finding("CACHE is " + cache,
                       "ALTER SEQUENCE " + patient.options().store.schema + ".outbox_id CACHE 1");
    }
    const auto behind = patient.value(R"(
select greatest(max(m.id), max(c.id), max(p.id))
       - (select case when s.is_called then s.last_value else 0 end from @schema@.outbox_id s)
from @schema@.slot s
left join lateral (select o.id from @schema@.outbox o where o.slot = s.slot
                   order by o.id desc limit 1) m on true
left join lateral (select greatest(c.position, c.last_id) as id from @schema@.cursor c
                   where c.destination = s.destination and c.slot = s.slot
                   order by c.n desc limit 1) c on true
left join (select max(p.position) as id from @schema@.parked p
           where p.direction = 'outbox') p on true)");
    if (!behind.empty() && behind[0] != '-' && behind != "0") {
        return finding("the newest id is " + behind + " ahead of the sequence",
                       "stop the producers, run sagaz migrate --after-restore, start them again");
    }
    return ok("CACHE 1, not behind the rows");
}

// Whether the stored cursors mean anything here, and what became of the last time they did not.
constexpr auto kRebased = R"(
select 'on ' || to_char(a.at at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') || ' by ' || a.actor
       || case when a.detail -> 'why' ? 'cluster'
               then ' the log came from cluster ' || (a.detail ->> 'old_system_identifier')
               when a.detail -> 'why' ? 'ahead' then ' transaction ids had gone back'
               when a.detail -> 'why' ? 'sequence' then ' the sequence had gone back'
               else ' somebody asked for it' end
       || ', so ' || (a.detail ->> 'moved') || ' events moved in '
       || (a.detail ->> 'seconds') || ' s: each may have come again, once'
from @schema@.audit a where a.action = 'rebase' order by a.id desc limit 1)";

Result check_restore(Patient& patient) {
    const auto doubts = patient.column(R"(
select d.why || ' (' || count(*) || ' slots)'
from @schema@.slot s
cross join lateral (select @schema@.cursor_doubt(s.destination, s.slot) as why) d
where d.why is not null group by d.why order by 1)");
    if (!doubts.empty()) {
        return finding("cursors are in doubt: " + joined(doubts),
                       "run sagaz migrate --after-restore before the producers start");
    }
    const auto rebased = patient.value(kRebased);
    return ok(rebased.empty() ? "the log was never re-based" : "re-based " + rebased);
}

Result check_publications(Patient& patient) {
    const auto statements = patient.column(R"(
select pg_catalog.format('ALTER PUBLICATION %I SET (publish = ''%s'');', p.pubname,
    concat_ws(', ', case when p.pubinsert then 'insert' end,
              case when p.pubupdate then 'update' end, case when p.pubdelete then 'delete' end))
from pg_catalog.pg_publication p
where p.pubtruncate and (p.puballtables or exists (
    select from pg_catalog.pg_publication_tables t
    where t.pubname = p.pubname and t.schemaname = '@schema@' and t.tablename like 'outbox%'))
order by 1)");
    if (statements.empty()) return ok("none replicates a TRUNCATE of the log");
    std::string all;
    for (const auto& statement : statements) all += (all.empty() ? "" : " ") + statement;
    return finding(std::to_string(statements.size()) + " that would replicate one", all);
}

Result check_old_transactions(Patient& patient) {
    const auto old = patient.column(R"(
select 'pid ' || a.pid from pg_catalog.pg_stat_activity a
where a.xact_start < clock_timestamp() - interval '1 hour' and a.backend_type = 'client backend'
union all
select 'prepared ' || p.gid from pg_catalog.pg_prepared_xacts p
where p.prepared < clock_timestamp() - interval '1 hour'
limit 10)");
    return old.empty() ? ok("none is older than an hour")
                       : finding(joined(old), "end it: pg_terminate_backend, ROLLBACK PREPARED");
}

Result check_segments(Patient& patient) {
    const auto holders =
        patient.column(core::replaced(kSegmentHolders, "{holders}", postgres::kLockHolders));
    return holders.empty() ? ok("nobody has held a segment of the log for ten seconds")
                           : finding(joined(holders),
                                     "end what is forgotten: SELECT pg_terminate_backend(PID), "
                                     "ROLLBACK PREPARED 'GID'; where an age is hidden, GRANT "
                                     "pg_monitor to the login that runs doctor");
}

Result check_freezing(Patient& patient) {
    const auto old = patient.column(kOldTables);
    return old.empty() ? ok("no table's transaction ids are half used up")
                       : finding(joined(old),
                                 "VACUUM (FREEZE) them, and end what keeps autovacuum from it: old "
                                 "transactions, prepared ones, replication slots");
}

Result check_relay(Patient& patient) {
    const auto& look = patient.look();
    const auto alive = std::count_if(look.relays.begin(), look.relays.end(),
                                     [](const RelayLook& relay) { return relay.is_alive(); });
    if (alive == 0) {
        return finding("none has reported within 15 s", "start sagaz relay");
    }
    return ok(std::to_string(alive) + " alive");
}

Result check_delivery(Patient& patient) {
    const auto wrong = diagnosis(patient.look(), newest_version(patient.options().store));
    return wrong.empty() ? ok(grouped(patient.look().backlog.pending) + " events pending")
                         : finding(wrong, "change what it names; see sagaz status");
}

Result check_broker(Patient& patient) {
    const auto& broker = patient.options().broker;
    if (!broker) {
        return skipped("no broker is configured: give --broker");
    }
    const auto why = why_unreachable(*broker, milliseconds{3'000});
    return why.empty() ? ok("reachable")
                       : finding(why, "start it, or correct --broker and broker.options");
}

Result check_inbox_partitions(Patient& patient) {
    const auto trouble = patient.value(kNoPartition);
    if (trouble == "missing") {
        return finding("none is there for tomorrow: marks pile up in consumer_inbox_default",
                       "let a relay run for an hour (it makes them), or run sagaz inbox cleanup "
                       "once a day");
    }
    if (trouble == "large") {
        return finding("consumer_inbox_default is over 512 MiB: no more are made",
                       "run sagaz inbox cleanup when consumers may wait some seconds");
    }
    const auto retention = patient.options().inbox_retention;
    const auto old = retention.count() == 0
                         ? std::vector<std::string>{}
                         : patient.column(kOldPartitions, {std::to_string(retention.count())});
    return old.empty() ? ok("made ahead, and dropped past the retention")
                       : finding("past the retention and still there: " + joined(old),
                                 "run sagaz inbox cleanup; if it cannot lock them, end who holds "
                                 "them");
}

// What is kept for longer than the marks, and what is not known.
Result compared(const std::vector<TopicRetention>& topics, milliseconds marks) {
    std::vector<std::string> longer;
    std::vector<std::string> unknown;
    for (const auto& [topic, kept, trouble] : topics) {
        if (!trouble.empty()) {
            unknown.push_back(topic + " (" + trouble + ')');
        } else if (!kept || *kept >= marks) {
            longer.push_back(topic + (kept ? " for " + duration_text(*kept) : " for ever"));
        }
    }
    const auto of_marks = "marks are kept for " + duration_text(marks);
    if (!longer.empty()) {
        return finding(of_marks + ", and messages of " + joined(longer),
                       "raise inbox.retention above it, or lower the topics' retention.ms");
    }
    if (!unknown.empty()) return skipped("not known of " + joined(unknown));
    return ok(of_marks + ", longer than the messages of " + std::to_string(topics.size()) +
              " topics");
}

Result check_inbox_retention(Patient& patient) {
    const auto& broker = patient.options().broker;
    const auto marks = patient.options().inbox_retention;
    if (marks.count() == 0) return ok("marks are kept for ever");
    const auto topics = topics_in(patient.session());
    if (topics.empty()) return ok("no consumer has a mark here");
    if (!broker) {
        return skipped("no broker is configured to ask for how long it keeps " + joined(topics));
    }
    if (parse_broker_url(broker->url, "--broker").kind != BrokerKind::kafka) {
        return skipped("only Kafka says for how long it keeps " + joined(topics));
    }
    return compared(retentions_of(*broker, topics, milliseconds{5'000}), marks);
}

enum class Needs { nothing, store, schema };

struct Check {
    const char* id;
    const char* why;
    Result (*look)(Patient&);
    Needs needs;
    bool postgres_only{};
};

constexpr std::array kChecks{
    Check{"store", "the log lives there", check_store, Needs::nothing},
    Check{"schema", "this build needs the newest tables and functions", check_schema, Needs::store},
    Check{"rights", "a relay without a right stops at its first use", check_rights, Needs::schema,
          true},
    Check{"durability", "without it a crash of the server loses commits", check_durability,
          Needs::store, true},
    Check{"sequence", "ids order the events of a key", check_sequence, Needs::schema, true},
    Check{"restore", "snapshots of another cluster count new events as delivered", check_restore,
          Needs::schema, true},
    Check{"publications", "a subscriber would lose what the log empties after delivery",
          check_publications, Needs::schema, true},
    Check{"old_transactions", "they keep dead rows, and the log from being emptied",
          check_old_transactions, Needs::store, true},
    Check{"segments", "a segment that is held cannot be emptied, and the log grows", check_segments,
          Needs::schema, true},
    Check{"freezing", "past two thousand million the server refuses every write", check_freezing,
          Needs::schema, true},
    Check{"relay", "without one nothing is published", check_relay, Needs::schema},
    Check{"delivery", "what waits is not known to anybody yet", check_delivery, Needs::schema},
    Check{"broker", "events go there", check_broker, Needs::nothing},
    Check{"inbox_partitions", "without them marks go row by row, which costs their removal",
          check_inbox_partitions, Needs::schema, true},
    Check{"inbox_retention", "a message that outlives its mark takes effect again",
          check_inbox_retention, Needs::schema},
};

const char* word_of(State state) {
    return state == State::ok ? "ok" : state == State::finding ? "finding" : "skipped";
}

Result look_at(const Check& check, Patient& patient, Needs there) {
    if (check.needs > there) {
        return skipped(there == Needs::nothing ? "the store is not there"
                                               : "the schema is not there");
    }
    try {
        return check.look(patient);
    } catch (const Error& error) {
        // A check that fails says so itself; the others still run.
        return finding(std::string{error.code()} + ": " + error.what(), std::string{error.hint()});
    }
}

using Findings = std::vector<std::pair<const Check*, Result>>;

void write_json(const Findings& findings, bool is_well, std::ostream& out) {
    nlohmann::ordered_json object{
        {"schema", 1}, {"ok", is_well}, {"checks", nlohmann::ordered_json::array()}};
    for (const auto& [check, result] : findings) {
        object["checks"].push_back({{"id", check->id},
                                    {"state", word_of(result.state)},
                                    {"seen", hide_secrets(result.seen)},
                                    {"why", check->why},
                                    {"do", hide_secrets(result.what_to_do)}});
    }
    out << line_of(object) << '\n';
}

void write_text(const Findings& findings, std::ostream& out) {
    for (const auto& [check, result] : findings) {
        out << (result.state == State::ok        ? "ok       "
                : result.state == State::finding ? "FINDING  "
                                                 : "skipped  ")
            << check->id << ": " << plain(hide_secrets(result.seen)) << '\n';
        if (result.state == State::finding) {
            out << "         why: " << check->why
                << "\n         do:  " << plain(hide_secrets(result.what_to_do)) << '\n';
        }
    }
}

}  // namespace

int run_doctor(const DoctorOptions& options, Console& console) {
    Patient patient{options};
    Findings findings;
    Needs there = Needs::nothing;
    for (const auto& check : kChecks) {
        if (check.postgres_only && sqlite_path(options.store.url)) {
            continue;  // not skipped: there is nothing of the kind
        }
        console.progress(std::string{"looking at "} + check.id);
        findings.emplace_back(&check, look_at(check, patient, there));
        const bool is_ok = findings.back().second.state == State::ok;
        if (is_ok && check.look == check_store) {
            there = Needs::store;
        } else if (is_ok && check.look == check_schema) {
            there = Needs::schema;
        }
    }
    const bool is_well = std::none_of(findings.begin(), findings.end(), [](const auto& finding) {
        return finding.second.state == State::finding;
    });
    if (options.json) {
        write_json(findings, is_well, console.out());
    } else {
        write_text(findings, console.out());
    }
    return is_well ? kOk : kCondition;
}

}  // namespace sagaz::inline v0::app
