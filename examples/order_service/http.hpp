#pragma once

#include "orders.hpp"
#include "payments.hpp"
#include "settings.hpp"

#include <sagaz/telemetry.hpp>

#include <prometheus/registry.h>

#include <memory>
#include <string>

namespace shop {

/// `POST /orders`, `GET /orders/ID`, the probes and `/metrics`, on threads of its own from
/// construction to `stop`.
class HttpServer {
public:
    /// Throws `sagaz::Error` (`listen`) when it cannot listen where the settings say.
    HttpServer(const Settings& settings, Orders& orders, const Payments& payments,
               prometheus::Registry& registry, sagaz::Telemetry& telemetry);
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    /// "host:port" with the port that was chosen.
    const std::string& address() const noexcept;

    /// Answers what has been asked, then returns.
    void stop();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace shop
