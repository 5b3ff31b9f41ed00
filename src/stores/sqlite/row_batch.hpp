#pragma once

#include "stores/sqlite/database.hpp"

#include <sagaz/store.hpp>

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <string_view>

namespace sagaz::inline v0::sqlite {

/// Rows whose views point into memory of the batch: SQLite's own is gone with the next row, and a
/// transaction that stayed open would keep its log from being reset.
class RowBatch final : public Batch {
public:
    struct Limits {
        std::size_t rows_max{};
        std::size_t bytes_max{};  ///< Of payloads.
    };

    /// Takes rows of `range` from a run of `Statements::read` as far as the limits allow, at least
    /// one. Returns up to where every row of the range has been taken.
    std::int64_t take(Query& rows, const SlotRange& range, Limits limits);
    /// The one row of a position from a query with those columns, if it is there.
    void take(Query& row, const RowRef& which);

private:
    std::string_view keep(std::string_view bytes);

    std::pmr::monotonic_buffer_resource memory_;
    std::size_t payload_bytes_{};
};

}  // namespace sagaz::inline v0::sqlite
