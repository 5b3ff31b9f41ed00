// The server of the log: what it is, whether it keeps what it commits, its clock, and what stands
// in front of it.
#include "app/doctor.hpp"
#include "app/errors.hpp"
#include "app/known_defects.hpp"
#include "app/row.hpp"
#include "app/units.hpp"
#include "app/url.hpp"

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;

constexpr int kServerMin = 140'000;  // as server_version_num

// Past the jitter of machines that keep their clocks by NTP, and well below what harms: the days
// of the inbox's partitions, the ages that alerts compare, certificates and tokens.
constexpr milliseconds kSkewMax{2'000};

std::int64_t number_of(const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); }

Result check_store(Patient& patient) {
    if (patient.is_sqlite()) return ok("SQLite " + patient.value("select sqlite_version()"));
    const auto version = patient.value("select current_setting('server_version_num')");
    if (number_of(version) < kServerMin) {
        return finding("PostgreSQL " + patient.value("show server_version"),
                       "upgrade the server to PostgreSQL 14 or later");
    }
    const auto encoding = patient.value("show server_encoding");
    if (encoding != "UTF8") {
        return finding("the database's encoding is " + encoding,
                       "make a database with ENCODING 'UTF8' and move there");
    }
    if (patient.is_true("select pg_is_in_recovery()")) {
        return finding("a standby, or still in recovery", "give the URL of the primary");
    }
    return ok("PostgreSQL " + patient.value("show server_version"));
}

// ------------------------------------------------------------------------------------- libraries

struct Release {
    Product product{};
    std::string_view name{};
    std::int64_t version{};
};

std::vector<Release> releases_of(Patient& patient) {
    std::vector<Release> all;
    if (patient.is_kafka()) {
        const auto packed = static_cast<std::int64_t>(rd_kafka_version());  // 0xMMmmrrpp
        all.push_back({Product::librdkafka, "librdkafka",
                       version_number(packed >> 24 & 255, packed >> 16 & 255, packed >> 8 & 255)});
    }
    const auto of_two_parts = [](std::int64_t number) {  // 150018
        return version_number(number / 10'000, number % 10'000);
    };
    if (patient.is_sqlite()) {
        const std::int64_t number = sqlite3_libversion_number();  // 3040001
        all.push_back({Product::sqlite, "SQLite",
                       version_number(number / 1'000'000, number / 1'000 % 1'000, number % 1'000)});
        return all;
    }
    all.push_back({Product::libpq, "libpq", of_two_parts(PQlibVersion())});
    if (patient.there >= Needs::store) {
        const auto number = patient.value("select current_setting('server_version_num')");
        all.push_back({Product::postgres, "PostgreSQL", of_two_parts(number_of(number))});
    }
    return all;
}

Result check_libraries(Patient& patient) {
    std::vector<std::string> names;
    std::vector<std::string> harmful;
    std::vector<std::string> upgrades;
    std::string notes;
    for (const auto& [product, name, version] : releases_of(patient)) {
        const auto release = std::string{name} + ' ' + version_text(product, version);
        names.push_back(release);
        std::int64_t upgrade = 0;
        for (const auto& defect : defects_of(product, version)) {
            const auto words =
                release + ": " + std::string{defect.what} + " (" + std::string{defect.source} + ")";
            if (defect.is_lived_with) {
                notes += "; known and lived with in " + words;
            } else {
                harmful.push_back(words);
                upgrade = std::max(upgrade, defect.before);
            }
        }
        if (upgrade > 0) {
            upgrades.push_back("upgrade to " + std::string{name} + ' ' +
                               version_text(product, upgrade) + " or later");
        }
    }
    return harmful.empty() ? ok(joined(names) + notes) : finding(joined(harmful), joined(upgrades));
}

// ------------------------------------------------------------------------------------ durability

// Where commits are told not to wait for the disk: by the server, or for this database or a login
// that writes to the log or the inbox. A column says what to do about it.
constexpr auto kCommitsUnsafe = R"(
with writer as (
    select r.oid, r.rolname from pg_catalog.pg_roles r
    where to_regclass('@schema@.outbox') is null
       or has_any_column_privilege(r.oid, to_regclass('@schema@.outbox'), 'INSERT')
       or has_any_column_privilege(r.oid, to_regclass('@schema@.consumer_inbox'), 'INSERT')
)
select 'the server', 'set synchronous_commit = on in postgresql.conf and reload'
from pg_catalog.pg_settings s
where s.name = 'synchronous_commit' and s.setting = 'off'
  and s.source not in ('database', 'user', 'database user', 'client', 'session')
union all
select case when s.setrole = 0 then format('database %I', current_database())
            else format('login %I', w.rolname) end,
       case when s.setrole = 0
            then format('ALTER DATABASE %I RESET synchronous_commit;', current_database())
            else format('ALTER ROLE %I%s RESET synchronous_commit;', w.rolname,
                        case when s.setdatabase = 0 then ''
                             else format(' IN DATABASE %I', current_database()) end) end
from pg_catalog.pg_db_role_setting s
cross join lateral unnest(s.setconfig) c (line)
left join writer w on w.oid = s.setrole
where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d
                            where d.datname = current_database()))
  and (s.setrole = 0 or w.oid is not null)
  and lower(c.line) in ('synchronous_commit=off', 'synchronous_commit=false',
                        'synchronous_commit=no', 'synchronous_commit=0'))";

