#include "app/verify/sources.hpp"
#include "stores/sqlite/database.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sagaz::verify {

namespace {

constexpr Milliseconds kWait{15'000};
constexpr const char* kHint =
    "Give a SELECT with the columns event_id, key, order_number; optional: topic, payload or "
    "payload_md5, event_type, content_type.";

[[noreturn]] void refuse(const std::string& seen) {
    throw Error(ErrorKind::invalid, "truth_query", seen, kHint);
}

struct Columns {
    int event_id{-1}, key{-1}, order{-1}, topic{-1}, payload{-1}, payload_md5{-1}, event_type{-1},
        content_type{-1};
};

Columns columns_of(const sqlite::Query& query) {
    Columns columns;
    const std::pair<std::string_view, int*> places[] = {{"event_id", &columns.event_id},
                                                        {"key", &columns.key},
                                                        {"order_number", &columns.order},
                                                        {"order", &columns.order},
                                                        {"topic", &columns.topic},
                                                        {"payload", &columns.payload},
                                                        {"payload_md5", &columns.payload_md5},
                                                        {"event_type", &columns.event_type},
                                                        {"content_type", &columns.content_type}};
    for (const auto& [name, place] : places) {
        for (int n = 0; n < query.columns() && *place < 0; ++n) {
            if (query.name_of(n) == name) *place = n;
        }
    }
    for (const auto& [column, name] :
         {std::pair{columns.event_id, "event_id"}, std::pair{columns.key, "key"},
          std::pair{columns.order, "order_number"}}) {
        if (column < 0) refuse(std::string("the truth has no column ") + name);
    }
    return columns;
}

std::optional<std::string_view> text_of(const sqlite::Query& query, int column) {
    if (column < 0 || query.is_null(column)) return std::nullopt;
    return query.bytes_at(column);
}

std::string unhexed(std::string_view hex) {
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        if (c >= 'A' && c <= 'F') return c - 'A' + 10;
        refuse("payload_md5 is not 32 hexadecimal digits");
    };
    std::string bytes;
    for (std::size_t n = 0; n + 1 < hex.size(); n += 2) {
        bytes += static_cast<char>(digit(hex[n]) * 16 + digit(hex[n + 1]));
    }
    return bytes;
}

std::optional<Digest> digest_in(const sqlite::Query& query, const Columns& columns) {
    if (const auto md5 = text_of(query, columns.payload_md5)) {
        const std::string bytes = unhexed(*md5);
        Digest digest{};
        if (bytes.size() != digest.size()) refuse("payload_md5 is not 32 hexadecimal digits");
        std::copy(bytes.begin(), bytes.end(), digest.begin());
        return digest;
    }
    const auto payload = text_of(query, columns.payload);
    if (!payload) return std::nullopt;
    return digest_of(*payload);
}

void feed(const sqlite::Query& query, const Columns& columns, Account& account) {
    Expected event;
    const auto id = text_of(query, columns.event_id);
    if (!id) refuse("an event_id is null");
    event.id = Id::parse(*id);
    event.key = text_of(query, columns.key);
    if (!query.is_integer(columns.order)) refuse("an order_number is not a 64-bit integer");
    event.order = query.number_at(columns.order);
    event.topic = text_of(query, columns.topic);
    event.payload = digest_in(query, columns);
    event.event_type = text_of(query, columns.event_type);
    event.content_type = text_of(query, columns.content_type);
    account.expect(event);
}

}  // namespace

void read_sqlite_truth(const std::string& path, const std::string& sql, Account& account,
                       const std::function<void()>& progress) {
    sqlite::Database database(path, sqlite::Access::look, kWait);
    database.run_script("PRAGMA query_only = ON");
    try {
        auto query = database.query(sql);
        if (query.columns() == 0) refuse("the statement returns no rows");
        const Columns columns = columns_of(query);
        while (query.step()) {
            feed(query, columns, account);
            if (account.expected() % 4'096 == 0) progress();
        }
    } catch (const Error& error) {
        if (error.code() == "statement_failed" || error.code() == "schema_missing" ||
            error.code() == "read_only") {
            refuse(error.what());
        }
        throw;
    }
}

}  // namespace sagaz::verify
