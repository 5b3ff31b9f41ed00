#include "app/admin_server.hpp"

#include "app/errors.hpp"
#include "app/units.hpp"

#include <httplib.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace sagaz::inline v0::app {
namespace {

constexpr std::size_t kThreads = 4;
constexpr std::size_t kQueueMax = 16;
constexpr std::size_t kBodyMax = 4'096;
constexpr int kPatienceSeconds = 2;
constexpr auto kText = "text/plain; charset=utf-8";
constexpr auto kMetricsText = "text/plain; version=0.0.4; charset=utf-8";

// httplib's own queue has no limit. When this one is full the accepting thread serves the
// connection itself: nobody is accepted meanwhile, so the kernel's short backlog is the limit, and
// no accepted socket is dropped without being closed.
class BoundedQueue final : public httplib::TaskQueue {
public:
    // Newer versions return whether the task was taken, older ones nothing.
    using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));

    BoundedQueue() {
        for (std::size_t n = 0; n < kThreads; ++n) {
            threads_.emplace_back([this] { work(); });
        }
    }

    Enqueued enqueue(std::function<void()> task) override {
        {
            std::unique_lock lock{mutex_};
            if (tasks_.size() < kQueueMax) {
                tasks_.push_back(std::move(task));
                lock.unlock();
                wake_.notify_one();
                return static_cast<Enqueued>(true);
            }
        }
        task();
        return static_cast<Enqueued>(true);
    }

    void shutdown() override {
        {
            const std::lock_guard lock{mutex_};
            ends_ = true;
        }
        wake_.notify_all();
        threads_.clear();  // joins
    }

private:
    void work() {
        for (;;) {
            std::unique_lock lock{mutex_};
            wake_.wait(lock, [this] { return ends_ || !tasks_.empty(); });
            if (tasks_.empty()) {
                return;
            }
            const auto task = std::move(tasks_.front());
            tasks_.pop_front();
            lock.unlock();
            task();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> tasks_;
    bool ends_{};
    std::vector<std::jthread> threads_;
};

void answer_probe(const std::function<std::string()>& page, httplib::Response& response) {
    const auto reason = page();
    response.status = reason.empty() ? 200 : 503;
    response.set_content(reason.empty() ? "ok\n" : hide_secrets(reason) + "\n", kText);
}

}  // namespace

std::pair<std::string, int> split_address(const std::string& listen) {
    const auto colon = listen.rfind(':');
    auto host = listen.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    }
    return {host, static_cast<int>(parse_count(listen.substr(colon + 1)).value_or(0))};
}

struct AdminServer::State {
    httplib::Server server;
    AdminPages pages;
    std::string address;
    std::atomic<bool> ended{};
    std::jthread thread;
};

AdminServer::AdminServer(const std::string& listen, AdminPages pages)
    : state_{std::make_unique<State>()} {
    state_->pages = std::move(pages);
    auto& server = state_->server;
    server.new_task_queue = [] { return new BoundedQueue; };  // httplib takes ownership
    server.set_payload_max_length(kBodyMax);
    server.set_read_timeout(kPatienceSeconds);
    server.set_write_timeout(kPatienceSeconds);
    server.set_keep_alive_timeout(kPatienceSeconds);
    server.set_keep_alive_max_count(20);
    // Its default lets a second process bind the same port, and half the probes would ask that one.
    server.set_socket_options([](auto socket) {
        const int yes = 1;
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    const auto* const shown = &state_->pages;
    server.Get("/livez", [shown](const httplib::Request&, httplib::Response& response) {
        answer_probe(shown->live, response);
    });
    server.Get("/readyz", [shown](const httplib::Request&, httplib::Response& response) {
        answer_probe(shown->ready, response);
    });
    server.Get("/metrics", [shown](const httplib::Request&, httplib::Response& response) {
        response.set_content(shown->metrics(), kMetricsText);
    });
    const auto [host, wanted] = split_address(listen);
    const int port = wanted == 0                         ? server.bind_to_any_port(host)
                     : server.bind_to_port(host, wanted) ? wanted
                                                         : -1;
    if (port <= 0) {
        refuse("admin_listen",
               "admin.listen is \"" + listen + "\" and that address is taken or not ours",
               "choose another port, or 0 for any free one");
    }
    state_->address = listen.substr(0, listen.rfind(':')) + ':' + std::to_string(port);
    state_->thread = std::jthread{[state = state_.get()] {
        state->server.listen_after_bind();
        state->ended = true;
    }};
    // A stop before the server runs would go unheard.
    while (!server.is_running() && !state_->ended) {
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
}

AdminServer::~AdminServer() { state_->server.stop(); }

const std::string& AdminServer::address() const noexcept { return state_->address; }

}  // namespace sagaz::inline v0::app
