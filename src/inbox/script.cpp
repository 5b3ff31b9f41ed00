#include "inbox/script.hpp"

#include "core/schema_name.hpp"
#include "core/text.hpp"
#include "inbox/answer.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <charconv>
#include <utility>

namespace sagaz::inline v0::inbox {
namespace {

std::vector<std::string> with_schema(std::vector<std::string> texts, std::string_view schema) {
    for (auto& text : texts) text = core::with_schema(text, schema);
    return texts;
}

Script with_schema(const Script& script, std::string_view schema) {
    return {with_schema(script.mark, schema),      core::with_schema(script.mark_all, schema),
            with_schema(script.count, schema),     with_schema(script.park, schema),
            with_schema(script.reason, schema),    with_schema(script.duration, schema),
            core::with_schema(script.due, schema), with_schema(script.take, schema),
            with_schema(script.refuse, schema)};
}

Parameter text(std::string_view value) { return {value, false, false}; }
Parameter null() { return {{}, true, false}; }
Parameter maybe(const std::optional<std::string>& value) { return value ? text(*value) : null(); }

std::vector<std::optional<std::string>> ask(Transaction& transaction,
                                            const std::vector<std::string>& texts,
                                            const std::vector<Parameter>& values) {
    Rows rows;
    for (const auto& sql : texts) rows = transaction.execute({sql, values});
    if (rows.size() != 1 || rows[0].empty()) throw_unexpected();
    return std::move(rows[0]);
}

Delivery::Counted counted_in(const std::vector<std::optional<std::string>>& row) {
    if (row.size() < 2 || !row[1]) throw_unexpected();
    Delivery::Counted result{settlement_in(row[0]), 0};
    const auto& digits = *row[1];
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), result.attempts);
    if (error != std::errc{}) throw_unexpected();
    return result;
}

constexpr std::array<std::string_view, 4> kIdHeaders{"ce_id", "message_id", "id", "event_id"};

// The first header that has one, by the order of the names and not of the headers.
template <class Names>
std::string_view id_in_headers(const Message& message, const Names& names) {
    for (const auto& name : names) {
        for (const auto& header : message.event.headers) {
            if (header.name == name && !header.value.empty()) return header.value;
        }
    }
    return {};
}

std::string_view id_of(const Message& message, const InboxOptions& options) {
    if (!message.id.empty()) return message.id;
    if (options.id_headers.empty()) return id_in_headers(message, kIdHeaders);
    return id_in_headers(message, options.id_headers);
}

std::optional<std::string> headers_of(const Message& message) {
    if (message.event.headers.empty()) return std::nullopt;
    auto pairs = nlohmann::json::array();
    for (const auto& header : message.event.headers) {
        pairs.push_back({core::as_text(header.name), core::as_text(header.value)});
    }
    return pairs.dump();
}

}  // namespace

// The functions of migrations/postgres/0002_inbox.sql, so that every language and this library do
// the same.
Script postgres_script() {
    Script script;
    script.mark = {
        "SELECT @schema@.inbox_mark($1::text, $2::text, $3::text, $4::text, $5::bytea, $6::text, "
        "$7::jsonb, $8::text, $9::text, $10::boolean, $11::text)"};
    script.mark_all =
        "SELECT m.outcome FROM @schema@.inbox_mark_all($1::text, $2::text[], $3::text[], "
        "$4::text[], $5::bytea[], $6::text[], $7::jsonb[], $8::text[], $9::text, $10::boolean, "
        "$11::text) WITH ORDINALITY AS m (outcome, n) ORDER BY m.n";
    script.count = {
        "SELECT c.outcome, c.attempts FROM @schema@.inbox_count($1::text, $2::text, $9::text, "
        "$10::integer, $11::integer, $3::text, $4::text, $5::bytea, $6::text, $7::jsonb, "
        "$8::text, $12::text) c"};
    script.park = {
        "SELECT @schema@.inbox_park($1::text, $2::text, $9::text, $10::text, 0, $3::text, "
        "$4::text, $5::bytea, $6::text, $7::jsonb, $8::text)"};
    script.reason = {"SELECT @schema@.inbox_parked_as($1::text, $2::text)"};
    script.duration = {
        "UPDATE @schema@.consumer_inbox SET processing_duration_ms = $3::double precision "
        "WHERE consumer_name = $1::text AND event_id = @schema@.inbox_event_id($2::text)"};
    script.due =
        "SELECT r.outcome, r.event_id, r.source_topic, r.event_type, "
        "pg_catalog.encode(r.payload, 'hex'), r.key, r.headers::text, r.content_type, 0 "
        "FROM @schema@.inbox_replay($1::text, $2::text, $3::boolean) r "
        "WHERE r.outcome IS NOT NULL";
    script.refuse = {
        "SELECT c.outcome, c.attempts FROM @schema@.inbox_replay_failed($1::text, $2::text, "
        "$3::text, $4::integer, $5::float8 * interval '1 ms', $6::float8 * interval '1 ms') c"};
    return script;
}

Scripts::Scripts(std::string_view schema)
    : postgres_(with_schema(postgres_script(), schema)),
      sqlite_(with_schema(sqlite_script(), schema)) {}

