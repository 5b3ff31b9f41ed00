#include "app/bench/bare.hpp"

#include "core/migration.hpp"
#include "core/schema_name.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <array>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr std::int64_t kSegment = std::int64_t{1} << 18;
constexpr std::int64_t kSegments = 16;
constexpr std::int64_t kWindow = 5'000;
constexpr std::size_t kValuesMax = 8;

struct Values {
    explicit Values(std::initializer_list<BareValue> values) {
        for (const auto& value : values) {
            pointers[count] = value.bytes.data();
            lengths[count] = static_cast<int>(value.bytes.size());
            formats[count] = value.binary ? 1 : 0;
            ++count;
        }
    }
    std::array<const char*, kValuesMax> pointers{};
    std::array<int, kValuesMax> lengths{};
    std::array<int, kValuesMax> formats{};
    std::size_t count{};
};

// The log has no index by id alone, so a window names every slot: short index ranges, and a sort
// of 5,000 rows. From the leaf that holds the ids. All columns that a message needs are fetched.
std::string window_of(const std::string& schema, int slots, std::int64_t segment) {
    std::string all = "0";
    for (int slot = 1; slot < slots; ++slot) all += "," + std::to_string(slot);
    const std::string leaf = (segment < 10 ? "0" : "") + std::to_string(segment);
    return "SELECT xid, id, slot, created_at, event_id, topic, key, event_type, content_type, "
           "payload, headers::text, aggregate_id FROM " +
           schema + ".outbox_" + leaf + " WHERE slot = ANY ('{" + all +
           "}'::smallint[]) AND id > $1::bigint AND id <= $2::bigint ORDER BY id";
}

constexpr std::string_view kClassicColumns =
    "id, event_id, topic, key, event_type, content_type, payload, headers::text, created_at";

constexpr std::string_view kUnsent =
    "SELECT id FROM @schema@.classic WHERE state = 'new' ORDER BY id LIMIT $1::bigint "
    "FOR UPDATE SKIP LOCKED";

// The ids of a batch as one array value.
std::string ids_of(const PGresult* rows) {
    std::string ids = "{";
    for (int n = 0; n < PQntuples(rows); ++n) {
        if (n > 0) ids += ',';
        ids += PQgetvalue(rows, n, 0);
    }
    return ids + "}";
}

std::int64_t drain_by_update(BareConnection& connection, std::string_view batch) {
    for (std::int64_t total = 0;;) {
        const auto rows = connection.execute("claim", {{batch}});
        const int count = PQntuples(rows.get());
        if (count == 0) return total;
        touch(rows.get());
        connection.execute("mark", {{ids_of(rows.get())}});
        total += count;
    }
}

std::int64_t drain_by_delete(BareConnection& connection, std::string_view batch) {
    for (std::int64_t total = 0;;) {
        connection.run("BEGIN");
        const auto rows = connection.execute("take", {{batch}});
        touch(rows.get());
        connection.run("COMMIT");
        if (PQntuples(rows.get()) == 0) return total;
        total += PQntuples(rows.get());
    }
}

}  // namespace

BareConnection::BareConnection(const std::string& url) : connection_{PQconnectdb(url.c_str())} {
    if (PQstatus(connection_.get()) != CONNECTION_OK) checked(nullptr);
    run("SET client_min_messages = warning");
}

BareResult BareConnection::checked(PGresult* result) {
    BareResult owned{result};
    const auto status = PQresultStatus(owned.get());
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return owned;
    throw Error{ErrorKind::unavailable, "bench_failed", PQerrorMessage(connection_.get()),
                "see what the server says"};
}

BareResult BareConnection::run(const std::string& sql) {
    return checked(PQexec(connection_.get(), sql.c_str()));
}

void BareConnection::prepare(const std::string& name, const std::string& sql) {
    checked(PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr));
}

