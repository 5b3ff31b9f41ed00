#pragma once

// A publisher's step whose store and broker do what the test tells.

#include "core/publish_step.hpp"
#include "core/test_rows.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

using Positions = std::vector<std::int64_t>;

inline RowRef row(std::int64_t position) {
    RowRef ref{0, position, {}};
    ref.event_id.bytes[15] = static_cast<std::byte>(position);
    return ref;
}

inline Positions positions_of(const std::vector<RowRef>& rows) {
    Positions positions;
    for (const RowRef& ref : rows) positions.push_back(ref.position);
    return positions;
}

// A store and a broker that do what the test tells, and the answers by call.
class PublishStepTest : public testing::Test {
protected:
    PublishStepTest() { begin({}); }

    void begin(OptimisticOptions options) {
        options.breaker_failures = 3;
        options_ = options;
        step_.emplace(options, 7);
        attach();
    }

    void attach() {
        ASSERT_TRUE(run_to<command::Attach>());
        step_->on_attached({}, now_);
    }

    /// Hands over one ticket. Events of an order are of one key.
    void hand(std::uint64_t call, const Positions& positions, std::uint64_t order = 0) {
        HandedOver handed{.call = call,
                          .at = now_,
                          .deadline = now_ + options_.timeout,
                          .hold_ends = now_ + options_.grace};
        for (const auto position : positions) handed.events.push_back({row(position), order, 10});
        step_->take(handed);
    }

    /// The next command of a kind; polls on the way find nothing, waits pass the time. False when
    /// another comes first, or none by `end`.
    template <class Wanted>
    bool run_to(Instant end = Instant::max()) {
        for (int n = 0; n < 10'000 && now_ < end; ++n) {
            command_ = step_->next(now_);
            if (std::holds_alternative<Wanted>(command_)) return true;
            if (std::holds_alternative<command::Poll>(command_)) {
                step_->on_receipts({}, now_);
            } else if (const auto* wait = std::get_if<command::Wait>(&command_)) {
                EXPECT_GT(wait->until, now_);
                now_ = wait->until;
            } else {
                return false;
            }
        }
        return false;
    }

    /// True when there is nothing to do for so long, but to look for receipts.
    bool rests_for(Duration time) {
        const Instant end = now_ + time;
        return !run_to<command::End>(end) && now_ >= end;
    }

    /// What is asked next. Each of `verdicts` is for one of them.
    Positions confirm(const std::vector<Verdict>& verdicts, std::uint64_t gate = 0,
                      std::uint64_t flushed = 100) {
        if (!run_to<command::Confirm>()) return {};
        return answer(verdicts, gate, flushed);
    }
    /// The same, of a store that takes its time.
    Positions confirm_after(Duration time, const std::vector<Verdict>& verdicts) {
        if (!run_to<command::Confirm>()) return {};
        now_ += time;
        return answer(verdicts, 0, 100);
    }
    Positions answer(const std::vector<Verdict>& verdicts, std::uint64_t gate,
                     std::uint64_t flushed) {
        const auto& asked = std::get<command::Confirm>(command_);
        acknowledged_ = positions_of(asked.acknowledged);
        margin_ = asked.margin;
        const Positions positions = positions_of(asked.asked);
        Confirmation said;
        std::vector<TestRow> rows;
        for (std::size_t n = 0; n < positions.size(); ++n) {
            said.verdicts.push_back(verdicts.at(n));
            if (verdicts[n] == Verdict::ready) rows.push_back({positions[n]});
        }
        said.batch = batch_of(rows);
        said.gate = gate;
        said.flushed = flushed;
        step_->on_confirmed(std::move(said), now_);
        return positions;
    }

    /// What is published next, of which the client takes `taken`.
    Positions publish(std::size_t taken = 1'000) {
        if (!run_to<command::Publish>()) return {};
        Positions positions;
        for (const Envelope& envelope : std::get<command::Publish>(command_).envelopes) {
            const auto id = std::string(envelope.headers[1].value);
            positions.push_back(std::stoll(id.substr(34), nullptr, 16));
            if (positions.size() <= taken) tokens_[positions.back()] = envelope.token;
        }
        step_->on_published(std::min(taken, positions.size()), now_);
        return positions;
    }

    void receive(Receipt::State state, const Positions& positions) {
        std::vector<Receipt> receipts;
        for (const auto position : positions) {
            receipts.push_back({tokens_.at(position), state, "", ""});
        }
        step_->on_receipts(receipts, now_);
    }
    void accept(const Positions& positions) { receive(Receipt::State::accepted, positions); }

    struct Settled {
        Positions accepted{};
        Positions left{};
        bool operator==(const Settled&) const = default;
    };
    Settled settle() {
        if (!run_to<command::Settle>()) return {};
        const auto& settle = std::get<command::Settle>(command_);
        Settled settled{positions_of(settle.accepted), positions_of(settle.left)};
        step_->on_settled(now_);
        return settled;
    }

    void fail_store(const char* code = "connection_lost") {
        step_->on_store_error({ErrorKind::unavailable, code, "", ""}, now_);
    }

    /// "published", or why not; empty: not answered.
    std::string answer(std::uint64_t call) {
        for (const Answer& one : step_->take_answers()) {
            EXPECT_FALSE(answers_.contains(one.call)) << "answered twice";
            answers_[one.call] =
                one.published ? "published" : std::string(word_of(one.published.reason));
        }
        return answers_.contains(call) ? answers_[call] : "";
    }

    std::uint64_t left(LeftReason reason) {
        const auto counts = step_->take_counts();
        for (std::size_t n = 0; n < counts.left.size(); ++n) left_[n] += counts.left[n];
        sent_ += counts.sent.size();
        return left_[static_cast<std::size_t>(reason)];
    }

    void send(std::uint64_t call, std::int64_t position) {
        hand(call, {position});
        confirm({Verdict::ready});
        ASSERT_EQ(publish(), Positions{position});
    }

    OptimisticOptions options_;
    Instant now_{100s};
    std::optional<PublishStep> step_;
    PublishCommand command_;
    Positions acknowledged_;
    Milliseconds margin_{};
    std::map<std::int64_t, std::uint64_t> tokens_;
    std::map<std::uint64_t, std::string> answers_;
    std::array<std::uint64_t, kLeftReasons> left_{};
    std::size_t sent_{};
};

}  // namespace sagaz::inline v0::core
