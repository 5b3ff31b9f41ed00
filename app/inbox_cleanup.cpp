// Removes marks by the time at which they were set, walking along the key (consumer, event id): an
// index on the time would cost every message a write. Each batch looks at a bounded piece of the
// key and is one statement, thus one transaction. So an interrupted run leaves whole batches behind
// and the next run begins anew; of two runs at once the later one finds a mark gone and goes on.
//
// Ids that are UUIDv7 carry the time at which they were made, and nothing is consumed before it is
// made. So the ids made after the retention began, which are most of a large table, are left out of
// the walk, with a day for producers whose clocks are ahead. An id without a time that happens to
// lie there keeps its mark for longer, until the piece that is left out has moved on; none loses it
// sooner.
//
// A mark whose message is also parked stays: the body that was parked beside it would otherwise be
// a new message of that id.
//
// In PostgreSQL what can go as a whole partition goes so first, and partitions for the days to come
// are made (migration 0007), which a relay does by itself; unless it is about one consumer.
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/inbox_look.hpp"
#include "app/json_text.hpp"
#include "app/row.hpp"
#include "app/store.hpp"
#include "app/table.hpp"
#include "app/units.hpp"
#include "core/id_time.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <map>
#include <numeric>
#include <ostream>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::int64_t kBatchMarks = 1'000;
constexpr int kTriesMax = 10;  // of a batch that the database would not commit beside others
constexpr milliseconds kDeadline{300'000};       // a large partition is read before it goes
constexpr std::int64_t kPartitionsMax = 10'000;  // made and dropped by one run
// A broker brings a message again within minutes of a failure: below this every mark is too young.
constexpr milliseconds kRetentionMin{3'600'000};
constexpr milliseconds kRetentionMax{milliseconds{86'400'000} * 3'650};

constexpr const char* kLastId = "ffffffff-ffff-ffff-ffff-ffffffffffff";

// $1 consumer, $2 and $3 a piece of the key, $4 the time. SQLite numbers them as they first appear.
constexpr const char* kPast =
    " @schema@.consumer_inbox as i where i.consumer_name = $1 and i.event_id > $2 "
    "and i.event_id <= $3 and i.consumed_at < $4 and ";
constexpr const char* kParked =
    "from @schema@.parked p where p.direction = 'inbox' and p.destination = 'default' "
    "and p.consumer_name = $1 and p.event_id ";

// PostgreSQL has an index to find one message by, and asks it for each if the question is a scalar:
// "not exists" becomes a join, which reads all that the consumer has parked again for each mark
// when the planner expects one mark. SQLite has no such index: it reads all of that once a batch.
std::string marks_past(const StoreSession& session) {
    return kPast + (session.is_sqlite()
                        ? std::string{"i.event_id not in (select p.event_id "} + kParked +
                              "> $2 and p.event_id <= $3)"
                        : std::string{"(select count(*) "} + kParked + "= i.event_id) = 0");
}

const std::string kBatchEnd =
    "select i.event_id from @schema@.consumer_inbox i where i.consumer_name = $1 "
    "and i.event_id > $2 and i.event_id <= $3 order by i.event_id limit 1 offset " +
    std::to_string(kBatchMarks - 1);

struct Found {
    std::string consumer{};
    std::int64_t marks{};
};

std::int64_t sum_of(const std::vector<Found>& found) {
    return std::accumulate(found.begin(), found.end(), std::int64_t{0},
                           [](std::int64_t sum, const Found& some) { return sum + some.marks; });
}

class Cleanup {
public:
    Cleanup(const InboxCleanupOptions& options, Console& console)
        : options_{options},
          console_{console},
          session_{options.store, Purpose::clean_inbox, kDeadline},
          past_{marks_past(session_)} {}

    /// Also decides, once and by the database's clock, which marks are past their retention.
    void begin() {
        consumers_ = consumers_in(session_, options_.consumer);
        const auto now = clock_of(session_);
        const auto kept_from = now - options_.older_than;
        before_ = text(session_
                           .run(session_.is_sqlite()
                                    ? "select strftime('%Y-%m-%dT%H:%M:%fZ', $1 / 1000.0, "
                                      "'unixepoch')"
                                    : "select to_char(to_timestamp($1::bigint / 1000.0) at time "
                                      "zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
                                {std::to_string(kept_from.count())})
                           .at(0),
                       0);
        pieces_ = {Piece{Id{}.text(), core::first_id_of(kept_from + kClockAhead).text()},
                   Piece{core::first_id_of(now + kClockAhead).text(), kLastId}};
    }

    /// Marks set before this are past their retention.
    const std::string& before() const { return before_; }

    std::vector<Found> count() {
        return walk("counted", [this](const Values& values) {
            return whole(session_.run("select count(*) from" + past_, values).at(0), 0);
        });
    }

    std::vector<Found> remove() {
        const Json detail{{"before", before_},
                          {"consumer_name", options_.consumer ? Json(*options_.consumer) : Json()}};
        session_.run("insert into @schema@.audit (action, detail) values ('inbox_cleanup', $1)",
                     {detail.dump()});
        const auto dropped = keep_partitions();
        auto found = walk("removed", [this](const Values& values) { return remove_batch(values); });
        for (auto& some : found) {
            const auto gone = dropped.find(some.consumer);
            if (gone != dropped.end()) some.marks += gone->second;
        }
        return found;
    }

private:
    using Values = std::vector<std::string>;
    struct Piece {
        std::string after{};
        std::string upto{};
    };

    // Drops what is past the retention as a whole; returns how many marks went, by consumer.
    std::map<std::string, std::int64_t> keep_partitions() {
        std::map<std::string, std::int64_t> removed;
        if (session_.is_sqlite() || options_.consumer) return removed;
        const auto sql =
            "set transaction isolation level read committed; "
            "select k.made, k.dropped, k.removed, k.blocked from "
            "@schema@.inbox_keep(interval '" +
            std::to_string(options_.older_than.count()) + " ms', interval '200 ms', null, null) k";
        for (std::int64_t n = 0; n < kPartitionsMax; ++n) {
            const auto row = session_.run_script(sql).at(0);
            if (row[3] == "t") {
                console_.say(
                    "no partition was dropped or made: another transaction holds the inbox");
            }
            if (!row[0] && !row[1]) break;
            if (!row[1]) continue;
            console_.progress("dropped " + *row[1]);
            const auto gone = Json::parse(row[2].value_or("{}"));
            for (const auto& [consumer, marks] : gone.items()) {
                removed[consumer] += marks.get<std::int64_t>();
            }
        }
        return removed;
    }

    template <class Batch>
    std::vector<Found> walk(const std::string& done, const Batch& batch) {
        std::vector<Found> found;
        try {
            for (const auto& consumer : consumers_) {
                found.push_back({consumer});
                for (const auto& piece : pieces_) {
                    walk_piece(piece, found, done, batch);
                }
            }
        } catch (const Error&) {
            if (sum_of(found) > 0) {
                console_.say(done + ' ' + grouped(sum_of(found)) + " marks before this");
            }
            throw;
        }
        return found;
    }

    template <class Batch>
    void walk_piece(const Piece& piece, std::vector<Found>& found, const std::string& done,
                    const Batch& batch) {
        auto after = piece.after;
        for (bool is_last = false; !is_last;) {
            const auto start = Clock::now();
            const auto end = session_.run(kBatchEnd, {found.back().consumer, after, piece.upto});
            is_last = end.empty();
            const auto upto = is_last ? piece.upto : text(end[0], 0);
            const auto marks = batch(Values{found.back().consumer, after, upto, before_});
            found.back().marks += marks;
            after = upto;
            console_.progress(done + ' ' + grouped(sum_of(found)) + " marks");
            if (marks > 0 && session_.is_sqlite()) {
                // One connection writes at a time, and those who wait are not in a queue.
                std::this_thread::sleep_for(Clock::now() - start);
            }
        }
    }

    std::int64_t remove_batch(const Values& values) {
        for (int tries = 1;; ++tries) {
            try {
                return static_cast<std::int64_t>(
                    session_.run("delete from" + past_ + " returning 1", values).size());
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::conflict || tries == kTriesMax) {
                    throw;
                }
            }
        }
    }

    const InboxCleanupOptions& options_;
    Console& console_;
    StoreSession session_;
    const std::string past_;
    std::vector<std::string> consumers_;
    std::string before_;
    std::array<Piece, 2> pieces_;
};

void check_retention(const InboxCleanupOptions& options) {
    if (options.older_than < kRetentionMin || options.older_than > kRetentionMax) {
        refuse("option_range", options.older_than_from + " is " + duration_text(options.older_than),
               "give 1h to 3650d, and more than the longest time after which a message can come "
               "again: the broker's retention, and what is replayed");
    }
}

int report(const std::vector<Found>& found, const Cleanup& cleanup,
           const InboxCleanupOptions& options, Console& console) {
    const bool dry_run = options.mode == ChangeMode::dry_run;
    if (options.json) {
        const auto* const word = dry_run ? "would_remove" : "removed";
        auto consumers = Json::array();
        for (const auto& some : found) {
            consumers.push_back({{"consumer_name", some.consumer}, {word, some.marks}});
        }
        console.out() << line_of({{"schema", 1},
                                  {"dry_run", dry_run},
                                  {"before", cleanup.before()},
                                  {word, sum_of(found)},
                                  {"consumers", consumers}})
                      << '\n';
        return kOk;
    }
    std::vector<std::vector<std::string>> rows{{"CONSUMER", dry_run ? "WOULD REMOVE" : "REMOVED"}};
    for (const auto& some : found) {
        rows.push_back({some.consumer, grouped(some.marks)});
    }
    write_table(console.out(), rows);
    console.say((dry_run ? "would remove " : "removed ") + grouped(sum_of(found)) +
                " marks set before " + cleanup.before());
    return kOk;
}

}  // namespace

int run_inbox_cleanup(const InboxCleanupOptions& options, Console& console) {
    check_retention(options);
    const bool must_ask = options.mode == ChangeMode::ask;
    if (must_ask && !console.can_ask()) {
        refuse("confirmation_missing", "neither --yes nor --dry-run, and no terminal to ask on",
               "add --dry-run to see what would go, then --yes");
    }
    Cleanup cleanup{options, console};
    cleanup.begin();
    if (options.mode == ChangeMode::dry_run) {
        return report(cleanup.count(), cleanup, options, console);
    }
    if (must_ask && !console.ask("remove " + grouped(sum_of(cleanup.count())) +
                                 " marks set before " + cleanup.before() + "?")) {
        console.say("nothing is removed");
        return kOk;
    }
    return report(cleanup.remove(), cleanup, options, console);
}

}  // namespace sagaz::inline v0::app
