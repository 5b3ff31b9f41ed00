#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace sagaz::inline v0::postgres {

inline constexpr int kSegmentBits = 18;  ///< A segment of the log has 2^18 ids.
inline constexpr int kSegments = 16;     ///< And the ring has sixteen: see migration 0001.
inline constexpr std::size_t kWholeRing = kSegments;  ///< In place of a leaf: all of them.

/// Every statement of the store, on one page: statements.cpp. Each begins with the guard, whose
/// only parameter is $1, the incarnation; a statement that returns no row at all found another
/// incarnation, or a database in recovery. Only the checked schema name is ever put into a text;
/// `reclaim`, which goes out as one message, gets an id and numbers: see postgres_reclaim.cpp. The
/// re-base, which has no guard, since it judges by itself and renews the token, is rebaser.cpp's.
/// Those of parked events are in parked.cpp, and the one that bars a store in
/// postgres_given_up.cpp.
struct Statements {
    explicit Statements(std::string_view schema);

    std::string ready;
    std::string versions;
    std::string attach;
    std::string introduce;
    std::string observe;
    std::string acquire;
    std::string load_cursors;
    std::string load_stopped;
    std::string open_window;
    std::array<std::string, kSegments + 1> find_late;  ///< One a leaf; the last: the whole ring.
    std::array<std::string, kSegments> read;
    std::array<std::string, kSegments + 1> read_late;  ///< As find_late.
    std::string next_position;
    std::string flushed;
    std::string flush;
    std::string flush_standby;
    std::string store;
    std::string store_and_park;
    std::array<std::string, kSegments> look_at;
    std::array<std::string, kSegments> mark_delivered;
    std::string release;
    std::string leave;
    std::string tidy;
    std::string measure;
    std::string reclaim;
};

/// `text` with the guard in the place of "WITH guard", and the schema's name.
std::string guarded_statement(std::string_view text, std::string_view schema);

/// The columns of a row as `read` and `read_late` return them, all binary.
namespace column {
enum : int {
    slot,
    held,
    transaction,
    position,
    event_id,
    created_at,
    topic,
    key,
    event_type,
    content_type,
    payload,
    headers,
    aggregate_id,
    count
};
}  // namespace column

}  // namespace sagaz::inline v0::postgres
