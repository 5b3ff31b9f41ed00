#pragma once

#include "history.hpp"
#include "scheduler.hpp"
#include "trace.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sagaz::simulation {

/// What goes wrong between a relay or a publisher and its database; in parts of a thousand calls.
struct StoreFaults {
    int fails_before{};  ///< The connection is lost before the statement took effect.
    int fails_after{};   ///< It took effect; the answer is lost.
    int slow{};          ///< Time passes before and after the statement, others act meanwhile.
    Duration slow_max{milliseconds{300}};
    int short_reads{};  ///< Reads that return less than they might.
    bool pooler{};      ///< The connection outlives a crash of the database, as through pgbouncer.
    bool writes_wait_for_disk{true};  ///< The relay's own statements commit synchronously.
    bool takes_xids{};                ///< `open_window` takes a transaction id to know the ceiling.
    bool ignores_token{};             ///< A wrong store, to prove that the model needs the guard.
    bool ignores_epoch{};             ///< The same for the owner's epoch.
    bool reclaims_what_was_read{};    ///< The same for removing by a cursor that is not stored.
    bool reclaims_by_one_slot{};      ///< The same for removing by the cursor of one slot.
    bool keeps_done{};                ///< The same for cursors of another cluster.
    bool confirms_by_the_log{};       ///< The same for a confirm that forgets what is parked,
    bool confirms_by_parked{};        ///< what is in the log before it,
    bool confirms_when_over{};        ///< or whose hold it is.
};

/// What is left of the faults when all is healed.
inline StoreFaults healed(const StoreFaults& faults) {
    return {.pooler = faults.pooler,
            .ignores_token = faults.ignores_token,
            .ignores_epoch = faults.ignores_epoch,
            .reclaims_what_was_read = faults.reclaims_what_was_read,
            .reclaims_by_one_slot = faults.reclaims_by_one_slot,
            .keeps_done = faults.keeps_done,
            .confirms_by_the_log = faults.confirms_by_the_log,
            .confirms_by_parked = faults.confirms_by_parked,
            .confirms_when_over = faults.confirms_when_over};
}

/// One connection to the database, with what goes wrong on it.
class SimSession {
public:
    struct World {
        Scheduler& scheduler;
        SimDatabase& database;
        History& history;
        Trace& trace;
    };

    SimSession(const World& world, const StoreFaults& faults, std::string who, std::uint64_t seed)
        : world_(world), faults_(faults), who_(std::move(who)), random_(seed) {}

    /// No more faults.
    void heal() { faults_ = healed(faults_); }

protected:
    /// What a call asks of the database's memory.
    enum class Guard {
        none,
        known,    ///< It is the one that was attached to.
        as_seen,  ///< The same; there may have been none.
    };

    template <class Effect>
    auto call(std::string_view name, Guard guard, Effect effect) {
        pass_time();
        check_connection();
        if (random_.chance(faults_.fails_before)) lose_connection();
        if (guard != Guard::none) check_token(guard);
        world_.trace.line(who_, fmt::format(R"("what":"{}")", name));
        const auto bring_answer = [&] {
            pass_time();
            check_connection();  // it may have crashed while the answer was under way
            if (!random_.chance(faults_.fails_after)) return;
            world_.trace.line(who_, R"("what":"answer lost")");
            lose_connection();
        };
        if constexpr (std::is_void_v<decltype(effect())>) {
            effect();
            bring_answer();
        } else {
            auto result = effect();
            bring_answer();
            return result;
        }
    }

    void pass_time();
    void check_connection();
    void check_token(Guard guard) const;
    [[noreturn]] void lose_connection();
    void commit();
    bool is_held(const LogRow& row) const { return row.held_until > world_.database.wall_clock(); }

    World world_;
    StoreFaults faults_;
    std::string who_;
    Random random_;
    std::optional<Id> token_;
    std::uint64_t connected_to_{};  ///< The database's generation; 0: not connected.
};

}  // namespace sagaz::simulation
