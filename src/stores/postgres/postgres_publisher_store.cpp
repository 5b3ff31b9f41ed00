#include "stores/postgres/postgres_publisher_store.hpp"

#include "core/assert.hpp"
#include "core/setting_value.hpp"
#include "stores/postgres/field.hpp"
#include "stores/postgres/guarded.hpp"
#include "stores/postgres/row_decoder.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace sagaz::inline v0::postgres {
namespace {

// A row that a relay marks at the same moment is a conflict where a login's sessions keep their
// snapshots.
constexpr int kConflictsMax = 3;

// The places of rows in a question, by leaf. Ascending: in this order a re-base locks the leaves.
using Places = std::map<std::size_t, std::vector<std::size_t>>;

Places places_of(std::span<const RowRef> rows) {
    Places places;
    for (std::size_t n = 0; n < rows.size(); ++n) {
        const auto segment = static_cast<std::uint64_t>(rows[n].position) >> kSegmentBits;
        places[segment % kSegments].push_back(n);
    }
    return places;
}

std::vector<std::size_t> leaves_of(const Places& places) {
    std::vector<std::size_t> leaves;
    for (const auto& [leaf, rows] : places) leaves.push_back(leaf);
    return leaves;
}

void add_rows(Parameters& parameters, std::span<const RowRef> rows,
              const std::vector<std::size_t>& places) {
    parameters.array(places, [&](std::size_t n) { return wide(rows[n].slot); })
        .array(places, [&](std::size_t n) { return rows[n].position; })
        .array(places, [&](std::size_t n) { return std::optional{rows[n].event_id.text()}; });
}

Verdict verdict_at(const PGresult* result, int row) {
    const auto verdict = binary_at<std::uint16_t>(result, row, confirmed::verdict);
    SAGAZ_ASSERT(verdict <= static_cast<std::uint16_t>(Verdict::not_committed));
    return static_cast<Verdict>(verdict);
}

/// The rows of a batch, which came leaf by leaf, in the order of their places in the question.
void sort_by_place(std::vector<Row>& rows, const std::vector<std::size_t>& places) {
    SAGAZ_ASSERT(rows.size() == places.size());
    std::vector<std::pair<std::size_t, Row>> placed;
    for (std::size_t n = 0; n < rows.size(); ++n) placed.emplace_back(places[n], rows[n]);
    std::ranges::sort(placed, {}, &std::pair<std::size_t, Row>::first);
    std::ranges::transform(placed, rows.begin(), &std::pair<std::size_t, Row>::second);
}

}  // namespace

PostgresPublisherStore::PostgresPublisherStore(const std::string& url, Options options)
    : options_(std::move(options)),
      statements_(options_.schema),
      publisher_(options_.schema),
      connection_(url, {options_.connect_timeout, options_.statement_timeout},
                  options_.current_url) {
    connection_.needs({options_.schema + "_publisher"});
}

Result PostgresPublisherStore::run(const std::string& sql, const Parameters& parameters,
                                   Format format) {
    return answer_to([&] {
        for (int tries = 1; tries < kConflictsMax; ++tries) {
            try {
                return connection_.execute(sql, parameters, format);
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::conflict) throw;
            }
        }
        return connection_.execute(sql, parameters, format);
    });
}

Parameters PostgresPublisherStore::guarded() const {
    Parameters parameters;
    return std::move(incarnation_ ? parameters.id(*incarnation_) : parameters.null());
}

Attached PostgresPublisherStore::attach() {
    durability_.forget();
    check_schema(connection_, statements_, options_.schema);
    const Result rows = run(publisher_.attach(), Parameters{}.text(options_.destination));
    incarnation_ = id_at(rows.get(), 0, 0);
    Attached attached;
    attached.incarnation = incarnation_.value_or(Id{});
    for (int n = 0; n < PQntuples(rows.get()) && !is_null(rows.get(), n, 1); ++n) {
        core::apply_setting(attached.settings, text_at(rows.get(), n, 1),
                            text_at(rows.get(), n, 2));
    }
    return attached;
}

Confirmation PostgresPublisherStore::confirm(std::span<const RowRef> asked,
                                             std::span<const RowRef> acknowledged,
                                             Milliseconds margin) {
    auto batch = std::make_unique<ResultBatch>();
    Confirmation answer;
    if (asked.empty()) {
        answer.batch = std::move(batch);
        return answer;
    }
    Parameters parameters = guarded();
    parameters.text(options_.destination)
        .number(margin.count())
        .array(acknowledged, [](const RowRef& row) { return row.position; })
        .array(acknowledged, [](const RowRef& row) { return std::optional{row.event_id.text()}; });
    const Places places = places_of(asked);
    for (const auto& [leaf, rows] : places) add_rows(parameters, asked, rows);
    Result result = run(publisher_.confirm(leaves_of(places)), parameters, Format::binary);

    SAGAZ_ASSERT(PQntuples(result.get()) == static_cast<int>(asked.size()));
    answer.verdicts.resize(asked.size());
    std::vector<std::size_t> ready;
    int row = 0;
    for (const auto& [leaf, rows] : places) {
        for (const std::size_t place : rows) {
            answer.verdicts[place] = verdict_at(result.get(), row);
            if (answer.verdicts[place] == Verdict::ready) ready.push_back(place);
            const auto gate = binary_at<std::uint64_t>(result.get(), row, confirmed::gate);
            const auto flushed = binary_at<std::uint64_t>(result.get(), row, confirmed::flushed);
            answer.gate = std::max(answer.gate, gate);
            answer.flushed = std::max(answer.flushed, durability_.safe(flushed));
            ++row;
        }
    }
    batch->take(std::move(result));
    if (places.size() > 1) sort_by_place(batch->rows, ready);
    answer.batch = std::move(batch);
    return answer;
}

std::uint64_t PostgresPublisherStore::flushed(bool force) {
    return durability_.flushed(force, statements_, connection_,
                               [&](const std::string& sql) { return run(sql, guarded()); });
}

void PostgresPublisherStore::settle(std::span<const RowRef> accepted,
                                    std::span<const RowRef> left) {
    Places removed = places_of(accepted);
    Places released = places_of(left);
    for (const auto& [leaf, rows] : removed) released[leaf];
    if (released.empty()) return;
    Parameters parameters = guarded();
    parameters.text(options_.destination);
    for (const auto& [leaf, rows] : released) {
        add_rows(parameters, accepted, removed[leaf]);
        add_rows(parameters, left, rows);
    }
    const Result row = run(publisher_.settle(leaves_of(released)), parameters);
    if (!is_true(row.get(), 0, 0)) throw incarnation_changed();
}

std::unique_ptr<PublisherStore> open_publisher(const std::string& url, Options options) {
    return std::make_unique<PostgresPublisherStore>(url, std::move(options));
}

}  // namespace sagaz::inline v0::postgres
