// bare_read URL EVENTS: reads the whole log in id order as a simple good libpq program would, and
// does nothing with it. The measuring stick for the relay's drain.
//
// Windows of 5,000 ids, each read from the leaf that holds them by one PQexecParams in binary
// form. The log has an index by (slot, id) only, so a window names every slot: sixteen short index
// ranges, and a sort of 5,000 rows. All columns that a message needs are fetched.
#include <libpq-fe.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

constexpr std::int64_t kWindow = 5'000;
constexpr std::int64_t kSegment = std::int64_t{1} << 18;
constexpr std::int64_t kSegments = 16;

struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
};
struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Result = std::unique_ptr<PGresult, Clear>;

Result query(PGconn* connection, const std::string& sql, const std::string& from,
             const std::string& upto) {
    const char* values[] = {from.c_str(), upto.c_str()};
    Result result(PQexecParams(connection, sql.c_str(), 2, nullptr, values, nullptr, nullptr, 1));
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
        throw std::runtime_error(PQerrorMessage(connection));
    }
    return result;
}

std::string window_of(std::int64_t segment) {
    const std::string leaf = (segment < 10 ? "0" : "") + std::to_string(segment);
    return "SELECT xid, id, slot, created_at, event_id, topic, key, event_type, content_type, "
           "payload,"
           " headers::text, aggregate_id FROM sagaz.outbox_" +
           leaf +
           " WHERE slot = ANY ('{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'::smallint[])"
           " AND id > $1::bigint AND id <= $2::bigint ORDER BY id";
}

struct Sum {
    std::int64_t rows{};
    std::int64_t bytes{};
};

Sum read_all(PGconn* connection, std::int64_t events) {
    Sum sum;
    std::int64_t at = 0;
    while (sum.rows < events) {
        const std::int64_t segment = (at + 1) / kSegment;
        if (segment >= kSegments) throw std::runtime_error("the log holds fewer events");
        const std::int64_t end = std::min(at + kWindow, (segment + 1) * kSegment - 1);
        const Result result =
            query(connection, window_of(segment), std::to_string(at), std::to_string(end));
        const int rows = PQntuples(result.get());
        const int columns = PQnfields(result.get());
        for (int row = 0; row < rows; ++row) {
            for (int column = 0; column < columns; ++column) {
                sum.bytes += PQgetlength(result.get(), row, column);
            }
        }
        sum.rows += rows;
        at = end;
    }
    return sum;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fputs("usage: bare_read URL EVENTS\n", stderr);
        return 2;
    }
    try {
        const std::unique_ptr<PGconn, Finish> connection(PQconnectdb(argv[1]));
        if (PQstatus(connection.get()) != CONNECTION_OK) {
            throw std::runtime_error(PQerrorMessage(connection.get()));
        }
        const Sum sum = read_all(connection.get(), std::atoll(argv[2]));
        std::printf("%lld rows, %lld bytes\n", static_cast<long long>(sum.rows),
                    static_cast<long long>(sum.bytes));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bare_read: %s\n", error.what());
        return 1;
    }
}
