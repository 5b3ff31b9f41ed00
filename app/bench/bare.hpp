#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

/// What sagaz is measured against: libpq as a simple good program would use it, and nothing else.
namespace sagaz::inline v0::app::bench {

struct ClearBareResult {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using BareResult = std::unique_ptr<PGresult, ClearBareResult>;

/// A value of a statement: text, or bytes as they are.
struct BareValue {
    std::string_view bytes{};
    bool binary{};
};

/// A blocking connection. Everything throws `unavailable` (`bench_failed`) with the server's words.
class BareConnection {
public:
    explicit BareConnection(const std::string& url);

    BareResult run(const std::string& sql);
    void prepare(const std::string& name, const std::string& sql);
    /// A prepared statement.
    BareResult execute(const std::string& name, std::initializer_list<BareValue> values,
                       bool binary = false);
    /// A statement that is not prepared, of a few values; the result is binary.
    BareResult read(const std::string& sql, std::initializer_list<BareValue> values);
    PGconn* native() const { return connection_.get(); }
    int backend_pid() const { return PQbackendPID(connection_.get()); }

private:
    BareResult checked(PGresult* result);
    struct Finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };
    std::unique_ptr<PGconn, Finish> connection_;
};

/// Looks at every field of every row, as whoever sends them would. Returns their bytes.
std::int64_t touch(const PGresult* rows);

/// Reads the whole log in the order of ids; returns the rows. The ids begin at 1.
std::int64_t read_bare(BareConnection& connection, const std::string& schema, int slots,
                       std::int64_t events);

/// Other ways to take rows off a table, each committing as such systems do.
enum class Peer { row_by_row, bulk_update, delete_returning };

/// Makes the table `classic` with the first `rows` events of the log, none of them sent.
void fill_classic(BareConnection& connection, const std::string& schema, std::int64_t rows);
/// Takes all of them, in the order of ids, and returns how many there were.
std::int64_t drain_classic(BareConnection& connection, const std::string& schema, Peer peer);

}  // namespace sagaz::inline v0::app::bench
