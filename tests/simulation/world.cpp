#include "world.hpp"

#include "publisher_process.hpp"
#include "relay_process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace sagaz::simulation {
namespace {

const std::deque<std::string>* g_current_lines = nullptr;

/// After the last heal the backlog must be gone within this time (invariant I20).
constexpr Duration kDrainWithin = seconds{30};
constexpr std::uint64_t kTurnsOfAPoll = 8;
constexpr std::uint64_t kTurnsOfASecond = 200;
constexpr Duration kDownMax = milliseconds{600};

class World {
public:
    explicit World(const Plan& plan)
        : plan_(plan),
          random_(plan.seed),
          scheduler_(random_.next()),
          trace_(scheduler_),
          database_(scheduler_, random_.next(), plan.settings),
          history_(database_, trace_),
          destination_(scheduler_, database_, history_, trace_),
          producers_(
              scheduler_, database_, [this] { return any_publisher(); }, plan.business,
              random_.next()) {
        destination_.set_faults(plan.broker, random_.next());
        history_.expect_grace(plan.options.grace);
        if (plan.calm) history_.forbid_repeats();
        g_current_lines = &trace_.last_lines();
    }
    ~World() {
        // While there is still a scheduler to hand their last messages to.
        for (const auto& relay : relays_) relay->kill();
        for (const auto& publisher : publishers_) publisher->kill();
        g_current_lines = nullptr;
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    Result run() {
        producers_.start();
        for (int n = 0; n < plan_.relays; ++n) start_relay();
        for (int n = 0; n < plan_.publishers; ++n) {
            scheduler_.after(plan_.publishers_after, [this] { start_publisher(); });
        }
        schedule_wal_writer();
        schedule_faults();
        schedule_publisher_faults();
        schedule_scaling();
        run_while_clean(plan_.busy);
        heal();
        const Instant limit = scheduler_.now() + kDrainWithin + plan_.business.long_max * 20;
        while (!is_drained() && scheduler_.now() < limit && history_.violations().empty()) {
            run_while_clean(milliseconds{100});
        }
        if (history_.violations().empty()) finish();
        return result();
    }

private:
    void run_while_clean(Duration time) {
        const Instant end = scheduler_.now() + time;
        while (scheduler_.now() < end && history_.violations().empty()) {
            scheduler_.run_until(std::min(end, scheduler_.now() + milliseconds{10}));
        }
    }

    void start_relay() {
        const RelayProcess::Setup setup{{scheduler_, database_, history_, trace_},
                                        destination_,
                                        plan_.options,
                                        healed_ ? healed(plan_.store) : plan_.store,
                                        fmt::format("relay{}", ++relays_started_),
                                        random_.next()};
        auto relay = std::make_shared<RelayProcess>(setup);
        relay->start();
        relays_.push_back(std::move(relay));
    }

    void start_publisher() {
        const int skew =
            static_cast<int>(random_.between(-plan_.clock_rate_max, plan_.clock_rate_max));
        const PublisherProcess::Setup setup{{scheduler_, database_, history_, trace_},
                                            destination_,
                                            plan_.optimistic,
                                            healed_ ? healed(plan_.store) : plan_.store,
                                            1'000 + skew,
                                            fmt::format("publisher{}", ++publishers_started_),
                                            random_.next()};
        auto publisher = std::make_shared<PublisherProcess>(setup);
        publisher->start();
        publishers_.push_back(std::move(publisher));
    }

    std::shared_ptr<PublisherProcess> any_publisher() {
        std::vector<std::shared_ptr<PublisherProcess>> living;
        for (const auto& publisher : publishers_) {
            if (publisher->is_staying()) living.push_back(publisher);
        }
        return living.empty() ? nullptr : living[random_.below(living.size())];
    }

    std::vector<RelayProcess*> staying_relays() const {
        std::vector<RelayProcess*> living;
        for (const auto& relay : relays_) {
            if (relay->is_staying()) living.push_back(relay.get());
        }
        return living;
    }

    RelayProcess* any_relay() {
        const auto living = staying_relays();
        return living.empty() ? nullptr : living[random_.below(living.size())];
    }

    std::optional<EventIndex> any_parked() {
        const auto& parked = database_.tables().parked;
        if (!database_.is_up() || parked.empty()) return std::nullopt;
        return parked[random_.below(parked.size())].event;
    }

    Duration some(Duration max) {
        return Duration{
            static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(max.count()) + 1))};
    }

