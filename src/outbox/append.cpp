#include "outbox/append.hpp"

#include <set>
#include <string>
#include <utility>

namespace sagaz::inline v0::outbox {
namespace {

constexpr std::size_t kColumns = 9;  // headers apart

std::string insert_into(std::string_view table, bool is_held) {
    return "INSERT INTO " + std::string(table) +
           " (event_id, topic, key, event_type, content_type, payload, aggregate_type, "
           "aggregate_id, saga_id, headers" +
           (is_held ? ", held_until) VALUES " : ") VALUES ");
}

// What the ways have in common: an event's values and their order.
class Builder {
public:
    /// `hold` is the last value of each event, an expression; empty: it has none.
    Builder(std::string head, std::string hold) : hold_(std::move(hold)) {
        sql() = std::move(head);
    }
    virtual ~Builder() = default;
    Builder(const Builder&) = delete;
    Builder& operator=(const Builder&) = delete;

    void add(const Event& event) {
        if (has_rows_) sql() += ", ";
        has_rows_ = true;
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
        add_place({event.payload, false, true}, "bytea");
        sql() += ", ";
        add_text(event.aggregate_type ? &*event.aggregate_type : nullptr);
        sql() += ", ";
        add_text(event.aggregate_id ? &*event.aggregate_id : nullptr);
        sql() += ", ";
        add_text(event.saga_id ? &*event.saga_id : nullptr);
        sql() += ", ";
        add_headers(event.headers);
        if (!hold_.empty()) sql() += ", " + hold_;
        sql() += ')';
    }

    virtual Statement finish() = 0;

protected:
    struct Headers {
        std::string_view object{}, object_end{}, array{};
        std::size_t object_max{};  ///< Headers that fit the object's function.
    };

    virtual void add_id(const Id& id) = 0;
    virtual Headers headers() const = 0;
    /// How the text names its nth value.
    virtual std::string place(std::size_t n, std::string_view type) const = 0;

    std::string& sql() { return statement_.sql; }
    Statement take() { return std::move(statement_); }

    void add_place(const Parameter& parameter, std::string_view type) {
        statement_.parameters.push_back(parameter);
        sql() += place(statement_.parameters.size(), type);
    }

    void add_text(const std::string* text) {
        add_place(text ? Parameter{*text, false, false} : Parameter{{}, true, false}, "text");
    }

    // As bytes, since those are in the event and their text is not.
    static Parameter bytes_of(const Id& id) {
        return {{reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()}, false, true};
    }

private:
    // An object where names are unique, else an array of pairs, since Kafka repeats names.
    void add_headers(const std::vector<Header>& list) {
        if (list.empty()) {
            sql() += "NULL";
            return;
        }
        std::set<std::string_view> names;
        for (const auto& header : list) names.insert(header.name);
        const Headers words = headers();
        const bool is_object = names.size() == list.size() && list.size() <= words.object_max;
        sql() += is_object ? words.object : words.array;
        for (const auto& header : list) {
            if (&header != &list.front()) sql() += ", ";
            if (!is_object) sql() += words.array;
            add_text(&header.name);
            sql() += ", ";
            add_text(&header.value);
            if (!is_object) sql() += ')';
        }
        sql() += is_object ? words.object_end : ")";
    }

    std::string hold_;
    bool has_rows_{};
    Statement statement_;
};

class PostgresBuilder : public Builder {
protected:
    using Builder::Builder;

    void add_uuid(const Id& id) {
        sql() += "encode(";
        add_place(id.is_zero() ? Parameter{{}, true, true} : bytes_of(id), "bytea");
        sql() += ", 'hex')::uuid";
    }
    Headers headers() const override {
        return {"jsonb_object(ARRAY[", "])", "jsonb_build_array(", kHeadersMax};
    }
    std::string place(std::size_t n, std::string_view type) const override {
        return '$' + std::to_string(n) + "::" + std::string(type);
    }
};

/// The usual one event, by the function whose plan a session keeps.
class PostgresCall final : public PostgresBuilder {
public:
    PostgresCall(std::string_view schema, std::optional<Milliseconds> hold)
        : PostgresBuilder("SELECT new_event_id, id, xid, slot, incarnation FROM " +
                              std::string(schema) + ".append_ticket",
                          hold ? "hold_ms => " + std::to_string(hold->count()) : "") {}

