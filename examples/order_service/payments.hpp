#pragma once

#include "connections.hpp"
#include "orders.hpp"
#include "settings.hpp"

#include <sagaz/consumer.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/telemetry.hpp>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace shop {

/// Consumes the topic of payments in a thread of its own: each takes effect once, however often it
/// comes. A second thread takes up parked ones that `sagaz parked replay` has set free.
class Payments {
public:
    /// `failed` is called from that thread when it can never go on; nothing is consumed then.
    Payments(const Settings& settings, Connections& connections, Orders& orders,
             sagaz::Telemetry& telemetry, std::function<void()> failed);

    /// Lets the payment in work finish, commits the offset and leaves the group.
    void stop();

    /// False when a message has been in work for so long that something hangs.
    bool is_turning() const;

private:
    sagaz::Reply handle(const sagaz::Message& message);
    sagaz::Ticket take(PGconn* transaction, const sagaz::Message& payment) const;
    void work(const std::stop_token& stop);
    void replay(const std::stop_token& stop);
    void replay_all_due(const std::stop_token& stop);

    Connections& connections_;
    Orders& orders_;
    sagaz::Telemetry& telemetry_;
    const std::function<void()> failed_;
    const sagaz::Inbox inbox_;
    sagaz::kafka::Consumer consumer_;
    std::mutex mutex_;  // of resting_
    std::condition_variable_any resting_;
    std::jthread thread_;  // These last: they use all the others.
    std::jthread replayer_;
};

}  // namespace shop
