#pragma once

#include "database.hpp"
#include "scheduler.hpp"

#include <coroutine>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace sagaz::simulation {

/// An actor written from top to bottom: a coroutine that sleeps in virtual time. It runs to its
/// first wait when called; its frame lives until its `Scripts` goes.
class Script {
public:
    struct promise_type {
        Script get_return_object() {
            return Script(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        [[noreturn]] void unhandled_exception() { std::terminate(); }
    };

    explicit Script(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    std::coroutine_handle<> handle() const { return handle_; }

private:
    std::coroutine_handle<promise_type> handle_;
};

class Scripts {
public:
    Scripts() = default;
    ~Scripts() {
        for (const auto handle : handles_) handle.destroy();
    }
    Scripts(const Scripts&) = delete;
    Scripts& operator=(const Scripts&) = delete;

    void keep(const Script& script) { handles_.push_back(script.handle()); }

private:
    std::vector<std::coroutine_handle<>> handles_;
};

/// `co_await Sleep{scheduler, time}`
struct Sleep {
    Scheduler& scheduler;
    Duration time;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> script) const {
        scheduler.after(time, [script] { script.resume(); });
    }
    void await_resume() const noexcept {}
};

/// `co_await LockKey{database, tx, key}`: a row lock; look at the generation afterwards.
struct LockKey {
    SimDatabase& database;
    SimDatabase::Tx tx;
    const std::string& key;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> script) const {
        return !database.lock(tx, key, [script] { script.resume(); });
    }
    void await_resume() const noexcept {}
};

}  // namespace sagaz::simulation
