// The log in the database: its schema, who may do what to it, and whether its memory holds.
#include "app/console.hpp"
#include "app/doctor.hpp"
#include "app/doctor_rights.hpp"
#include "app/errors.hpp"
#include "app/row.hpp"
#include "app/table.hpp"
#include "app/units.hpp"
#include "core/replaced.hpp"
#include "stores/postgres/lock_holders.hpp"

#include <array>
#include <map>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;

Result check_schema(Patient& patient) {
    const auto status = schema_status(patient.options().store, Patient::kDeadline);
    if (status.is_too_new()) {
        throw core::schema_too_new(patient.schema(), status.version, status.newest);
    }
    const auto seen = "version " + std::to_string(status.version) + " of " +
                      std::to_string(status.newest) + " in schema \"" + patient.schema() + '"';
    return status.is_behind() ? finding(seen, "run sagaz migrate") : ok(seen);
}

// ---------------------------------------------------------------------------------------- rights

std::vector<std::string> missing_grants(Patient& patient, std::string_view judged) {
    return patient.column(core::replaced(kMissingGrants, "{judged}", judged));
}

Result check_rights(Patient& patient) {
    const auto roles = patient.column(kMissingRoles);
    constexpr std::size_t kRoles = 5;
    if (!roles.empty() && roles.size() < kRoles) {
        return finding("no role " + joined(roles), "run sagaz migrate as the schema's owner");
    }
    if (const auto missing = missing_grants(patient, kJudgeRoles); !missing.empty()) {
        return finding(joined(missing),
                       "run sagaz migrate as the schema's owner, which grants it again");
    }
    const auto login = patient.value("select current_user");
    if (!patient.is_true(kWrites)) {
        return skipped("the group roles have their grants; " + login +
                       " is no relay's login, so give the relay's to see its rights");
    }
    if (const auto missing = missing_grants(patient, kJudgeLogin); !missing.empty()) {
        return finding(joined(missing), "GRANT " + patient.schema() + "_relay TO " +
                                            patient.value("select quote_ident(current_user)") +
                                            "; or run doctor with the relay's login");
    }
    return ok((roles.empty() ? "the group roles have their grants, and " : "no group roles; ") +
              login + " may do what a relay does");
}

// -------------------------------------------------------------------------------------- sequence

Result check_sequence(Patient& patient) {
    const auto cache = patient.value(
        "select seqcache from pg_catalog.pg_sequence where seqrelid = '@schema@.outbox_id'::"
        "regclass");
    if (cache != "1") {
        return finding("CACHE is " + cache,
                       "ALTER SEQUENCE " + patient.schema() + ".outbox_id CACHE 1");
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

// --------------------------------------------------------------------------------------- restore

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

constexpr auto kDoubts = R"(
select d.why || ' (' || count(*) || ' slots)'
from @schema@.slot s
cross join lateral (select @schema@.cursor_doubt(s.destination, s.slot) as why) d
where d.why is not null group by d.why order by 1)";

Result check_restore(Patient& patient) {
    const auto doubts = patient.column(kDoubts);
    if (!doubts.empty()) {
        return finding("cursors are in doubt: " + joined(doubts),
                       "run sagaz migrate --after-restore before the producers start");
    }
    // A relay's login may write the audit and not read it.
    if (!patient.is_true("select has_table_privilege('@schema@.audit', 'SELECT')")) {
        return ok("every cursor means something here");
    }
    const auto rebased = patient.value(kRebased);
    return ok(rebased.empty() ? "the log was never re-based" : "re-based " + rebased);
}

// ---------------------------------------------------------------------------------- publications

constexpr auto kPublications = R"(
select pg_catalog.format('ALTER PUBLICATION %I SET (publish = ''%s'');', p.pubname,
    concat_ws(', ', case when p.pubinsert then 'insert' end,
              case when p.pubupdate then 'update' end, case when p.pubdelete then 'delete' end))
from pg_catalog.pg_publication p
where p.pubtruncate and (p.puballtables or exists (
    select from pg_catalog.pg_publication_tables t
    where t.pubname = p.pubname and t.schemaname = '@schema@' and t.tablename like 'outbox%'))
order by 1)";

Result check_publications(Patient& patient) {
    const auto statements = patient.column(kPublications);
    if (statements.empty()) return ok("none replicates a TRUNCATE of the log");
    std::string all;
    for (const auto& statement : statements) all += (all.empty() ? "" : " ") + statement;
    return finding(std::to_string(statements.size()) + " that would replicate one", all);
}

