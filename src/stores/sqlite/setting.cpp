// Changing what shapes bytes and order.
//
// Topic template and source may change only while nothing waits to be delivered: the check and the
// change are one transaction of the one writer, so no row slips in between. The change also writes
// a new incarnation token: every running relay finds its own out of date with its next call,
// forgets what it remembered and attaches anew, with the new settings.
#include "core/setting_value.hpp"
#include "stores/sqlite/database.hpp"
#include "stores/sqlite/migration.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

namespace sagaz::inline v0::sqlite {
namespace {

constexpr Milliseconds kBusyTimeout{30'000};

constexpr std::string_view kIsPending =
    "SELECT EXISTS (SELECT 1 FROM @schema@_backlog WHERE pending_events > 0) OR "
    "EXISTS (SELECT 1 FROM @schema@_parked WHERE direction = 'outbox')";

constexpr std::string_view kAudit =
    "INSERT INTO @schema@_audit (action, detail) SELECT 'set', json_object('key', ?1, 'old', "
    "(SELECT s.value FROM @schema@_setting s WHERE s.key = ?1), 'new', ?2)";

constexpr std::string_view kWrite =
    "INSERT INTO @schema@_setting (key, value) VALUES (?1, ?2) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value";

constexpr std::string_view kRenew =
    "UPDATE @schema@_incarnation SET token = (SELECT v.id FROM @schema@_uuid_v7 v)";

[[noreturn]] void refuse_fixed(std::string_view key, std::string_view why, std::string_view hint) {
    throw Error(ErrorKind::invalid, "setting_fixed",
                fmt::format("{} cannot change now: {}", key, why), std::string(hint));
}

}  // namespace

void set_setting(const std::string& path, std::string_view schema, std::string_view key,
                 std::string_view value) {
    core::check_setting(key, value);
    if (key == "slot_count" && value != "1") {
        refuse_fixed(key, "SQLite has one writer", "leave it at 1; a second relay stands by");
    }
    Database database(path, Access::open, kBusyTimeout);
    Scope scope(database, Scope::Kind::write);
    if (key != "on_refused" && key != "slot_count") {
        auto pending = database.query(with_schema(kIsPending, schema));
        if (pending.step() && pending.number_at(0) != 0) {
            refuse_fixed(key, "events wait to be delivered",
                         "stop the producers, let the relay drain (sagaz relay --until-drained), "
                         "settle what is parked, then set it");
        }
    }
    for (const auto sql : {kAudit, kWrite}) {
        database.query(with_schema(sql, schema)).text(key).text(value).run();
    }
    database.query(with_schema(kRenew, schema)).run();
    scope.commit();
}

}  // namespace sagaz::inline v0::sqlite
