#include "tests/examples/service_process.hpp"

#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <httplib.h>
#include <sys/wait.h>

#include <csignal>
#include <utility>
#include <vector>

namespace sagaz::test {

ServiceProcess::ServiceProcess(std::map<std::string, std::string> settings)
    : settings_{std::move(settings)},
      folder_{make_folder("sagaz-order-service")},
      port_{free_port()} {}

ServiceProcess::~ServiceProcess() {
    if (pid_ != 0) end_process(pid_, SIGKILL, std::chrono::seconds{10});
    remove_folder(folder_);
}

void ServiceProcess::start() {
    std::vector<std::string> words{"/usr/bin/env", "-i", "PATH=/usr/bin:/bin",
                                   "ORDERS_LISTEN=127.0.0.1:" + std::to_string(port_)};
    for (const auto& [name, value] : settings_) words.push_back("ORDERS_" + name + '=' + value);
    words.emplace_back(ORDER_SERVICE);
    pid_ = spawn(words, folder_ / "log", SIGKILL);
}

void ServiceProcess::start_until_ready() {
    start();
    wait_for("the service", [&] {
        httplib::Client client{"127.0.0.1", port_};
        const auto answer = client.Get("/readyz");
        return answer && answer->status == 200;
    });
}

void ServiceProcess::kill9() {
    end_process(pid_, SIGKILL, std::chrono::seconds{10});
    pid_ = 0;
}

int ServiceProcess::terminate() {
    ::kill(pid_, SIGTERM);
    return wait();
}

int ServiceProcess::wait() {
    int status = 0;
    wait_for(
        "the end of the service", [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; },
        std::chrono::seconds{60});
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1'000 + WTERMSIG(status);
}

std::string ServiceProcess::log() const { return read_file(folder_ / "log"); }

}  // namespace sagaz::test