// -------------------------------------------------------------------------------------- segments

// Who keeps a delivered segment from being emptied: every lock on a leaf or on its TOAST table
// does, once its transaction lasts. Where its time is hidden the pid is all there is to say.
// "{holders}" is postgres::kLockHolders.
constexpr auto kHolders = R"(
with wanted as (
    select c.oid, c.oid as held, c.relname from pg_catalog.pg_class c
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    where i.inhparent = '@schema@.outbox'::regclass
    union all
    select c.oid, c.reltoastrelid, c.relname from pg_catalog.pg_class c
    join pg_catalog.pg_inherits i on i.inhrelid = c.oid
    where i.inhparent = '@schema@.outbox'::regclass and c.reltoastrelid <> 0
), {holders}, named as (
    select h.relname || case when h.tables > 1 then format(' and %s more', h.tables - 1) else '' end
               as what,
           h.who, h.virtualtransaction, h.since, h.query_start,
           h.pid is not null and h.xact_start is null
               and not pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'usage')
               as is_hidden
    from holder h
)
select case when n.is_hidden
            then format('%s holds %s, its age hidden without pg_monitor', n.who, n.what)
            else format('%s holds %s for %s s', n.who, n.what,
                        extract(epoch from clock_timestamp() - n.since)::bigint)
                 || coalesce(', its query began at '
                             || to_char(n.query_start, 'YYYY-MM-DD HH24:MI:SS'), '')
       end,
       case when n.is_hidden then n.virtualtransaction end
from named n
where n.is_hidden or n.since < clock_timestamp() - interval '10 seconds'
order by n.since nulls last
limit 100)";

constexpr auto kUse = R"(
select count(*) filter (where s.rows_size > 0) || ' of ' || count(*) || ' hold events, '
       || pg_size_pretty(sum(s.whole))
from (select pg_relation_size(i.inhrelid) as rows_size,
             pg_total_relation_size(i.inhrelid) as whole
      from pg_catalog.pg_inherits i where i.inhparent = '@schema@.outbox'::regclass) s)";

using Holders = std::map<std::string, std::string>;  // words by transaction, where those are hidden

std::pair<std::vector<std::string>, Holders> holders_in(Patient& patient) {
    std::pair<std::vector<std::string>, Holders> found;
    for (const auto& row :
         patient.rows(core::replaced(kHolders, "{holders}", postgres::kLockHolders))) {
        if (row[1]) {
            found.second.emplace(*row[1], text(row, 0));
        } else {
            found.first.push_back(text(row, 0));
        }
    }
    return found;
}

// Every insert under way holds a segment. Whose age is hidden counts when it lasts as long as one
// that is seen.
constexpr milliseconds kLasts{10'000};

Result check_segments(Patient& patient) {
    using Clock = std::chrono::steady_clock;
    auto [old, hidden] = holders_in(patient);
    for (const auto end = Clock::now() + kLasts; !hidden.empty() && Clock::now() < end;) {
        std::this_thread::sleep_for(milliseconds{500});
        auto now = holders_in(patient);
        std::erase_if(hidden, [&](const auto& one) { return !now.second.contains(one.first); });
        old = std::move(now.first);
    }
    for (const auto& [transaction, words] : hidden) old.push_back(words);
    if (old.empty()) {
        return ok(patient.value(kUse) + "; nobody has held one for ten seconds");
    }
    if (old.size() > 10) old.resize(10);
    return finding(joined(old),
                   "end what is forgotten: SELECT pg_terminate_backend(PID), ROLLBACK PREPARED "
                   "'GID'; where an age is hidden, GRANT pg_monitor to the login that runs doctor");
}

constexpr std::array kChecks{
    Check{"schema", "this build needs the newest tables and functions", check_schema, Needs::store},
    Check{"rights", "whoever lacks a right stops at its first use", check_rights, Needs::schema,
          true},
    Check{"sequence", "ids order the events of a key", check_sequence, Needs::schema, true},
    Check{"restore", "snapshots of another cluster count new events as delivered", check_restore,
          Needs::schema, true},
    Check{"publications", "a subscriber would lose what the log empties after delivery",
          check_publications, Needs::schema, true},
    Check{"segments", "a segment that is held cannot be emptied, and the log grows", check_segments,
          Needs::schema, true},
};

}  // namespace

std::span<const Check> checks_of_log() { return kChecks; }

}  // namespace sagaz::inline v0::app
