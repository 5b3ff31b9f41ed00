#pragma once

#include "stores/postgres/statements.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0::postgres {

/// The statements of an optimistic publisher. They call the functions of migration 0006, where the
/// argument of safety is; each carries the incarnation as `$1` and the destination as `$2`.
class PublisherStatements {
public:
    explicit PublisherStatements(std::string_view schema);

    /// `$1` destination: the incarnation (null: none to rely on) with each setting.
    const std::string& attach() const noexcept { return attach_; }

    /// `$3` margin in ms, `$4` and `$5` ids and event ids of what is acknowledged; then for each of
    /// `leaves` slots, ids and event ids. Columns as in `column`, behind them those of `confirmed`,
    /// all binary; one row for each event, leaf by leaf.
    std::string confirm(const std::vector<std::size_t>& leaves) const;

    /// For each of `leaves` slots, ids and event ids of what was accepted, and the same of what is
    /// left. One row: whether the incarnation is still that.
    std::string settle(const std::vector<std::size_t>& leaves) const;

private:
    std::string schema_;
    std::string attach_;
};

namespace confirmed {
enum : int { verdict = column::count, gate, flushed };
}  // namespace confirmed

}  // namespace sagaz::inline v0::postgres
