#include "http.hpp"

#include <sagaz/error.hpp>

#include <httplib.h>
#include <nlohmann/json.hpp>
#include <prometheus/counter.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <utility>

namespace shop {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kBodyMax = 64 * 1'024;
constexpr std::int64_t kAmountMax = 100'000'000;
constexpr std::ptrdiff_t kWaitingMax = 64;

// The caller has to change something.
struct Refused : std::runtime_error {
    Refused(int with, const std::string& why) : std::runtime_error{why}, status{with} {}
    int status;
};

// httplib's own queue of accepted connections has no limit. Here the thread that accepts waits when
// it is full, so the kernel's short backlog is the limit.
class BoundedThreads final : public httplib::TaskQueue {
public:
    // Newer versions of httplib return whether the task was taken, older ones nothing.
    using Enqueued = decltype(std::declval<httplib::TaskQueue&>().enqueue({}));

    explicit BoundedThreads(std::size_t threads)
        : threads_{threads}, room_{static_cast<std::ptrdiff_t>(threads) + kWaitingMax} {}

    Enqueued enqueue(std::function<void()> task) override {
        room_.acquire();
        return threads_.enqueue([this, task = std::move(task)] {
            task();
            room_.release();
        });
    }

    void shutdown() override { threads_.shutdown(); }

private:
    httplib::ThreadPool threads_;
    std::counting_semaphore<> room_;
};

// Such as a header may hold and a database keep as it is.
bool is_plain(const std::string& text, std::size_t most) {
    return !text.empty() && text.size() <= most &&
           std::none_of(text.begin(), text.end(),
                        [](unsigned char c) { return c < ' ' || c == 127; });
}

NewOrder order_in(const httplib::Request& request) {
    NewOrder wanted;
    wanted.idempotency_key = request.get_header_value("Idempotency-Key");
    const auto& key = wanted.idempotency_key;
    const bool is_ascii =
        std::all_of(key.begin(), key.end(), [](unsigned char c) { return c < 128; });
    if (!is_plain(key, 255) || !is_ascii) {
        throw Refused(400,
                      "send a header Idempotency-Key, a new one for each order and the same "
                      "one with each repeat: 1 to 255 characters of ASCII");
    }
    const auto body = ordered_json::parse(request.body, nullptr, false);
    if (!body.is_object() || body.size() != 2 || !body.contains("customer") ||
        !body["customer"].is_string() || !body.contains("amount_cents") ||
        !body["amount_cents"].is_number_integer()) {
        throw Refused(400, R"(send {"customer": "a name", "amount_cents": a whole number})");
    }
    wanted.customer = body["customer"].get<std::string>();
    wanted.amount_cents = body["amount_cents"].get<std::int64_t>();
    if (!is_plain(wanted.customer, 100)) {
        throw Refused(400, "customer is 1 to 100 bytes without control characters");
    }
    if (wanted.amount_cents < 1 || wanted.amount_cents > kAmountMax) {
        throw Refused(400, "amount_cents is 1 to " + std::to_string(kAmountMax));
    }
    return wanted;
}

void answer(httplib::Response& response, int status, const ordered_json& body) {
    response.status = status;
    response.set_content(body.dump() + '\n', "application/json");
}

void answer(httplib::Response& response, int status, const Order& order) {
    answer(response, status,
           ordered_json{{"id", order.id},
                        {"customer", order.customer},
                        {"amount_cents", order.amount_cents},
                        {"paid_cents", order.paid_cents}});
}

void answer_error(httplib::Response& response, int status, const std::string& why) {
    answer(response, status, ordered_json{{"error", why}});
}

}  // namespace

struct HttpServer::State {
    void place(const httplib::Request& request, httplib::Response& response);
    void find(const httplib::Request& request, httplib::Response& response);
    void explain(httplib::Response& response, const std::exception_ptr& thrown);
    void log(const char* event, const std::exception& error);
    void listen(const Settings& settings);

    Orders& orders;
    const Payments& payments;
    prometheus::Registry& registry;
    sagaz::Telemetry& telemetry;
    prometheus::Family<prometheus::Counter>& answers;
    httplib::Server server{};
    std::string address{};
    std::atomic<bool> has_ended{};
    std::jthread thread{};
};

void HttpServer::State::place(const httplib::Request& request, httplib::Response& response) {
    const auto wanted = order_in(request);
    const auto placed = orders.place(wanted);
    if (placed.order.amount_cents != wanted.amount_cents) {
        throw Refused(422, "this Idempotency-Key stands for another order");
    }
    response.set_header("Location", "/orders/" + std::to_string(placed.order.id));
    answer(response, placed.is_new ? 201 : 200, placed.order);
}

