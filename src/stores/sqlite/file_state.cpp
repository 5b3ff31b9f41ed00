#include "stores/sqlite/file_state.hpp"

#include "core/schema_name.hpp"
#include "stores/sqlite/migration.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::inline v0::sqlite {

Error incarnation_changed() {
    return {ErrorKind::unavailable, "incarnation_changed",
            "the database file was replaced, set back, or set up anew",
            "nothing to do: it is read anew"};
}

void check_is_file(const std::string& path) {
    if (!path.empty() && path != ":memory:") return;
    throw Error(ErrorKind::invalid, "store_url", "\"" + path + "\" is no file",
                "name a file: a database in memory belongs to one connection; for tests take "
                "a file in a temporary folder");
}

void open_anew(std::unique_ptr<Database>& database, const std::string& path,
               Milliseconds busy_timeout) {
    if (database && !database->is_replaced()) return;
    database.reset();
    database = std::make_unique<Database>(path, Access::open, busy_timeout);
}

void check_schema(Database& database, const Statements& statements, const std::string& schema,
                  const std::string& path) {
    const auto missing = [&] {
        return Error(ErrorKind::invalid, "schema_missing",
                     fmt::format("the file has no tables {}_*", schema),
                     "run: sagaz migrate --store sqlite:" + path);
    };
    if (!database.query(statements.find_versions).step()) throw missing();
    auto versions = database.query(statements.versions);
    if (!versions.step()) throw missing();
    const auto seen = fmt::format("schema {} has version {}, this program knows {}", schema,
                                  versions.number_at(0), newest_version());
    if (versions.number_at(0) < newest_version()) {
        throw Error(ErrorKind::invalid, "schema_too_old", seen, "run: sagaz migrate");
    }
    if (versions.number_at(1) > newest_version()) {
        throw core::schema_too_new(schema, static_cast<int>(versions.number_at(0)),
                                   newest_version());
    }
}

void sync_log(const std::function<Database&()>& attached, const std::function<void()>& forget) {
    try {
        attached().sync_log();
    } catch (const Error& error) {
        if (error.code() != "incarnation_changed") forget();
        throw;
    }
    static_cast<void>(attached());
}

std::int64_t sequence_of(Database& database, const Statements& statements) {
    auto sequence = database.query(statements.sequence);
    sequence.step();
    return sequence.number_at(0);
}

std::int64_t delivered_by(const Snapshot& done, const Snapshot& target, std::int64_t position) {
    const auto below = [](const Snapshot& snapshot) {
        return static_cast<std::int64_t>(snapshot.running.empty() ? snapshot.xmax : snapshot.xmin);
    };
    return std::max(below(done), std::min(below(target), position + 1)) - 1;
}

}  // namespace sagaz::inline v0::sqlite