    void schedule_wal_writer() {
        scheduler_.after(some(2 * plan_.wal_writer), [this] {
            const Lsn ahead = database_.insert_lsn() - database_.flushed_lsn();
            if (database_.is_up())
                database_.flush(database_.flushed_lsn() + random_.below(ahead + 1));
            schedule_wal_writer();
        });
    }

    template <class Fault>
    void schedule_some(int count, Fault fault) {
        for (int n = 0; n < count; ++n) {
            scheduler_.after(some(plan_.busy), [this, fault] {
                if (!healed_) fault();
            });
        }
    }

    void schedule_faults() {
        schedule_some(plan_.crashes, [this] { crash(); });
        schedule_some(plan_.restores, [this] { restore(); });
        schedule_some(plan_.outages, [this] {
            destination_.set_down(true);
            scheduler_.after(some(plan_.busy), [this] {
                if (destination_.is_down()) destination_.set_down(false);
            });
        });
        schedule_some(plan_.kills, [this] {
            if (RelayProcess* relay = any_relay()) relay->kill();
            scheduler_.after(some(kDownMax), [this] { start_relay(); });
        });
        schedule_some(plan_.freezes, [this] {
            if (RelayProcess* relay = any_relay()) relay->freeze(some(3 * plan_.options.lease));
        });
        schedule_some(1, [this] { destination_.mend(); });
        schedule_some(plan_.replays, [this] {
            if (const auto event = any_parked()) database_.replay(*event);
        });
        schedule_some(plan_.discards, [this] {
            if (const auto event = any_parked()) database_.discard(*event);
        });
        schedule_some(plan_.stops, [this] {
            if (RelayProcess* relay = any_relay()) relay->stop();
            scheduler_.after(some(kDownMax), [this] { start_relay(); });
        });
    }

    void schedule_publisher_faults() {
        schedule_some(plan_.publisher_kills, [this] {
            if (const auto publisher = any_publisher()) publisher->kill();
            scheduler_.after(some(kDownMax), [this] { start_publisher(); });
        });
        schedule_some(plan_.publisher_freezes, [this] {
            if (const auto publisher = any_publisher()) {
                publisher->freeze(some(2 * plan_.options.grace));
            }
        });
        schedule_some(plan_.publisher_stops, [this] {
            if (const auto publisher = any_publisher()) publisher->stop();
            scheduler_.after(some(kDownMax), [this] { start_publisher(); });
        });
        schedule_some(plan_.switches, [this] {
            const auto publisher = any_publisher();
            if (!publisher) return;
            publisher->enable(false);
            scheduler_.after(some(kDownMax), [publisher] { publisher->enable(true); });
        });
        schedule_some(plan_.clock_jumps, [this] {
            const Duration by = some(seconds{4}) - seconds{2};
            database_.set_clock(by);
            trace_.line("database", R"("what":"its clock jumps")");
        });
    }

    void schedule_scaling() {
        schedule_some(plan_.joins, [this] { start_relay(); });
        schedule_some(plan_.leaves, [this] {
            if (staying_relays().size() > 1) any_relay()->stop();
        });
    }

    void crash() {
        if (!database_.is_up()) return;
        const Lsn ahead = database_.insert_lsn() - database_.flushed_lsn();
        const Lsn survives =
            database_.flushed_lsn() + (random_.chance(500) ? 0 : random_.below(ahead + 1));
        database_.crash(survives);
        trace_.line("database", fmt::format(R"("what":"crash","left":{})", survives));
        scheduler_.after(some(kDownMax), [this] {
            database_.start();
            trace_.line("database", R"("what":"start")");
        });
    }

