#include "stores/postgres/guarded.hpp"

#include "stores/postgres/field.hpp"
#include "stores/postgres/migration.hpp"

#include <fmt/format.h>

namespace sagaz::inline v0::postgres {

Error incarnation_changed() {
    return {ErrorKind::unavailable, "incarnation_changed",
            "the database lost its memory or was replaced", "nothing to do: it is read anew"};
}

Result answer_to(const std::function<Result()>& ask) {
    Result result;
    try {
        result = ask();
    } catch (const Error& error) {
        const bool again = error.kind() == ErrorKind::conflict || error.code() == "duplicate";
        if (!again) throw;
        throw Error(ErrorKind::unavailable, std::string(error.code()), error.what(),
                    "nothing to do: it is tried again");
    }
    if (PQntuples(result.get()) == 0) throw incarnation_changed();
    return result;
}

void check_schema(Connection& connection, const Statements& statements, std::string_view schema) {
    const Result ready = connection.execute(statements.ready);
    if (is_true(ready.get(), 0, 0)) {
        throw Error(ErrorKind::unavailable, "in_recovery", "the database is a standby",
                    "point the store URL at the primary");
    }
    const auto missing = [&] {
        return Error(ErrorKind::invalid, "schema_missing",
                     fmt::format("there is no schema {} of sagaz", schema), "run: sagaz migrate");
    };
    check_encoding(text_at(ready.get(), 0, 2));
    if (!is_true(ready.get(), 0, 1)) throw missing();
    const Result versions = connection.execute(statements.versions);
    if (PQntuples(versions.get()) == 0) throw missing();
    const int version = number_at<int>(versions.get(), 0, 0);
    const int compatible_from = number_at<int>(versions.get(), 0, 1);
    if (version < newest_version()) {
        throw Error(ErrorKind::invalid, "schema_too_old",
                    fmt::format("schema {} has version {}, this program knows {}", schema, version,
                                newest_version()),
                    "run: sagaz migrate");
    }
    if (compatible_from > newest_version()) {
        throw core::schema_too_new(schema, version, newest_version());
    }
}

}  // namespace sagaz::inline v0::postgres
