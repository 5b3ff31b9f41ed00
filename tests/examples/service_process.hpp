#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>

/// examples/order_service run by a test, on a port that stays its own over restarts.
namespace sagaz::test {

class ServiceProcess {
public:
    /// `settings`: ORDERS_* without the prefix; LISTEN is chosen here.
    explicit ServiceProcess(std::map<std::string, std::string> settings);
    ~ServiceProcess();
    ServiceProcess(const ServiceProcess&) = delete;
    ServiceProcess& operator=(const ServiceProcess&) = delete;

    void start();  ///< Does not wait; call it in the main thread.
    void start_until_ready();
    void kill9();
    int terminate();  ///< SIGTERM; its exit code, or 1000 + the signal that ended it.
    int wait();       ///< For one that ends by itself.

    int port() const { return port_; }
    std::string log() const;

private:
    std::map<std::string, std::string> settings_;
    std::filesystem::path folder_;
    int port_;
    pid_t pid_{};
};

}  // namespace sagaz::test