// For store.durability: standby, which sends nothing that no standby has.
Result check_standby(Patient& patient, const std::string& seen) {
    const auto names = patient.value("show synchronous_standby_names");
    if (names.empty()) {
        return finding("store.durability is standby, and synchronous_standby_names is empty",
                       "set synchronous_standby_names in postgresql.conf and reload, or "
                       "store.durability to local");
    }
    if (!patient.sees_sessions()) {
        return skipped(seen + "; whether a standby of " + names +
                       " is connected is hidden: GRANT pg_monitor to the login that runs doctor");
    }
    const auto connected = patient.value(
        "select count(*) from pg_catalog.pg_stat_replication where sync_state in ('sync', "
        "'quorum')");
    if (connected == "0") {
        return finding("synchronous_standby_names is " + names +
                           ", and no standby of them is "
                           "connected: commits wait, and nothing is sent",
                       "start the standby, or look at its log; its primary_conninfo has to carry "
                       "that application_name");
    }
    return ok(seen + "; " + connected + " synchronous standby connected");
}

Result check_durability(Patient& patient) {
    std::vector<std::string> seen;
    std::vector<std::string> mend;
    for (const auto& name :
         patient.column("select name from pg_catalog.pg_settings where name in ('fsync', "
                        "'full_page_writes') and setting = 'off' order by name")) {
        seen.push_back(name + " is off");
        mend.push_back("set " + name + " = on in postgresql.conf and reload");
    }
    for (const auto& row : patient.rows(kCommitsUnsafe)) {
        seen.push_back("synchronous_commit is off for " + text(row, 0));
        mend.push_back(text(row, 1));
    }
    if (!seen.empty()) return finding(joined(seen), joined(mend));
    const auto well = "fsync, full_page_writes and synchronous_commit are on, wal_level is " +
                      patient.value("show wal_level");
    return patient.options().store.waits_for_standby ? check_standby(patient, well) : ok(well);
}

// ----------------------------------------------------------------------------------------- clock

struct Skew {
    milliseconds ahead{};    ///< The database's clock before ours; negative: behind.
    milliseconds unknown{};  ///< What the way of question and answer may hide.
};

Skew skew_of(Patient& patient) {
    using std::chrono::system_clock;
    Skew best{.unknown = milliseconds::max()};
    for (int n = 0; n < 3; ++n) {
        const auto before = system_clock::now();
        const auto there = number_of(
            patient.value("select (extract(epoch from clock_timestamp()) * 1000)::bigint"));
        const auto after = system_clock::now();
        const auto way = std::chrono::duration_cast<milliseconds>(after - before);
        const auto middle = std::chrono::duration_cast<milliseconds>(
            (before + (after - before) / 2).time_since_epoch());
        if (way / 2 < best.unknown) best = {milliseconds{there} - middle, way / 2};
    }
    return best;
}

Result check_clock(Patient& patient) {
    const auto skew = skew_of(patient);
    const auto apart = milliseconds{std::abs(skew.ahead.count())};
    if (apart - skew.unknown > kSkewMax) {
        return finding("the database's clock is " + duration_text(apart) +
                           (skew.ahead.count() > 0 ? " ahead of" : " behind") + " this host's",
                       "keep both by NTP: chronyc tracking, or timedatectl, on each");
    }
    return ok("the database's clock and this host's differ by " + duration_text(apart));
}

// ---------------------------------------------------------------------------------------- pooler

// Statement mode: a pooler refuses what a transaction needs. On a connection of its own, which is
// lost by it.
bool refuses_transactions(const DoctorOptions& options) {
    StoreSession session{options.store, Purpose::look, Patient::kDeadline};
    session.run("select 1");  // a failure to connect is no answer
    try {
        session.begin();
        session.run("select 1");
        session.rollback();
        return false;
    } catch (const Error& error) {
        if (error.code() == "deadline_passed") throw;
        return true;
    }
}

// Two clients that meet one server process between statements, or one client that meets two.
bool shares_sessions(const DoctorOptions& options) {
    StoreSession one{options.store, Purpose::look, Patient::kDeadline};
    StoreSession other{options.store, Purpose::look, Patient::kDeadline};
    std::string first;
    for (int n = 0; n < 3; ++n) {
        const auto of_one = text(one.look("select pg_backend_pid()").at(0), 0);
        const auto of_other = text(other.look("select pg_backend_pid()").at(0), 0);
        if (of_one == of_other || (!first.empty() && first != of_one)) return true;
        first = of_one;
    }
    return false;
}

Result check_pooler(Patient& patient) {
    const auto answers = number_of(patient.value("select pg_backend_pid()"));
    if (answers == patient.session().backend_pid()) return ok("none: the server itself answers");
    if (refuses_transactions(patient.options())) {
        return finding("a pooler in statement mode, which refuses BEGIN",
                       "set pool_mode = transaction for this database (pgbouncer.ini) and reload, "
                       "or give the server's own address");
    }
    return shares_sessions(patient.options())
               ? ok("a pooler in transaction mode")
               : ok("a pooler, in session mode as far as can be seen");
}

constexpr std::array kChecks{
    Check{"store", "the log lives there", check_store, Needs::nothing},
    Check{"libraries", "no care of ours mends what a release below us breaks", check_libraries,
          Needs::nothing},
    Check{"durability", "without it a crash of the server loses what it has committed",
          check_durability, Needs::store, true},
    Check{"clock", "ages, the inbox's days and certificates are judged by both clocks", check_clock,
          Needs::store, true},
    Check{"pooler", "an event and the rows that it tells of are one transaction", check_pooler,
          Needs::store, true},
};

}  // namespace

std::span<const Check> checks_of_server() { return kChecks; }

}  // namespace sagaz::inline v0::app