    Statement finish() override { return take(); }

private:
    void add_id(const Id& id) override { add_uuid(id); }
};

class PostgresInsert final : public PostgresBuilder {
public:
    PostgresInsert(std::string_view schema, std::optional<Milliseconds> hold)
        : PostgresBuilder(insert_into(std::string(schema) + ".outbox", hold.has_value()),
                          hold ? held_until(*hold) : ""),
          schema_(schema) {}

    Statement finish() override {
        sql() += " RETURNING event_id, id, xid::text, slot, (SELECT i.token FROM " + schema_ +
                 ".incarnation i)";
        return take();
    }

private:
    // Not `now()`, which is the transaction's begin.
    static std::string held_until(Milliseconds hold) {
        return "pg_catalog.clock_timestamp() + '" + std::to_string(hold.count()) +
               " milliseconds'::interval";
    }

    void add_id(const Id& id) override {
        sql() += "coalesce(";
        add_uuid(id);
        sql() += ", " + schema_ + ".uuid_v7())";
    }

    std::string schema_;
};

class SqliteInsert final : public Builder {
public:
    SqliteInsert(std::string_view schema, std::optional<Milliseconds> hold)
        : Builder(insert_into("main." + std::string(schema) + "_outbox", hold.has_value()),
                  hold ? held_until(*hold) : ""),
          schema_("main." + std::string(schema)) {}

    // One writer at a time: a row's id stands for its transaction too.
    Statement finish() override {
        sql() += " RETURNING event_id, id, id, slot, (SELECT i.token FROM " + schema_ +
                 "_incarnation i)";
        return take();
    }

private:
    // In the form that the log's times have, so that they compare as text.
    static std::string held_until(Milliseconds hold) {
        const std::string fraction = std::to_string(1'000 + hold.count() % 1'000).substr(1);
        return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+" + std::to_string(hold.count() / 1'000) +
               '.' + fraction + " seconds')";
    }

    // Sixteen bytes to the 36 characters.
    void add_id(const Id& id) override {
        if (id.is_zero()) {
            sql() += "(SELECT v.id FROM " + schema_ + "_uuid_v7 v)";
            return;
        }
        sql() +=
            "(SELECT lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) "
            "|| '-' || substr(h, 17, 4) || '-' || substr(h, 21)) FROM (SELECT hex(";
        add_place(bytes_of(id), "blob");
        sql() += ") AS h))";
    }
    // A function takes at most 127 values.
    Headers headers() const override { return {"json_object(", ")", "json_array(", 60}; }
    // SQLite looks a numbered place up in a list of all, which is quadratic: 2 s for 28,000.
    std::string place(std::size_t /*n*/, std::string_view /*type*/) const override { return "?"; }

    std::string schema_;
};

template <class Way>
Statement build(std::string_view schema, std::span<const Event> events,
                std::optional<Milliseconds> hold) {
    Way builder(schema, hold);
    for (const auto& event : events) builder.add(event);
    return builder.finish();
}

}  // namespace

std::size_t parameters_max(Dialect dialect) { return dialect == Dialect::sqlite ? 30'000 : 60'000; }

std::size_t parameters_of(const Event& event) { return kColumns + 2 * event.headers.size(); }

Statement append_statement(Dialect dialect, std::string_view schema, std::span<const Event> events,
                           std::optional<Milliseconds> hold) {
    if (dialect == Dialect::sqlite) return build<SqliteInsert>(schema, events, hold);
    if (events.size() == 1) return build<PostgresCall>(schema, events, hold);
    return build<PostgresInsert>(schema, events, hold);
}

}  // namespace sagaz::inline v0::outbox
