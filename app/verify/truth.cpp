#include "app/verify/sources.hpp"

#include <sagaz/error.hpp>

#include <libpq-fe.h>
#include <nlohmann/json.hpp>
#include <poll.h>

#include <array>
#include <charconv>
#include <chrono>
#include <memory>
#include <utility>

namespace sagaz::verify {

namespace {

struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
};
struct Clear {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using Result = std::unique_ptr<PGresult, Clear>;

constexpr const char* kHint =
    "Give a SELECT with the columns event_id, key, order_number; optional: topic, payload or "
    "payload_md5, event_type, content_type, source, headers.";

std::string trimmed(const char* text) {
    std::string line = text == nullptr ? "" : text;
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
    return line;
}

[[noreturn]] void refuse(const std::string& seen) {
    throw Error(ErrorKind::invalid, "truth_query", seen, kHint);
}

// What stands before dbname is a default that the URL may override. Who has received all of our
// statement and is gone without a word is found out by the keepalives.
Connection connect(const std::string& url, std::chrono::seconds patience) {
    const std::string seconds = std::to_string(patience.count());
    const std::array<const char*, 6> keywords{"connect_timeout",  "keepalives_idle",
                                              "keepalives_count", "keepalives_interval",
                                              "dbname",           nullptr};
    const std::array<const char*, 6> values{seconds.c_str(), "10", "3", "5", url.c_str(), nullptr};
    Connection connection(PQconnectdbParams(keywords.data(), values.data(), 1));
    if (PQstatus(connection.get()) != CONNECTION_OK) {
        throw Error(ErrorKind::unavailable, "store_unreachable",
                    trimmed(PQerrorMessage(connection.get())),
                    "Check --store, and that the database accepts connections.");
    }
    PQsetClientEncoding(connection.get(), "UTF8");
    return connection;
}

// The next result, null after the last, once it is there.
Result next_result(PGconn* connection, std::chrono::milliseconds silence) {
    const auto end = std::chrono::steady_clock::now() + silence;
    while (PQisBusy(connection) != 0) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            throw Error(
                ErrorKind::unavailable, "deadline_passed",
                "no answer to the truth in " + std::to_string(silence.count() / 1'000) + " s",
                "See in pg_stat_activity what it waits for, or give a truth that answers "
                "sooner: one without ORDER BY does.");
        }
        pollfd descriptor{PQsocket(connection), POLLIN, 0};
        ::poll(&descriptor, 1, static_cast<int>(left.count()));
        if (PQconsumeInput(connection) == 0) break;  // the result says what is wrong
    }
    return Result(PQgetResult(connection));
}

void run(PGconn* connection, const char* sql, std::chrono::milliseconds silence) {
    if (PQsendQuery(connection, sql) != 1) refuse(trimmed(PQerrorMessage(connection)));
    while (const Result result = next_result(connection, silence)) {
        if (PQresultStatus(result.get()) != PGRES_COMMAND_OK)
            refuse(trimmed(PQresultErrorMessage(result.get())));
    }
}

struct Columns {
    int event_id{-1}, key{-1}, order{-1}, topic{-1}, payload{-1}, payload_md5{-1}, event_type{-1},
        content_type{-1}, source{-1}, headers{-1};
};

Columns columns_of(const PGresult* result) {
    Columns columns;
    columns.event_id = PQfnumber(result, "event_id");
    columns.key = PQfnumber(result, "key");
    columns.order = PQfnumber(result, "order_number");
    if (columns.order < 0) columns.order = PQfnumber(result, "\"order\"");
    columns.topic = PQfnumber(result, "topic");
    columns.payload = PQfnumber(result, "payload");
    columns.payload_md5 = PQfnumber(result, "payload_md5");
    columns.event_type = PQfnumber(result, "event_type");
    columns.content_type = PQfnumber(result, "content_type");
    columns.source = PQfnumber(result, "source");
    columns.headers = PQfnumber(result, "headers");
    const std::pair<int, const char*> required[] = {
        {columns.event_id, "event_id"}, {columns.key, "key"}, {columns.order, "order_number"}};
    for (const auto& [index, name] : required) {
        if (index < 0) refuse(std::string("the truth has no column ") + name);
    }
    return columns;
}

std::optional<std::string_view> text_of(const PGresult* result, int column) {
    if (column < 0 || PQgetisnull(result, 0, column)) return std::nullopt;
    return std::string_view(PQgetvalue(result, 0, column),
                            static_cast<std::size_t>(PQgetlength(result, 0, column)));
}

int nibble(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

Digest digest_in(std::string_view hex) {
    if (hex.starts_with("\\x")) hex.remove_prefix(2);  // a bytea column, as text
    Digest digest{};
    if (hex.size() != 2 * digest.size()) refuse("payload_md5 is not 32 hexadecimal digits");
    for (std::size_t n = 0; n < digest.size(); ++n) {
        const int high = nibble(hex[2 * n]);
        const int low = nibble(hex[2 * n + 1]);
        if (high < 0 || low < 0) refuse("payload_md5 is not 32 hexadecimal digits");
        digest[n] = static_cast<char>(high * 16 + low);
    }
    return digest;
}

std::optional<Digest> digest_in(const PGresult* result, const Columns& columns) {
    if (const auto md5 = text_of(result, columns.payload_md5)) return digest_in(*md5);
    const auto payload = text_of(result, columns.payload);
    if (!payload) return std::nullopt;
    constexpr Oid kBytea = 17;
    if (PQftype(result, columns.payload) != kBytea) return digest_of(*payload);
    std::size_t size = 0;
    const std::unique_ptr<unsigned char, decltype(&PQfreemem)> bytes(
        PQunescapeBytea(reinterpret_cast<const unsigned char*>(payload->data()), &size), PQfreemem);
    if (!bytes) throw std::bad_alloc();
    return digest_of({reinterpret_cast<const char*>(bytes.get()), size});
}

// As in the log: an object or an array of pairs, and null when the event has none. Values that are
// no strings travel as JSON text.
OwnHeaders headers_in(std::string_view json) {
    const auto document = nlohmann::json::parse(json, nullptr, false);
    const auto text_of_value = [](const nlohmann::json& value) {
        return value.is_string() ? value.get<std::string>() : value.dump();
    };
    OwnHeaders own{.keeps_order = !document.is_object()};
    if (document.is_object()) {
        for (const auto& [name, value] : document.items()) {
            own.headers.push_back({name, text_of_value(value)});
        }
        return own;
    }
    if (!document.is_array()) refuse("headers is neither a JSON object nor an array of pairs");
    for (const auto& pair : document) {
        if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string()) {
            refuse("headers is an array of something else than [name, value]");
        }
        own.headers.push_back({pair[0].get<std::string>(), text_of_value(pair[1])});
    }
    return own;
}

void feed(const PGresult* result, const Columns& columns, Account& account) {
    Expected event;
    const auto id = text_of(result, columns.event_id);
    if (!id) refuse("an event_id is null");
    event.id = Id::parse(*id);
    event.key = text_of(result, columns.key);
    const auto order = text_of(result, columns.order);
    if (!order) refuse("an order_number is null");
    const auto [end, error] =
        std::from_chars(order->data(), order->data() + order->size(), event.order);
    if (error != std::errc{} || end != order->data() + order->size()) {
        refuse("order_number is not a 64-bit integer");
    }
    event.topic = text_of(result, columns.topic);
    event.payload = digest_in(result, columns);
    event.event_type = text_of(result, columns.event_type);
    event.content_type = text_of(result, columns.content_type);
    event.source = text_of(result, columns.source);
    if (columns.headers >= 0) {
        const auto json = text_of(result, columns.headers);
        event.headers = json ? headers_in(*json) : OwnHeaders{};
    }
    account.expect(event);
}

}  // namespace

