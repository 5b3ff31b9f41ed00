// A checker that cannot fail proves nothing: each promise is broken by hand here, at least twice.
#include "history.hpp"

#include <gtest/gtest.h>

namespace sagaz::simulation {
namespace {

class Checker : public testing::Test {
protected:
    enum class Ends { on_disk, in_memory, rolled_back, never };

    EventIndex append(const std::string& key, Ends ends = Ends::on_disk, Duration hold = {}) {
        const auto tx = database_.begin();
        database_.take_xid(tx);
        const EventIndex event =
            database_.insert(tx, {.topic = "t", .key = key, .payload = "p", .hold = hold},
                             database_.next_position());
        if (ends == Ends::rolled_back) database_.abort(tx);
        if (ends == Ends::rolled_back || ends == Ends::never) return event;
        const Lsn lsn = database_.write_commit(tx);
        if (ends == Ends::on_disk) database_.flush(lsn);
        database_.become_visible(tx);
        database_.release_locks(tx);
        return event;
    }

    void deliver(EventIndex event, std::uint64_t bytes = 7) {
        history_.on_taken_by_relay(database_.row(event).event_id, "relay");
        history_.on_arrived(event, bytes, "relay");
        history_.on_accepted(event);
    }

    Cursor everything() const {
        return {.done = database_.snapshot(), .target = database_.snapshot()};
    }

    void park(const std::vector<ParkedEvent>& parked) {
        history_.on_cursor(0, everything(), parked);
        database_.write([parked](Tables& tables) { tables.parked = parked; });
    }

    bool found(const std::string& what) const {
        for (const std::string& violation : history_.violations()) {
            if (violation.find(what) != std::string::npos) return true;
        }
        return false;
    }

