#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace sagaz::inline v0::app {

/// What a probe answers: empty when fine, otherwise why not.
struct AdminPages {
    std::function<std::string()> live{};     ///< `/livez`
    std::function<std::string()> ready{};    ///< `/readyz`
    std::function<std::string()> metrics{};  ///< `/metrics`
};

/// The admin HTTP server, from construction to destruction, on threads of its own. Bounded: four
/// threads, sixteen waiting connections, 4 KiB of request body, two seconds to read or write.
class AdminServer {
public:
    /// `listen` is "host:port", port 0 for any free one. The pages are called from the server's
    /// threads. Throws `invalid` (`admin_listen`) when it cannot listen there.
    AdminServer(const std::string& listen, AdminPages pages);
    ~AdminServer();
    AdminServer(const AdminServer&) = delete;
    AdminServer& operator=(const AdminServer&) = delete;

    /// "host:port" with the port that was chosen.
    const std::string& address() const noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Splits "host:port"; brackets around an IPv6 address are taken off. The text has been checked.
std::pair<std::string, int> split_address(const std::string& listen);

}  // namespace sagaz::inline v0::app