    void restore() {
        if (!database_.is_up()) return;
        database_.restore();
        ++restores_;
        trace_.line("database", R"("what":"restored")");
        scheduler_.after(some(kDownMax), [this] {
            database_.start();
            trace_.line("database", R"("what":"start")");
        });
    }

    void heal() {
        healed_ = true;
        destination_.mend();
        trace_.line("world", R"("what":"heal")");
        destination_.heal();
        for (const auto& relay : relays_) relay->heal();
        for (const auto& publisher : publishers_) publisher->heal();
        if (any_relay() == nullptr) start_relay();
    }

    bool is_drained() {
        if (!producers_.are_done() || !database_.is_up()) return false;
        return std::all_of(database_.rows().begin(), database_.rows().end(),
                           [&](const LogRow& row) { return is_row_done(row); });
    }

    bool is_row_done(const LogRow& row) {
        if (row.fate != Fate::committed || row.deleted) return true;
        // Judged when it was removed; a re-base does not move what is no longer there.
        if (row.reclaimed) return history_.is_settled(row);
        return history_.is_settled(row) && covers(database_.newest_cursor(row.slot), row) &&
               (!database_.is_parked(row.index) || has_reason_to_stay(row));
    }

    /// A parked event stays when it is dead or refused, or stands behind such a one.
    bool has_reason_to_stay(const LogRow& row) const {
        const bool by_key = row.key && plan_.settings.on_refused == OnRefused::park_key;
        return std::ranges::any_of(database_.tables().parked, [&](const ParkedEvent& parked) {
            const LogRow& other = database_.row(parked.event);
            const bool is_it = other.index == row.index;
            const bool is_before = by_key && same_lane(other, row) && other.position < row.position;
            return (is_it || is_before) && (parked.dead || destination_.is_refused(other));
        });
    }

    std::string what_is_left() {
        if (!producers_.are_done()) return "the producers never ended";
        for (const LogRow& row : database_.rows()) {
            if (is_row_done(row)) continue;
            return fmt::format("event {} of slot {} at position {}, {}", row.index, row.slot,
                               row.position,
                               database_.is_parked(row.index) ? "parked without a reason"
                               : history_.is_settled(row)     ? "settled but not passed"
                                                              : "not settled");
        }
        return "the database is down";
    }

    void finish() {
        if (!is_drained()) {
            history_.violation(
                fmt::format("not drained in time after healing: {}", what_is_left()));
        }
        for (const auto& relay : relays_) {
            if (!relay->error().empty()) history_.violation(relay->error());
        }
        for (const auto& publisher : publishers_) {
            if (!publisher->error().empty()) history_.violation(publisher->error());
        }
        history_.finish();
        check_that_none_spins();
    }

    /// With nothing to do a relay polls at its interval: a few commands each time (I22).
    void check_that_none_spins() {
        const std::uint64_t before = turns();
        const std::uint64_t before_of_publishers = turns_of_publishers();
        run_while_clean(seconds{1});
        check_publishers(turns_of_publishers() - before_of_publishers);
        std::uint64_t living = 0;
        for (const auto& relay : relays_) living += relay->is_over() ? 0 : 1;
        const auto polls = static_cast<std::uint64_t>(seconds{1} / plan_.options.poll_interval);
        idle_turns_ = living == 0 ? 0 : (turns() - before) / living;
        if (idle_turns_ > kTurnsOfAPoll * polls + kTurnsOfASecond) {
            history_.violation(
                fmt::format("a relay with nothing to do made {} turns in a second, "
                            "polling {} times",
                            idle_turns_, polls));
        }
    }

