#include "app/bench/bench_log.hpp"

#include "app/errors.hpp"
#include "app/store.hpp"
#include "app/url.hpp"
#include "core/migration.hpp"
#include "core/schema_name.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <random>
#include <utility>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr std::string_view kMark = "made by sagaz bench, which removes it";
constexpr Milliseconds kDeadline{900'000};

StoreTarget checked(StoreTarget store) {
    if (sqlite_path(store.url)) {
        refuse("store_scheme", "the benchmarks measure PostgreSQL", "give a postgresql:// URL");
    }
    core::check_schema_name(store.schema);
    return store;
}

std::string value_of(const postgres::Result& result) {
    const bool none = PQntuples(result.get()) == 0 || PQgetisnull(result.get(), 0, 0) != 0;
    return none ? std::string{} : PQgetvalue(result.get(), 0, 0);
}

// A new cursor for every slot, as the first migration writes it.
constexpr std::string_view kFirstCursors =
    "INSERT INTO @schema@.cursor (destination, slot, n, epoch, done, target, position, last_id, "
    "system_identifier) SELECT 'default', s.slot, 0, 0, $1::pg_snapshot, $1::pg_snapshot, "
    "$2::int8, $2::int8, c.system_identifier FROM @schema@.slot s, pg_control_system() c";

}  // namespace

std::string letters(std::size_t count) {
    std::mt19937_64 random{count};
    std::string text(count, ' ');
    for (char& letter : text) {
        letter = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"[random() % 64];
    }
    return text;
}

BenchLog::BenchLog(StoreTarget store)
    : store_{checked(std::move(store))},
      connection_{store_.url, {.connect = Milliseconds{5'000}, .statement = kDeadline}} {
    refuse_foreign();
    is_ours_ = true;
    fresh();
}

BenchLog::~BenchLog() {
    if (!is_ours_) return;
    try {
        remove();
    } catch (const std::exception&) {
        return;  // the next benchmark refuses what it finds, and says what to do
    }
}

void BenchLog::refuse_foreign() {
    const auto mark =
        value_of(run("SELECT coalesce(obj_description(to_regnamespace('@schema@'), "
                     "'pg_namespace'), '-') WHERE to_regnamespace('@schema@') "
                     "IS NOT NULL"));
    if (mark.empty()) return;
    const auto schema = "schema " + store_.schema;
    if (mark != kMark) {
        refuse("bench_schema", schema + " is there, and sagaz bench has not made it",
               "leave --schema out, or name one that is not there yet: it is removed in the end");
    }
    const auto is_there = [&](std::string_view table) {
        return number("SELECT (to_regclass('@schema@." + std::string{table} +
                      "') IS NOT NULL)::int") != 0;
    };
    const auto any = [&](std::string_view table, std::string_view condition) {
        return is_there(table) &&
               number("SELECT count(*) FROM (SELECT FROM @schema@." + std::string{table} +
                      " WHERE " + std::string{condition} + " LIMIT 1) any_row") != 0;
    };
    std::string found;
    if (any("relay", "beat_at > clock_timestamp() - interval '15 s'")) found = "a live relay";
    if (any("cursor", "n > 0")) found = "a cursor that has moved";
    if (any("outbox", "true")) found = "events";
    if (found.empty()) return;
    refuse("bench_schema", schema + " of an earlier benchmark holds " + found,
           "when no other sagaz bench runs there: DROP SCHEMA " + store_.schema +
               " CASCADE; or name another by --schema");
}

void BenchLog::make(int slots) {
    run("CREATE SCHEMA IF NOT EXISTS @schema@");
    run("COMMENT ON SCHEMA @schema@ IS '" + std::string{kMark} + "'");
    migrate_schema(store_, false);
    if (slots != 16) change_setting(store_, "slot_count", std::to_string(slots));
}

void BenchLog::remove() { run("DROP SCHEMA IF EXISTS @schema@ CASCADE"); }

void BenchLog::fresh(int slots) {
    remove();
    make(slots);
}

void BenchLog::fill(const Fill& fill) {
    const auto once = fill.in_transaction > 0 ? fill.in_transaction : fill.events;
    const auto payload = letters(static_cast<std::size_t>(fill.payload_bytes));
    for (std::int64_t done = 0; done < fill.events; done += once) {
        run("INSERT INTO @schema@.outbox (topic, key, event_type, payload, headers) "
            "SELECT 'sagaz-bench', (n % $3::int8)::text, 'OrderPlaced', b.payload, "
            "CASE WHEN n % 4 = 0 THEN '{\"tenant\": \"blue\"}'::jsonb END "
            "FROM (SELECT convert_to($4::text, 'UTF8') OFFSET 0) b (payload), "
            "generate_series($1::int8, $2::int8) n",
            postgres::Parameters{}
                .number(done + 1)
                .number(std::min(done + once, fill.events))
                .number(fill.keys)
                .text(payload));
    }
}

void BenchLog::settle() {
    run("VACUUM (ANALYZE) @schema@.outbox");
    try {
        run("CHECKPOINT");
    } catch (const Error& error) {
        if (error.code() != "permission_denied") throw;  // then the server chooses the moment
    }
}

void BenchLog::hold(const Fill& fill, int slots) {
    fresh(slots);
    this->fill(fill);
    settle();
}

void BenchLog::put_cursors(const std::string& snapshot, std::int64_t position) {
    run("DELETE FROM @schema@.cursor");
    run("VACUUM @schema@.cursor");
    run(kFirstCursors, postgres::Parameters{}.text(snapshot).number(position));
    run("UPDATE @schema@.slot SET owner = NULL, epoch = epoch + 1");
}

void BenchLog::rewind() { put_cursors("1:1:", 0); }

void BenchLog::wind_to(std::int64_t first_pending) {
    const auto xid = std::to_string(first_pending);
    const auto last =
        number("SELECT coalesce(max(id), 0) FROM @schema@.outbox WHERE xid < '" + xid + "'::xid8");
    put_cursors(xid + ":" + xid + ":", last);
}

std::int64_t BenchLog::pending() { return number("SELECT pending_events FROM @schema@.backlog"); }

postgres::Result BenchLog::run(std::string_view sql, const postgres::Parameters& parameters) {
    return connection_.execute(named(sql), parameters);
}

std::int64_t BenchLog::number(std::string_view sql) { return std::stoll("0" + value_of(run(sql))); }

std::string BenchLog::named(std::string_view sql) const {
    return core::with_schema(sql, store_.schema);
}

std::int64_t BenchLog::wal_written() {
    return number("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint");
}

}  // namespace sagaz::inline v0::app::bench
