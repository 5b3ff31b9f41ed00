// What keeps dead rows, and what lets transaction ids run out.
#include "app/doctor.hpp"
#include "app/row.hpp"
#include "app/units.hpp"

#include <array>

namespace sagaz::inline v0::app {
namespace {

// Who is old enough to be forgotten: five minutes for what does nothing, an hour for what works.
// Of this database alone, as another's keep none of our rows.
constexpr auto kOld = R"(
select format('pid %s (%s%s)', a.pid, coalesce(nullif(a.application_name, '') || ', ', ''),
              a.state),
       extract(epoch from clock_timestamp() - a.xact_start)
from pg_catalog.pg_stat_activity a
where a.backend_type = 'client backend' and a.datname = current_database()
  and a.xact_start < clock_timestamp()
      - case when a.state = 'active' then interval '1 hour' else interval '5 minutes' end
union all
select format('prepared transaction %L', p.gid),
       extract(epoch from clock_timestamp() - p.prepared)
from pg_catalog.pg_prepared_xacts p
where p.database = current_database() and p.prepared < clock_timestamp() - interval '5 minutes'
order by 2 desc
limit 10)";

// Of those even what kind of process they are is hidden.
constexpr auto kHidden = R"(
select count(*) from pg_catalog.pg_stat_activity a
where a.datname = current_database() and a.usesysid is not null
  and a.pid <> pg_backend_pid() and not pg_has_role(a.usesysid, 'usage'))";

Result check_old_transactions(Patient& patient) {
    std::vector<std::string> old;
    for (const auto& row : patient.rows(kOld)) {
        old.push_back(text(row, 0) + " for " + seconds_text(real(row, 1)));
    }
    if (!old.empty()) {
        return finding(joined(old),
                       "end what is forgotten: SELECT pg_terminate_backend(PID), ROLLBACK PREPARED "
                       "'GID'");
    }
    const auto hidden = patient.sees_sessions() ? std::string{"0"} : patient.value(kHidden);
    if (hidden != "0") {
        return skipped("the ages of " + hidden +
                       " other sessions are hidden: GRANT pg_monitor to the login that runs "
                       "doctor");
    }
    return ok("none is forgotten: five minutes idle, prepared, or an hour at work");
}

// A million transactions: a relay alone has as many in a day, and each leaves dead rows where it
// stores its cursors.
constexpr auto kHolders = R"(
select format('replication slot %s keeps the dead rows of %s transactions', s.slot_name,
              age(s.xmin)),
       case when s.active then format('turn hot_standby_feedback off where slot %s is used, or end '
                                      'the long query there', s.slot_name)
            else format('SELECT pg_drop_replication_slot(%L), or start who reads it',
                        s.slot_name) end
from pg_catalog.pg_replication_slots s
where s.xmin is not null and age(s.xmin) > 1000000
union all
select format('replication slot %s, which nobody reads, keeps %s of WAL', s.slot_name,
              pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn))),
       format('SELECT pg_drop_replication_slot(%L), or start who reads it', s.slot_name)
from pg_catalog.pg_replication_slots s
where not s.active and s.restart_lsn is not null
  and not (s.xmin is not null and age(s.xmin) > 1000000)
  and pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)
      > pg_size_bytes(current_setting('max_wal_size'))
union all
select format('standby %s (hot_standby_feedback) keeps the dead rows of %s transactions',
              r.application_name, age(r.backend_xmin)),
       'end the long query on the standby, or turn hot_standby_feedback off there'
from pg_catalog.pg_stat_replication r
where r.backend_xmin is not null and age(r.backend_xmin) > 1000000
limit 10)";

Result check_replication_slots(Patient& patient) {
    std::vector<std::string> seen;
    std::vector<std::string> mend;
    for (const auto& row : patient.rows(kHolders)) {
        seen.push_back(text(row, 0));
        mend.push_back(text(row, 1));
    }
    if (!seen.empty()) return finding(joined(seen), joined(mend));
    const auto standbys = patient.value("select count(*) from pg_catalog.pg_stat_replication");
    if (standbys != "0" && !patient.sees_sessions()) {
        return skipped("what " + standbys +
                       " standbys hold back is hidden: GRANT pg_monitor to the login that runs "
                       "doctor");
    }
    return ok("none holds back a million transactions, or more WAL than max_wal_size");
}

// Half of what there is: 2^31 ids, of transactions and of multixacts, before writes are refused.
// Those of a database are its oldest table's, and any database's stop the whole server.
constexpr auto kOldTables = R"(
select what || ' at ' || (used / 21474836.48)::int || ' %'
from (select c.oid::regclass::text as what,
             greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) as used
      from pg_catalog.pg_class c
      where c.relkind in ('r', 't') and c.relpersistence <> 't'
        and (c.relnamespace = '@schema@'::regnamespace
             or c.oid in (select t.reltoastrelid from pg_catalog.pg_class t
                          where t.relnamespace = '@schema@'::regnamespace))
      union all
      select format('database %I', d.datname),
             greatest(age(d.datfrozenxid), mxid_age(d.datminmxid))
      from pg_catalog.pg_database d) f
where used >= 1073741824
order by used desc, what
limit 10)";

Result check_freezing(Patient& patient) {
    const auto old = patient.column(kOldTables);
    return old.empty() ? ok("no table of the log and no database has half used up its transaction "
                            "ids")
                       : finding(joined(old),
                                 "VACUUM (FREEZE) them, and end what keeps autovacuum from it: old "
                                 "transactions, prepared ones, replication slots");
}

constexpr std::array kChecks{
    Check{"old_transactions", "they keep dead rows, and the log from being emptied",
          check_old_transactions, Needs::store, true},
    Check{"replication_slots", "dead rows slow every read, and WAL fills the disk",
          check_replication_slots, Needs::store, true},
    Check{"freezing", "past two thousand million the server refuses every write", check_freezing,
          Needs::schema, true},
};

}  // namespace

std::span<const Check> checks_of_horizon() { return kChecks; }

}  // namespace sagaz::inline v0::app
