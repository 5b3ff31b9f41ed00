#include "outbox/append.hpp"

#include <algorithm>
#include <set>
#include <string>

namespace sagaz::inline v0::outbox {
namespace {

constexpr std::size_t kColumns = 9;  // headers apart

class Builder {
public:
    explicit Builder(std::string_view schema) : schema_(schema) {
        statement_.sql = "INSERT INTO " + schema_ +
                         ".outbox (event_id, topic, key, event_type, content_type, payload, "
                         "aggregate_type, aggregate_id, saga_id, headers) VALUES ";
    }

    void add(const Event& event) {
        if (!statement_.parameters.empty()) sql() += ", ";
        sql() += '(';
        add_id(event.id);
        sql() += ", ";
        add_text(event.topic.empty() ? nullptr : &event.topic);
        sql() += ", ";
        add_text(event.key ? &*event.key : nullptr);
        sql() += ", ";
        add_text(&event.event_type);
        sql() += ", ";
        add_text(&event.content_type);
        sql() += ", ";
        add_bytes({event.payload, false, true});
        sql() += ", ";
        add_text(event.aggregate_type ? &*event.aggregate_type : nullptr);
        sql() += ", ";
        add_text(event.aggregate_id ? &*event.aggregate_id : nullptr);
        sql() += ", ";
        add_text(event.saga_id ? &*event.saga_id : nullptr);
        sql() += ", ";
        add_headers(event.headers);
        sql() += ')';
    }

    Statement finish() {
        sql() += " RETURNING event_id, id, xid::text, slot, (SELECT i.token FROM " + schema_ +
                 ".incarnation i)";
        return std::move(statement_);
    }

private:
    std::string& sql() { return statement_.sql; }

    void add_place(const Parameter& parameter, std::string_view type) {
        statement_.parameters.push_back(parameter);
        sql() += '$' + std::to_string(statement_.parameters.size()) + "::";
        sql() += type;
    }

    // As bytes, since those are in the event and their text is not.
    void add_id(const Id& id) {
        if (id.is_zero()) {
            sql() += "coalesce(encode(";
            add_place({{}, true, true}, "bytea");
        } else {
            sql() += "coalesce(encode(";
            const std::string_view bytes(reinterpret_cast<const char*>(id.bytes.data()),
                                         id.bytes.size());
            add_place({bytes, false, true}, "bytea");
        }
        sql() += ", 'hex')::uuid, " + schema_ + ".uuid_v7())";
    }

    void add_text(const std::string* text) {
        add_place(text ? Parameter{*text, false, false} : Parameter{{}, true, false}, "text");
    }

    void add_bytes(const Parameter& parameter) { add_place(parameter, "bytea"); }

    // An object where names are unique, else an array of pairs, since Kafka repeats names.
    void add_headers(const std::vector<Header>& headers) {
        if (headers.empty()) {
            sql() += "NULL";
            return;
        }
        std::set<std::string_view> names;
        for (const auto& header : headers) names.insert(header.name);
        const bool is_object = names.size() == headers.size();
        sql() += is_object ? "jsonb_object(ARRAY[" : "jsonb_build_array(";
        for (const auto& header : headers) {
            if (&header != &headers.front()) sql() += ", ";
            if (!is_object) sql() += "jsonb_build_array(";
            add_text(&header.name);
            sql() += ", ";
            add_text(&header.value);
            if (!is_object) sql() += ')';
        }
        sql() += is_object ? "])" : ")";
    }

    std::string schema_;
    Statement statement_;
};

}  // namespace

std::size_t parameters_of(const Event& event) { return kColumns + 2 * event.headers.size(); }

Statement insert_statement(std::string_view schema, std::span<const Event> events) {
    Builder builder(schema);
    for (const auto& event : events) builder.add(event);
    return builder.finish();
}

}  // namespace sagaz::inline v0::outbox