void HttpServer::State::find(const httplib::Request& request, httplib::Response& response) {
    const auto order = orders.find(std::stoll(request.matches[1].str()));
    if (!order) throw Refused(404, "there is no such order");
    answer(response, 200, *order);
}

// In the one place where a thread's exceptions end. After a 503 nobody knows whether the order is
// there; the same request with the same key finds out.
void HttpServer::State::explain(httplib::Response& response, const std::exception_ptr& thrown) {
    try {
        std::rethrow_exception(thrown);
    } catch (const Refused& refused) {
        answer_error(response, refused.status, refused.what());
    } catch (const sagaz::Error& error) {
        log("request_failed", error);
        const bool may_come_again = error.kind() == sagaz::ErrorKind::unavailable ||
                                    error.kind() == sagaz::ErrorKind::conflict ||
                                    error.kind() == sagaz::ErrorKind::in_doubt;
        if (may_come_again) response.set_header("Retry-After", "1");
        answer_error(response, may_come_again ? 503 : 500, std::string{error.code()});
    } catch (const std::exception& error) {
        log("request_failed", error);
        answer_error(response, 500, "internal");
    }
}

void HttpServer::State::log(const char* event, const std::exception& error) {
    const sagaz::Field fields[] = {{"what", error.what()}};
    telemetry.log(sagaz::LogLevel::warning, event, fields);
}

void HttpServer::State::listen(const Settings& settings) {
    // Its default lets a second process take half of the requests on the same port.
    server.set_socket_options([](auto socket) {
        const int yes = 1;
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    const auto& host = settings.listen_host;
    const int wanted = settings.listen_port;
    const int port = wanted == 0                         ? server.bind_to_any_port(host)
                     : server.bind_to_port(host, wanted) ? wanted
                                                         : -1;
    if (port <= 0) {
        throw sagaz::Error(sagaz::ErrorKind::invalid, "listen",
                           "cannot listen at " + host + ':' + std::to_string(wanted),
                           "set ORDERS_LISTEN to an address that is ours and free");
    }
    address = host + ':' + std::to_string(port);
    thread = std::jthread{[this] {
        server.listen_after_bind();
        has_ended = true;
    }};
    // A stop before the server runs would go unheard.
    while (!server.is_running() && !has_ended) {
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
}

HttpServer::HttpServer(const Settings& settings, Orders& orders, const Payments& payments,
                       prometheus::Registry& registry, sagaz::Telemetry& telemetry)
    : state_{new State{orders, payments, registry, telemetry,
                       prometheus::BuildCounter()
                           .Name("http_responses_total")
                           .Help("Answers to requests.")
                           .Register(registry)}} {
    auto* const state = state_.get();
    auto& server = state->server;
    server.new_task_queue = [threads = settings.http_threads] {
        return new BoundedThreads{threads};  // httplib takes ownership
    };
    server.set_payload_max_length(kBodyMax);
    server.set_read_timeout(5);
    server.set_write_timeout(5);
    server.set_keep_alive_timeout(2);  // An idle client keeps a thread for so long.
    server.set_exception_handler(
        [state](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
            state->explain(response, thrown);
        });
    server.set_logger([state](const httplib::Request&, const httplib::Response& response) {
        state->answers.Add({{"code", std::to_string(response.status)}}).Increment();
    });
    server.Post("/orders", [state](const httplib::Request& request, httplib::Response& response) {
        state->place(request, response);
    });
    server.Get(R"(/orders/(\d{1,18}))",
               [state](const httplib::Request& request, httplib::Response& response) {
                   state->find(request, response);
               });
    server.Get("/livez", [state](const httplib::Request&, httplib::Response& response) {
        if (!state->payments.is_turning()) throw Refused(503, "a payment hangs");
        answer(response, 200, ordered_json{{"status", "ok"}});
    });
    // Not of Kafka: while that is down orders are placed, and their events wait in the outbox.
    server.Get("/readyz", [state](const httplib::Request&, httplib::Response& response) {
        state->orders.check();
        answer(response, 200, ordered_json{{"status", "ok"}});
    });
    server.Get("/metrics", [state](const httplib::Request&, httplib::Response& response) {
        response.set_content(prometheus::TextSerializer{}.Serialize(state->registry.Collect()),
                             "text/plain; version=0.0.4; charset=utf-8");
    });
    state->listen(settings);
}

HttpServer::~HttpServer() { stop(); }

const std::string& HttpServer::address() const noexcept { return state_->address; }

void HttpServer::stop() {
    state_->server.stop();
    if (state_->thread.joinable()) state_->thread.join();
}

}  // namespace shop
