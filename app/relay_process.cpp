#include "app/relay_process.hpp"

#include <sagaz/error.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <thread>
#include <vector>

namespace sagaz::inline v0::app {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Nothing of the caller's configuration may reach the relay, except how libpq logs in. By the
// environment, since a command line is everybody's to read and the URL may hold a password.
std::vector<std::string> environment(const RelayPlan& plan) {
    std::vector<std::string> variables{
        "PATH=/usr/bin:/bin",
        "SAGAZ_CONFIG=/dev/null",
        "SAGAZ_STORE_URL=" + plan.store.url,
        "SAGAZ_STORE_SCHEMA=" + plan.store.schema,
        "SAGAZ_BROKER_URL=" + plan.broker,
        "SAGAZ_ADMIN_LISTEN=" + plan.admin,
        "SAGAZ_RELAY_LEASE=" + std::to_string(plan.lease.count()) + "ms"};
    variables.insert(variables.end(), plan.variables.begin(), plan.variables.end());
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        if (text.starts_with("PG") || text.starts_with("HOME=")) variables.emplace_back(text);
    }
    return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    for (auto& word : words) {
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace

RelayProcess::RelayProcess(const RelayPlan& plan) : log_{plan.log} {
    std::vector<std::string> words{"sagaz", "relay"};
    auto variables = environment(plan);
    const auto arguments = pointers(words);
    const auto values = pointers(variables);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) {
        fail("cannot start a process");
    }
    if (pid_ == 0) {  // only calls that are safe after a fork
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) {
            ::_exit(127);
        }
        ::setpgid(0, 0);
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log < 0 || ::dup2(log, STDERR_FILENO) < 0) {
            ::_exit(127);
        }
        ::execve("/proc/self/exe", arguments.data(), values.data());
        ::_exit(127);
    }
}

RelayProcess::~RelayProcess() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, &status_, 0);
    }
}

void RelayProcess::fail(const std::string& what) const {
    throw Error{ErrorKind::unavailable, "relay_process", "the relay: " + what, "see " + log_};
}

bool RelayProcess::has_ended() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) {
        pid_ = 0;
    }
    return pid_ == 0;
}

std::string RelayProcess::how_it_ended() const {
    return WIFSIGNALED(status_) ? "was killed by signal " + std::to_string(WTERMSIG(status_))
                                : "ended with exit code " + std::to_string(WEXITSTATUS(status_));
}

void RelayProcess::must_run() {
    if (has_ended()) {
        fail("it ended by itself");
    }
}

// What rusage tells of a child begins with what its parent had when it forked; this does not.
std::size_t RelayProcess::memory_peak() const {
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string word; status >> word;) {
        std::size_t kibibytes = 0;
        if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
    }
    return 0;
}

void RelayProcess::kill_hard() {
    must_run();
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status_, 0);
    pid_ = 0;
}

void RelayProcess::stop(milliseconds deadline) {
    must_run();
    ::kill(pid_, SIGTERM);
    for (const auto end = Clock::now() + deadline; !has_ended();) {
        if (Clock::now() >= end) {
            fail("it did not stop in time");
        }
        std::this_thread::sleep_for(milliseconds{20});
    }
    // The signal may come before the process can hear it: then it has begun nothing either.
    const bool ended_at_once = WIFSIGNALED(status_) && WTERMSIG(status_) == SIGTERM;
    if (!ended_at_once && (!WIFEXITED(status_) || WEXITSTATUS(status_) != 0)) {
        fail("it did not end well");
    }
}

}  // namespace sagaz::inline v0::app
