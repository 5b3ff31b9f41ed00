#pragma once

#include "core/assert.hpp"
#include "stores/postgres/connection.hpp"

#include <sagaz/store.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sagaz::inline v0::postgres {

/// Rows whose views point into the results of libpq that the batch owns. Nothing is copied: one
/// row costs one `Row` in a vector that was sized before.
class ResultBatch final : public Batch {
public:
    /// Where a slot's rows had to end early because a payload was over the limit.
    struct Cut {
        std::int16_t slot{};
        std::int64_t position{};  ///< Of the row that was left out, and all rows at it.
        bool is_first{};          ///< Nothing of the slot came before it.
    };

    /// What one result said besides its rows.
    struct Taken {
        std::uint64_t flushed{};
        std::vector<Cut> cuts{};
    };

    /// Decodes a result of `Statements::read` or `read_late` and keeps it. Throws `unavailable`
    /// (`incarnation_changed`) when the guard did not pass.
    Taken take(Result result);

    /// Brings rows of several results into the order that `Batch` promises.
    void sort();

    std::size_t payload_bytes() const noexcept { return payload_bytes_; }

private:
    std::vector<Result> results_;
    std::size_t payload_bytes_{};
};

/// An integer of a binary result: they arrive in network order.
template <class Unsigned>
Unsigned binary_at(const PGresult* result, int row, int column) {
    SAGAZ_ASSERT(PQgetlength(result, row, column) == static_cast<int>(sizeof(Unsigned)));
    const char* bytes = PQgetvalue(result, row, column);
    Unsigned value = 0;
    for (std::size_t n = 0; n < sizeof(Unsigned); ++n) {
        value = static_cast<Unsigned>((value << 8U) | static_cast<unsigned char>(bytes[n]));
    }
    return value;
}

/// One row of a binary result. The payload must be there.
Row decode_row(const PGresult* result, int row);

}  // namespace sagaz::inline v0::postgres