void read_truth(const std::string& url, const std::string& sql, Account& account,
                const std::function<void()>& progress, TruthPatience patience) {
    const Connection connection = connect(url, patience.connect);
    PGconn* raw = connection.get();
    run(raw, "BEGIN READ ONLY", patience.silence);
    // With parameters, though there are none: that form takes one statement only.
    if (PQsendQueryParams(raw, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) != 1 ||
        PQsetSingleRowMode(raw) != 1) {
        refuse(trimmed(PQerrorMessage(raw)));
    }
    std::optional<Columns> columns;
    while (const Result result = next_result(raw, patience.silence)) {
        const ExecStatusType status = PQresultStatus(result.get());
        if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK) {
            const std::string seen = trimmed(PQresultErrorMessage(result.get()));
            if (PQstatus(raw) != CONNECTION_OK) {
                throw Error(ErrorKind::unavailable, "store_unreachable", seen,
                            "Run verify again when the database is back.");
            }
            refuse(seen.empty() ? "the statement returns no rows" : seen);
        }
        if (!columns) columns = columns_of(result.get());
        if (status != PGRES_SINGLE_TUPLE) continue;
        feed(result.get(), *columns, account);
        if (account.expected() % 4'096 == 0) progress();
    }
    run(raw, "ROLLBACK", patience.silence);
}

}  // namespace sagaz::verify
