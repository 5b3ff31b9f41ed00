// Changing what shapes bytes and order.
//
// A setting may change only while nothing depends on the old value: the slot count while no id was
// ever given out, topic template and source while nothing waits to be delivered. The check and the
// change are one transaction that holds a lock against inserts, so no row slips in between. The
// change also writes a new incarnation token: every running relay finds its own out of date with
// its next statement, forgets what it remembered and attaches anew, with the new settings. So no
// two relays go on with different ones. The audit keeps which token took the place of which: the
// memory is the same, so what became of a commit under the old one can still be told (resolve).
//
// That lock is waited for by with_lock_tries, so that inserts do not stand behind it. READ
// COMMITTED, since the check must see what was committed while the lock was waited for.
#include "core/setting_value.hpp"
#include "stores/postgres/connection.hpp"
#include "stores/postgres/embedded.hpp"
#include "stores/postgres/lock_tries.hpp"
#include "stores/postgres/migration.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <cstring>

namespace sagaz::inline v0::postgres {
namespace {

constexpr Connection::Deadlines kDeadlines{Milliseconds{10'000}, Milliseconds{60'000}};

constexpr std::string_view kBegin =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = pg_catalog; "
    "SELECT pg_advisory_xact_lock(hashtextextended('sagaz migrate @schema@', 0)); "
    "SET LOCAL statement_timeout = '60s'; ";

constexpr std::string_view kWasUsed = "SELECT is_called FROM @schema@.outbox_id";

constexpr std::string_view kIsPending =
    "SELECT EXISTS (SELECT FROM @schema@.backlog WHERE pending_events > 0) OR "
    "EXISTS (SELECT FROM @schema@.parked WHERE direction = 'outbox')";

constexpr std::string_view kWriteSetting = R"(
WITH old AS (
    SELECT value FROM @schema@.setting WHERE key = $1
), renewed AS (
    UPDATE @schema@.incarnation i SET token = gen_random_uuid()
    FROM (SELECT b.token FROM @schema@.incarnation b) b
    RETURNING b.token AS old_token, i.token AS new_token
), audited AS (
    INSERT INTO @schema@.audit (action, detail)
    SELECT 'set', jsonb_build_object('key', $1::text, 'old', old.value, 'new', $2::text,
                                     'old_incarnation', r.old_token, 'new_incarnation', r.new_token)
    FROM old LEFT JOIN renewed r ON true
)
UPDATE @schema@.setting SET value = $2 WHERE key = $1)";

constexpr std::string_view kRemoveSlots =
    "WITH gone AS (DELETE FROM @schema@.cursor WHERE slot >= $1::int RETURNING slot) "
    "DELETE FROM @schema@.slot WHERE slot >= $1::int";

constexpr std::string_view kAddSlots = R"(
WITH wanted AS (
    SELECT d.name, s.slot FROM @schema@.destination d, generate_series(0, $1::int - 1) s (slot)
), added AS (
    INSERT INTO @schema@.slot (destination, slot) SELECT name, slot FROM wanted
    ON CONFLICT (destination, slot) DO NOTHING
    RETURNING destination, slot
)
INSERT INTO @schema@.cursor (destination, slot, n, epoch, done, target, position, last_id,
                             system_identifier)
SELECT a.destination, a.slot, 0, 0, '1:1:', '1:1:', 0, 0, c.system_identifier
FROM added a, pg_control_system() c)";

[[noreturn]] void refuse_fixed(std::string_view key, std::string_view why, std::string_view hint) {
    throw Error(ErrorKind::invalid, "setting_fixed",
                fmt::format("{} cannot change now: {}", key, why), std::string(hint));
}

// The definition stands once, in the first migration; only its literal changes.
std::string slot_function(int count) {
    const auto begin = k_sql_log.find("CREATE FUNCTION @schema@.slot_of");
    const auto end = k_sql_log.find(';', begin);
    std::string sql(k_sql_log.substr(begin, end - begin));
    sql.replace(0, std::strlen("CREATE"), "CREATE OR REPLACE");
    constexpr std::string_view kLiteral = "% 16)";
    sql.replace(sql.find(kLiteral), kLiteral.size(), fmt::format("% {})", count));
    return sql;
}

bool is_true(Connection& connection, std::string_view sql, std::string_view schema) {
    const auto result = connection.execute(with_schema(sql, schema));
    return std::strcmp(PQgetvalue(result.get(), 0, 0), "t") == 0;
}

void change_slot_count(Connection& connection, std::string_view schema, int count) {
    // Waits for inserts in progress, and later ones wait for us.
    connection.execute(with_schema("LOCK TABLE @schema@.outbox IN ACCESS EXCLUSIVE MODE", schema));
    if (is_true(connection, kWasUsed, schema)) {
        refuse_fixed("slot_count", "events have been appended",
                     "it can be set only on a new schema, before the first append");
    }
    const auto parameter = Parameters{}.number(count);
    connection.execute(with_schema(slot_function(count), schema));
    connection.execute(with_schema(kRemoveSlots, schema), parameter);
    connection.execute(with_schema(kAddSlots, schema), parameter);
}

void check_nothing_pending(Connection& connection, std::string_view schema, std::string_view key) {
    connection.execute(
        with_schema("LOCK TABLE @schema@.outbox IN SHARE ROW EXCLUSIVE MODE", schema));
    if (is_true(connection, kIsPending, schema)) {
        refuse_fixed(key, "events wait to be delivered",
                     "stop the producers, let the relay drain (sagaz relay --until-drained), "
                     "settle what is parked, then set it");
    }
}

}  // namespace

namespace {

void change(Connection& connection, std::string_view schema, std::string_view key,
            std::string_view value) {
    connection.run_script(with_schema(kBegin, schema).append(kShortWait));
    if (key == "slot_count") {
        change_slot_count(connection, schema, core::parse_slot_count(value));
    } else if (key != "on_refused") {
        check_nothing_pending(connection, schema, key);
    }
    connection.execute(with_schema(kWriteSetting, schema), Parameters{}.text(key).text(value));
    connection.run_script("COMMIT");
}

}  // namespace

void set_setting(const std::string& url, std::string_view schema, std::string_view key,
                 std::string_view value) {
    check_schema_name(schema);
    core::check_setting(key, value);
    Connection connection(url, kDeadlines);
    with_lock_tries(connection, schema, [&] { change(connection, schema, key, value); });
}

}  // namespace sagaz::inline v0::postgres