Delivery::Delivery(const Message& message, const InboxOptions& options, const Scripts& scripts)
    : message_(&message),
      options_(&options),
      scripts_(&scripts),
      id_(core::as_text(id_of(message, options))),
      has_id_(!id_.empty()),
      source_topic_(core::cut(core::as_text(message.source_topic), kTopicMax)),
      event_type_(core::cut(core::as_text(message.event.event_type), kEventTypeMax)),
      headers_(headers_of(message)),
      content_type_(core::cut(core::as_text(message.event.content_type), kEventTypeMax)) {
    if (message.event.key) key_ = core::cut(core::as_text(*message.event.key), kKeyMax);
    if (!has_id_) {
        id_ = fmt::format("{}/{}/{}", source_topic_, message.partition, message.position);
    }
}

std::optional<std::string> Delivery::lock_timeout(bool waits) const {
    if (!waits || options_->lock_timeout.count() == 0) return std::nullopt;
    return fmt::format("{}ms", options_->lock_timeout.count());
}

void Delivery::add_options(std::vector<Parameter>& values,
                           const std::optional<std::string>& patience) const {
    values.push_back(text(options_->on_failure == OnFailure::park_key ? "park_key" : "park_event"));
    values.push_back(text(options_->keep_payload ? "true" : "false"));
    values.push_back(maybe(patience));
}

Settlement Delivery::mark(Transaction& transaction, bool waits) const {
    auto all = values();
    const auto patience = lock_timeout(waits);
    add_options(all, patience);
    return settlement_in(ask(transaction, scripts_->of(transaction.dialect()).mark, all)[0]);
}

Delivery::Counted Delivery::count(Transaction& transaction, std::string_view cause,
                                  int attempts_max, int counted, bool waits) const {
    auto all = values();
    const auto patience = lock_timeout(waits);
    const std::string most = std::to_string(attempts_max);
    const std::string now = std::to_string(counted);
    all.push_back(text(cause));
    all.push_back(text(most));
    all.push_back(text(now));
    all.push_back(maybe(patience));
    return counted_in(ask(transaction, scripts_->of(transaction.dialect()).count, all));
}

void Delivery::park(Transaction& transaction, std::string_view reason,
                    std::string_view detail) const {
    auto all = values();
    all.push_back(text(reason));
    all.push_back(text(detail));
    ask(transaction, scripts_->of(transaction.dialect()).park, all);
}

std::string Delivery::reason(Transaction& transaction) const {
    const auto row = ask(transaction, scripts_->of(transaction.dialect()).reason,
                         {text(options_->consumer_name), text(id_)});
    return row[0].value_or("");
}

void Delivery::keep_duration(Transaction& transaction, double seconds) const {
    const std::string milliseconds = fmt::format("{:.3f}", seconds * 1000);
    for (const auto& sql : scripts_->of(transaction.dialect()).duration) {
        transaction.execute({sql, {text(options_->consumer_name), text(id_), text(milliseconds)}});
    }
}

namespace {

std::string from_hex(const std::string& hex) {
    std::string bytes(hex.size() / 2, '\0');
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        const char* const digits = hex.data() + 2 * n;
        unsigned byte = 0;
        if (std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) throw_unexpected();
        bytes[n] = static_cast<char>(byte);
    }
    return bytes;
}

// As headers_of wrote them, or an object that another language gave.
std::vector<Header> headers_in(const std::optional<std::string>& json) {
    std::vector<Header> headers;
    if (!json) return headers;
    const auto as_text = [](const nlohmann::json& value) {
        return value.is_string() ? value.get<std::string>() : value.dump();
    };
    const auto all = nlohmann::json::parse(*json);
    for (const auto& [name, value] : all.items()) {
        if (all.is_object()) {
            headers.push_back({name, as_text(value)});
        } else if (value.is_array() && value.size() == 2) {
            headers.push_back({as_text(value[0]), as_text(value[1])});
        }
    }
    return headers;
}

}  // namespace

std::optional<Due> take_due(Transaction& transaction, const InboxOptions& options,
                            const Scripts& scripts) {
    const auto& script = scripts.of(transaction.dialect());
    const std::string_view keeps = options.keep_payload ? "true" : "false";
    const auto rows = transaction.execute(
        {script.due,
         {text(options.consumer_name),
          text(options.on_failure == OnFailure::park_key ? "park_key" : "park_event"),
          text(keeps)}});
    if (rows.empty()) return std::nullopt;
    const auto& row = rows[0];
    if (row.size() != 9 || !row[1] || !row[8]) throw_unexpected();
    for (const auto& sql : script.take) {
        transaction.execute({sql, {text(options.consumer_name), text(*row[8]), text(keeps)}});
    }
    return Due{settlement_in(row[0]),
               {.id = *row[1],
                .event = {.topic = row[2].value_or(""),
                          .key = row[5],
                          .event_type = row[3].value_or(""),
                          .payload = from_hex(row[4].value_or("")),
                          .content_type = row[7].value_or(""),
                          .headers = headers_in(row[6])},
                .source_topic = row[2].value_or("")}};
}

Delivery::Counted refuse_due(Transaction& transaction, const InboxOptions& options,
                             const Scripts& scripts, const std::string& id,
                             std::string_view cause) {
    const std::string most = std::to_string(options.max_attempts);
    const std::string first = std::to_string(options.retry_initial.count());
    const std::string longest = std::to_string(options.retry_max.count());
    return counted_in(ask(transaction, scripts.of(transaction.dialect()).refuse,
                          {text(options.consumer_name), text(id), text(cause), text(most),
                           text(first), text(longest)}));
}

std::vector<Parameter> Delivery::values() const {
    return {text(options_->consumer_name),
            text(id_),
            text(source_topic_),
            text(event_type_),
            {message_->event.payload, false, true},
            maybe(key_),
            maybe(headers_),
            text(content_type_)};
}

}  // namespace sagaz::inline v0::inbox
