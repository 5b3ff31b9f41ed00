#pragma once

// A log, its store and a driver's transaction in memory, for the tests of the publisher's shell.

#include <sagaz/error.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/outbox.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace sagaz::inline v0::publisher {

/// What several threads look at. Every change wakes who waits for one.
class FakeLog {
public:
    struct Event {
        Id id{};
        std::string topic{}, key{}, event_type{}, payload{};
        bool committed{};
        bool held{};
    };
    enum class Trouble { none, unavailable, no_memory };

    template <class Change>
    auto change(Change change) {
        const std::scoped_lock lock(mutex_);
        changed_.notify_all();
        return change(*this);
    }

    /// False when it does not come true.
    template <class Fact>
    bool wait_for(Fact fact) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return fact(*this); });
    }

    std::map<std::int64_t, Event> events{};
    std::int64_t last{};
    std::vector<RowRef> accepted{}, left{};
    Trouble trouble{Trouble::none};
    bool hangs{};
    int confirms{};

private:
    friend class FakeStore;
    std::mutex mutex_;
    std::condition_variable changed_;
};

class FakeBatch final : public Batch {
public:
    void add(std::int64_t position, const FakeLog::Event& event) {
        const FakeLog::Event& own = events_.emplace_back(event);
        rows.push_back({.position = position,
                        .event_id = own.id,
                        .topic = own.topic,
                        .key = own.key,
                        .event_type = own.event_type,
                        .content_type = "application/json",
                        .payload = own.payload});
    }

private:
    std::deque<FakeLog::Event> events_;
};

class FakeStore final : public PublisherStore {
public:
    explicit FakeStore(FakeLog& log) : log_(log) {}

    Attached attach() override {
        const auto lock = enter();
        return {};
    }

    Confirmation confirm(std::span<const RowRef> asked, std::span<const RowRef> acknowledged,
                         Milliseconds) override {
        const auto lock = enter();
        ++log_.confirms;
        Confirmation said;
        auto batch = std::make_unique<FakeBatch>();
        for (const RowRef& row : asked) {
            said.verdicts.push_back(verdict(row, acknowledged));
            if (said.verdicts.back() != Verdict::ready) continue;
            batch->add(row.position, log_.events.at(row.position));
        }
        said.batch = std::move(batch);
        return said;
    }

    std::uint64_t flushed(bool) override { return 1; }

    void settle(std::span<const RowRef> accepted, std::span<const RowRef> left) override {
        const auto lock = enter();
        log_.accepted.insert(log_.accepted.end(), accepted.begin(), accepted.end());
        log_.left.insert(log_.left.end(), left.begin(), left.end());
        for (const RowRef& row : accepted) log_.events.erase(row.position);
        for (const RowRef& row : left) {
            if (log_.events.contains(row.position)) log_.events[row.position].held = false;
        }
        log_.changed_.notify_all();
    }

private:
    std::unique_lock<std::mutex> enter() {
        std::unique_lock lock(log_.mutex_);
        log_.changed_.wait(lock, [&] { return !log_.hangs; });
        if (log_.trouble == FakeLog::Trouble::unavailable) {
            throw Error(ErrorKind::unavailable, "connection_lost", "gone", "");
        }
        if (log_.trouble == FakeLog::Trouble::no_memory) throw std::bad_alloc();
        return lock;
    }

    Verdict verdict(const RowRef& row, std::span<const RowRef> acknowledged) const {
        const auto found = log_.events.find(row.position);
        if (found == log_.events.end() || !found->second.committed) return Verdict::not_committed;
        if (!found->second.held) return Verdict::late;
        for (const auto& [position, event] : log_.events) {
            if (position >= row.position) break;
            const bool is_elder = event.committed && event.key == found->second.key;
            const bool is_there =
                std::ranges::find(acknowledged, position, &RowRef::position) != acknowledged.end();
            if (is_elder && !is_there) return Verdict::behind;
        }
        return Verdict::ready;
    }

    FakeLog& log_;
};

/// Whether a statement that appends one event or several takes a hold.
inline bool takes_hold(const std::string& sql) {
    return sql.find("hold_ms") != std::string::npos || sql.find("held_until") != std::string::npos;
}

