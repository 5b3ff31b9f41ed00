// Held rows, for a relay: what has become of them, and which ones it sent. They are few and close
// together, so mostly it is one statement.
#include "stores/postgres/field.hpp"
#include "stores/postgres/postgres_store.hpp"

namespace sagaz::inline v0::postgres {
namespace {

std::size_t leaf_of(const RowRef& row) {
    return static_cast<std::size_t>((row.position >> kSegmentBits) % kSegments);
}

}  // namespace

void PostgresStore::on_each_leaf(
    std::span<const RowRef> rows, const std::array<std::string, kSegments>& statements,
    const std::function<void(std::span<const std::size_t>, const PGresult*)>& take) {
    for (std::size_t leaf = 0; leaf < kSegments; ++leaf) {
        std::vector<std::size_t> places;
        for (std::size_t n = 0; n < rows.size(); ++n) {
            if (leaf_of(rows[n]) == leaf) places.push_back(n);
        }
        if (places.empty()) continue;
        const Result answer = run(
            statements[leaf], guarded()
                                  .array(places, [&](std::size_t n) { return wide(rows[n].slot); })
                                  .array(places, [&](std::size_t n) { return rows[n].position; })
                                  .array(places, [&](std::size_t n) {
                                      return std::optional{rows[n].event_id.text()};
                                  }));
        take(places, answer.get());
    }
}

std::vector<HoldState> PostgresStore::look_at(std::span<const RowRef> rows) {
    std::vector<HoldState> states(rows.size(), HoldState::gone);
    on_each_leaf(rows, statements_.look_at, [&](auto places, const PGresult* found) {
        for (std::size_t n = 0; n < places.size(); ++n) {
            const int row = static_cast<int>(n);
            if (is_null(found, row, 0)) continue;
            states[places[n]] = is_true(found, row, 0) ? HoldState::held : HoldState::released;
        }
    });
    return states;
}

void PostgresStore::mark_delivered(std::span<const RowRef> rows) {
    on_each_leaf(rows, statements_.mark_delivered, [](auto, const PGresult*) {});
}

}  // namespace sagaz::inline v0::postgres