    /// They have answered, since each call has its time-out, and only serve their clients.
    void check_publishers(std::uint64_t turns) {
        for (const auto& publisher : publishers_) {
            if (publisher->open() == 0) continue;
            history_.violation(publisher->who() + " never answered a ticket");
        }
        if (turns > kTurnsOfASecond * publishers_.size()) {
            history_.violation(
                fmt::format("publishers with nothing to do made {} turns in a second", turns));
        }
    }

    std::uint64_t turns_of_publishers() const {
        std::uint64_t turns = 0;
        for (const auto& publisher : publishers_) turns += publisher->turns();
        return turns;
    }

    std::uint64_t turns() const {
        std::uint64_t turns = 0;
        for (const auto& relay : relays_) turns += relay->turns();
        return turns;
    }

    Tally tally() const {
        Tally tally;
        tally.events = database_.rows().size();
        for (const LogRow& row : database_.rows()) {
            tally.rolled_back += row.fate == Fate::rolled_back ? 1 : 0;
            tally.lost_in_crashes += row.fate == Fate::lost ? 1 : 0;
            tally.sent_by_publishers += row.deleted ? 1 : 0;
            tally.reclaimed += row.reclaimed ? 1 : 0;
            const bool was_parked = database_.was_parked(row.index);
            tally.retried += was_parked && history_.has_arrived(row.index) ? 1 : 0;
            tally.discarded += database_.was_discarded(row.index) ? 1 : 0;
        }
        for (const auto& slot : database_.tables().slots) {
            tally.takeovers += static_cast<std::uint64_t>(slot.epoch);
        }
        tally.arrived = history_.first_arrivals();
        tally.repeats = history_.repeats();
        tally.parked = database_.tables().parked.size();
        tally.moves = history_.moves();
        tally.marked = history_.marked();
        for (const auto& publisher : publishers_) {
            tally.tickets_published += publisher->published();
            for (std::size_t n = 0; n < tally.left.size(); ++n) {
                tally.left[n] += publisher->left()[n];
            }
        }
        tally.breaks = destination_.breaks();
        tally.crashes = database_.generation() - 1;
        tally.restores = restores_;
        tally.turns = turns();
        return tally;
    }

    Result result() {
        Result result;
        result.violations = history_.violations();
        result.trace_hash = trace_.hash();
        result.trace_lines = trace_.size();
        result.last_lines.assign(trace_.last_lines().begin(), trace_.last_lines().end());
        result.tally = tally();
        result.idle_turns = idle_turns_;
        return result;
    }

    Plan plan_;
    Random random_;
    Scheduler scheduler_;
    Trace trace_;
    SimDatabase database_;
    History history_;
    Destination destination_;
    Producers producers_;
    std::vector<std::shared_ptr<RelayProcess>> relays_;
    std::vector<std::shared_ptr<PublisherProcess>> publishers_;
    int relays_started_{};
    int publishers_started_{};
    std::uint64_t restores_{};
    std::uint64_t idle_turns_{};
    bool healed_{};
};

}  // namespace

std::uint64_t Tally::tickets_left() const {
    return std::accumulate(left.begin(), left.end(), std::uint64_t{});
}

void Tally::add(const Tally& other) {
    events += other.events;
    arrived += other.arrived;
    repeats += other.repeats;
    parked += other.parked;
    reclaimed += other.reclaimed;
    retried += other.retried;
    discarded += other.discarded;
    rolled_back += other.rolled_back;
    lost_in_crashes += other.lost_in_crashes;
    sent_by_publishers += other.sent_by_publishers;
    tickets_published += other.tickets_published;
    for (std::size_t n = 0; n < left.size(); ++n) left[n] += other.left[n];
    marked += other.marked;
    takeovers += other.takeovers;
    moves += other.moves;
    breaks += other.breaks;
    crashes += other.crashes;
    restores += other.restores;
    turns += other.turns;
}

Result run(const Plan& plan) { return World(plan).run(); }

const std::deque<std::string>* lines_of_current_run() { return g_current_lines; }

}  // namespace sagaz::simulation