/// One transaction of a driver: what it appends is there when it commits.
class FakeTransaction final : public Transaction {
public:
    explicit FakeTransaction(FakeLog& log) : log_(log) {}

    Rows execute(const Statement& statement) override {
        sql = statement.sql;
        const bool held = takes_hold(sql);
        constexpr std::size_t kParameters = 9;  // Of an event without headers.
        return log_.change([&](FakeLog& log) {
            Rows rows;
            for (std::size_t n = 0; n < statement.parameters.size(); n += kParameters) {
                const auto text = [&](std::size_t at) {
                    return std::string(statement.parameters[n + at].bytes);
                };
                FakeLog::Event event{Id::generate(), text(1), text(2), text(3),
                                     text(5),        false,   held};
                rows.push_back({event.id.text(), std::to_string(++log.last), "7", "0", {}});
                log.events[log.last] = event;
                appended_.push_back(log.last);
            }
            return rows;
        });
    }

    void commit() {
        log_.change([&](FakeLog& log) {
            for (const auto position : appended_) log.events.at(position).committed = true;
        });
    }

    std::string sql;

private:
    FakeLog& log_;
    std::vector<std::int64_t> appended_;
};

/// A destination whose receipts the test decides upon. Belongs to the publisher's thread; what the
/// test changes is behind a lock.
class FakeBroker final : public Broker {
public:
    struct Will {
        std::mutex mutex{};
        Receipt::State state{Receipt::State::accepted};
        bool silent{};
        std::string down{};
        std::size_t taken{};
        int abandoned{};
    };
    explicit FakeBroker(Will& will) : will_(will) {}

    std::size_t publish(std::span<const Envelope> envelopes) override {
        const std::scoped_lock lock(will_.mutex);
        for (const Envelope& envelope : envelopes) tokens_.push_back(envelope.token);
        will_.taken += envelopes.size();
        return envelopes.size();
    }
    std::vector<Receipt> poll(Milliseconds) override {
        const std::scoped_lock lock(will_.mutex);
        if (will_.silent) return {};
        return receipts(will_.state);
    }
    std::string down() const override {
        const std::scoped_lock lock(will_.mutex);
        return will_.down;
    }
    void abandon(Milliseconds) override {
        const std::scoped_lock lock(will_.mutex);
        ++will_.abandoned;
        will_.silent = false;
        will_.state = Receipt::State::unknown;
    }

private:
    std::vector<Receipt> receipts(Receipt::State state) {
        std::vector<Receipt> receipts;
        for (const auto token : std::exchange(tokens_, {})) {
            receipts.push_back({token, state, "payload_too_large", ""});
        }
        return receipts;
    }

    Will& will_;
    std::vector<std::uint64_t> tokens_;
};

class FakeTelemetry final : public Telemetry {
public:
    void count(std::string_view metric, double by,
               std::span<const Field> labels) noexcept override {
        const std::scoped_lock lock(mutex_);
        std::string name(metric);
        for (const Field& label : labels) name += "/" + std::string(label.value);
        counts_[name] += by;
    }
    void gauge(std::string_view, double, std::span<const Field>) noexcept override {}
    void observe(std::string_view metric, double, std::span<const Field>) noexcept override {
        const std::scoped_lock lock(mutex_);
        counts_[std::string(metric)] += 1;
    }
    void log(LogLevel, std::string_view event, std::span<const Field>) noexcept override {
        const std::scoped_lock lock(mutex_);
        counts_["log/" + std::string(event)] += 1;
    }

    bool has(const std::string& name) const {
        const std::scoped_lock lock(mutex_);
        return counts_.contains("outbox_optimistic_send_" + name);
    }
    double of(const std::string& name) const { return total("outbox_optimistic_send_" + name); }
    double logged(const std::string& event) const { return total("log/" + event); }

private:
    double total(const std::string& name) const {
        const std::scoped_lock lock(mutex_);
        const auto found = counts_.find(name);
        return found == counts_.end() ? 0 : found->second;
    }

    mutable std::mutex mutex_;
    std::map<std::string, double> counts_;
};

}  // namespace sagaz::inline v0::publisher
