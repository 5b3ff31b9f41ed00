#pragma once

#include "app/commands.hpp"
#include "stores/postgres/connection.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace sagaz::inline v0::app::bench {

/// Random letters, so that no size is a matter of compression.
std::string letters(std::size_t count);

/// The log that benchmarks are run on: a schema that this object makes, and removes in the end with
/// all that is in it. It takes no other for its own.
class BenchLog {
public:
    struct Fill {
        std::int64_t events{};
        std::int64_t payload_bytes{200};
        std::int64_t keys{50'000};
        std::int64_t in_transaction{0};  ///< Events of one transaction; 0: all.
    };

    /// Throws `invalid` (`bench_schema`) for a schema that is there and was not made by a
    /// benchmark, or holds an event, a cursor that has moved or a live relay.
    explicit BenchLog(StoreTarget store);
    ~BenchLog();
    BenchLog(const BenchLog&) = delete;
    BenchLog& operator=(const BenchLog&) = delete;

    /// An empty log.
    void fresh(int slots = 16);
    /// Commits so many events.
    void fill(const Fill& fill);
    /// Vacuum, analyze, checkpoint: what a server does by and by.
    void settle();
    /// A log with these events and nothing else, as a server has it by and by.
    void hold(const Fill& fill, int slots = 16);
    /// Everything is undelivered again.
    void rewind();
    /// Everything is delivered but what was written by transactions from `first_pending` on.
    void wind_to(std::int64_t first_pending);
    std::int64_t pending();

    /// One statement; "@schema@" stands for the schema.
    postgres::Result run(std::string_view sql, const postgres::Parameters& parameters = {});
    std::int64_t number(std::string_view sql);
    /// Bytes that the server has written to its log so far, whoever wrote them.
    std::int64_t wal_written();
    std::string named(std::string_view sql) const;

    const StoreTarget& store() const { return store_; }

private:
    void refuse_foreign();
    void make(int slots);
    void remove();
    void put_cursors(const std::string& snapshot, std::int64_t position);

    StoreTarget store_;
    postgres::Connection connection_;
    bool is_ours_{};
};

}  // namespace sagaz::inline v0::app::bench