    Scheduler scheduler_{1};
    Trace trace_{scheduler_};
    SimDatabase database_{scheduler_, 2,
                          Settings{.slot_count = 1, .on_refused = OnRefused::park_key}};
    History history_{database_, trace_};
};

}  // namespace

TEST_F(Checker, PassesAGoodHistory) {
    const EventIndex first = append("a");
    append("a", Ends::rolled_back);
    const EventIndex second = append("a");
    deliver(first);
    deliver(second);
    deliver(first);
    history_.on_cursor(0, everything(), {});
    history_.finish();
    EXPECT_TRUE(history_.violations().empty()) << history_.violations().front();
    EXPECT_EQ(history_.repeats(), 1U);
}

TEST_F(Checker, FindsALostEvent) {
    append("a");
    history_.finish();
    EXPECT_TRUE(found("lost"));
}

TEST_F(Checker, FindsACursorThatCountsWhatWasNotAccepted) {
    const EventIndex event = append("a");
    history_.on_arrived(event, 7, "relay");  // it arrived, but nobody said so
    history_.on_cursor(0, everything(), {});
    EXPECT_TRUE(found("never accepted"));
}

TEST_F(Checker, FindsACursorThatCountsARunningTransaction) {
    const EventIndex event = append("a", Ends::never);
    Cursor cursor = everything();
    cursor.done.xmin = cursor.done.xmax = database_.row(event).xid + 1;
    history_.on_cursor(0, cursor, {});
    EXPECT_TRUE(found("never accepted"));
}

TEST_F(Checker, FindsAPublishedEventOfARollback) {
    deliver(append("a", Ends::rolled_back));
    EXPECT_TRUE(found("before it was safe"));
    EXPECT_TRUE(found("without a commit"));
}

TEST_F(Checker, FindsAPublishedEventThatIsNotOnDisk) {
    deliver(append("a", Ends::in_memory));
    EXPECT_TRUE(found("before it was safe"));
}

TEST_F(Checker, FindsAnArrivalThatACrashUndid) {
    const EventIndex event = append("a", Ends::in_memory);
    history_.on_arrived(event, 7, "relay");
    EXPECT_TRUE(history_.violations().empty());
    database_.crash(database_.flushed_lsn());
    history_.finish();
    EXPECT_TRUE(found("did not survive"));
}

TEST_F(Checker, FindsAnInversion) {
    const EventIndex first = append("a");
    const EventIndex second = append("a");
    deliver(second);
    deliver(first);
    EXPECT_TRUE(found("after a later event of its key"));
}

TEST_F(Checker, LeavesOtherKeysTheirOwnOrder) {
    const EventIndex first = append("a");
    const EventIndex second = append("b");
    deliver(second);
    deliver(first);
    EXPECT_TRUE(history_.violations().empty());
}

TEST_F(Checker, FindsARepeatWithOtherBytes) {
    const EventIndex event = append("a");
    deliver(event, 7);
    deliver(event, 8);
    EXPECT_TRUE(found("other bytes"));
}

TEST_F(Checker, FindsAnEventParkedForNothing) {
    const EventIndex event = append("a");
    park({{event, 0, "timeout"}});
    EXPECT_TRUE(found("nothing refused it"));
}

TEST_F(Checker, FindsAnEventParkedWithoutAReason) {
    history_.judge_refusals_by([](const LogRow&) { return true; });
    const EventIndex event = append("a");
    park({{event, 0, ""}});
    EXPECT_TRUE(found("without a reason"));
}

TEST_F(Checker, FindsAParkedEventThatItsCursorDoesNotPass) {
    history_.judge_refusals_by([](const LogRow&) { return true; });
    const EventIndex event = append("a");
    history_.on_cursor(0, Cursor{}, {{event, 0, "payload_too_large"}});
    EXPECT_TRUE(found("not passed by its cursor"));
}

TEST_F(Checker, FindsAStoppedKeyThatWentOn) {
    history_.judge_refusals_by([](const LogRow& row) { return row.index == 0; });
    const EventIndex refused = append("a");
    const EventIndex later = append("a");
    park({{refused, 0, "payload_too_large"}, {later, 0, "behind"}});
    EXPECT_TRUE(history_.violations().empty());
    deliver(later);
    EXPECT_TRUE(found("though an earlier event of its key was refused"));
}

TEST_F(Checker, FindsAHeldEventThatARelaySent) {
    const EventIndex held = append("a", Ends::on_disk, milliseconds{50});
    deliver(held);
    EXPECT_TRUE(found("sent a held one"));
}

TEST_F(Checker, LetsARelaySendWhatItHasLeftAloneByItsOwnClock) {
    history_.expect_grace(milliseconds{50});
    const EventIndex held = append("a", Ends::on_disk, milliseconds{50});
    database_.set_clock(-seconds{1});
    scheduler_.run_for(milliseconds{49});
    deliver(held);
    EXPECT_TRUE(found("sent a held one"));
    const EventIndex later = append("b", Ends::on_disk, milliseconds{50});
    database_.set_clock(-seconds{1});
    scheduler_.run_for(milliseconds{50});
    deliver(later);
    EXPECT_EQ(history_.violations().size(), 1U);
}

TEST_F(Checker, FindsWhatWasMarkedOrRemovedAndNeverAccepted) {
    const EventIndex event = append("a");
    history_.on_arrived(event, 7, "publisher");  // it arrived, but nobody said so
    history_.on_marked(database_.row(event), "relay");
    EXPECT_TRUE(found("marked what was never accepted"));
    history_.on_removed(database_.row(event), "publisher");
    EXPECT_TRUE(found("settled what was never accepted"));
}

TEST_F(Checker, FindsAPublisherThatSentWhatIsNotOnDisk) {
    const EventIndex event = append("a", Ends::in_memory);
    history_.on_taken_by_publisher(database_.row(event).event_id, "publisher");
    EXPECT_TRUE(found("before it was safe"));
}

TEST_F(Checker, FindsARepeatInCalm) {
    history_.forbid_repeats();
    const EventIndex event = append("a");
    deliver(event);
    EXPECT_TRUE(history_.violations().empty());
    deliver(event);
    EXPECT_TRUE(found("though nothing went wrong"));
}

TEST_F(Checker, LetsARelaySendWhatWasHeldLongEnough) {
    const EventIndex held = append("a", Ends::on_disk, milliseconds{50});
    scheduler_.run_for(milliseconds{50});
    deliver(held);
    EXPECT_TRUE(history_.violations().empty());
}

}  // namespace sagaz::simulation