BareResult BareConnection::execute(const std::string& name, std::initializer_list<BareValue> values,
                                   bool binary) {
    const Values given{values};
    return checked(PQexecPrepared(connection_.get(), name.c_str(), static_cast<int>(given.count),
                                  given.pointers.data(), given.lengths.data(), given.formats.data(),
                                  binary ? 1 : 0));
}

BareResult BareConnection::read(const std::string& sql, std::initializer_list<BareValue> values) {
    const Values given{values};
    return checked(PQexecParams(connection_.get(), sql.c_str(), static_cast<int>(given.count),
                                nullptr, given.pointers.data(), given.lengths.data(),
                                given.formats.data(), 1));
}

std::int64_t touch(const PGresult* rows) {
    std::int64_t bytes = 0;
    for (int row = 0; row < PQntuples(rows); ++row) {
        for (int column = 0; column < PQnfields(rows); ++column) {
            bytes += PQgetlength(rows, row, column);
        }
    }
    return bytes;
}

std::int64_t read_bare(BareConnection& connection, const std::string& schema, int slots,
                       std::int64_t events) {
    std::int64_t read = 0;
    for (std::int64_t at = 0; read < events;) {
        const std::int64_t segment = (at + 1) / kSegment;
        if (segment >= kSegments) {
            throw Error{ErrorKind::invalid, "bench_failed", "the log holds fewer events",
                        "this is a bug of sagaz bench"};
        }
        const std::int64_t end = std::min(at + kWindow, (segment + 1) * kSegment - 1);
        const auto from = std::to_string(at);
        const auto upto = std::to_string(end);
        const auto rows = connection.read(window_of(schema, slots, segment), {{from}, {upto}});
        touch(rows.get());
        read += PQntuples(rows.get());
        at = end;
    }
    return read;
}

void fill_classic(BareConnection& connection, const std::string& schema, std::int64_t rows) {
    const auto run = [&](std::string_view sql) { connection.run(core::with_schema(sql, schema)); };
    run("DROP TABLE IF EXISTS @schema@.classic");
    run("CREATE TABLE @schema@.classic (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "event_id uuid NOT NULL, topic text, key text, event_type text NOT NULL, "
        "content_type text NOT NULL, payload bytea NOT NULL, headers jsonb, "
        "created_at timestamptz NOT NULL, state text NOT NULL DEFAULT 'new', "
        "claimed_at timestamptz, sent_at timestamptz)");
    run("CREATE INDEX classic_unsent ON @schema@.classic (id) WHERE state = 'new'");
    run("INSERT INTO @schema@.classic (event_id, topic, key, event_type, content_type, payload, "
        "headers, created_at) SELECT event_id, topic, key, event_type, content_type, payload, "
        "headers, created_at FROM @schema@.outbox WHERE id <= " +
        std::to_string(rows));
    run("VACUUM (ANALYZE) @schema@.classic");
}

std::int64_t drain_classic(BareConnection& connection, const std::string& schema, Peer peer) {
    const auto prepare = [&](const std::string& name, std::string_view sql) {
        connection.run("DEALLOCATE ALL");
        connection.prepare(name, core::with_schema(sql, schema));
    };
    const std::string columns{kClassicColumns};
    const std::string unsent{kUnsent};
    if (peer == Peer::delete_returning) {
        prepare("take",
                "DELETE FROM @schema@.classic WHERE id IN (" + unsent + ") RETURNING " + columns);
        return drain_by_delete(connection, "5000");
    }
    prepare("claim",
            "UPDATE @schema@.classic SET state = 'claimed', claimed_at = clock_timestamp() "
            "WHERE id IN (" +
                unsent + ") RETURNING " + columns);
    connection.prepare("mark", core::with_schema("UPDATE @schema@.classic SET state = 'sent', "
                                                 "sent_at = clock_timestamp() "
                                                 "WHERE id = ANY ($1::bigint[])",
                                                 schema));
    return drain_by_update(connection, peer == Peer::row_by_row ? "1" : "5000");
}

}  // namespace sagaz::inline v0::app::bench
