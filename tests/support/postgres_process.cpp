#include "tests/support/postgres_process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace sagaz::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

[[noreturn]] void throw_errno(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

void sweep(const fs::path& parent, const std::string& prefix) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(parent, ignored)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(prefix)) continue;
        const auto pid = static_cast<pid_t>(std::strtol(name.c_str() + prefix.size(), nullptr, 10));
        if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) fs::remove_all(entry.path(), ignored);
    }
}

bool is_free(int port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) throw_errno("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    const bool bound =
        ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(socket);
    return bound;
}

[[noreturn]] void become(const std::vector<char*>& arguments, int log, int death_signal,
                         const std::optional<Account>& account, pid_t parent) {
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    ::setsid();
    if (account && (::setgroups(0, nullptr) != 0 || ::setgid(account->gid) != 0 ||
                    ::setuid(account->uid) != 0)) {
        ::_exit(126);
    }
    // After setuid, which clears it; and checked, since the parent may be gone already.
    ::prctl(PR_SET_PDEATHSIG, death_signal);
    if (::getppid() != parent) ::_exit(125);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
}

}  // namespace

std::optional<Account> server_account() {
    if (::geteuid() != 0) return std::nullopt;
    for (const char* name : {"postgres", "nobody"}) {
        if (const passwd* entry = ::getpwnam(name)) return Account{entry->pw_uid, entry->pw_gid};
    }
    throw std::runtime_error("running as root, and there is neither a user postgres nor nobody");
}

fs::path make_folder(const std::string& prefix) {
    const fs::path parent = fs::temp_directory_path();
    sweep(parent, prefix + "-");
    std::string name = (parent / (prefix + "-" + std::to_string(::getpid()) + "-XXXXXX")).string();
    if (::mkdtemp(name.data()) == nullptr) throw_errno("mkdtemp " + name);
    give_to_server(name);
    return name;
}

void give_to_server(const fs::path& tree) {
    const auto account = server_account();
    if (!account) return;
    const auto give = [&](const fs::path& path) {
        if (::lchown(path.c_str(), account->uid, account->gid) != 0) throw_errno("lchown");
    };
    give(tree);
    for (const auto& entry : fs::recursive_directory_iterator(tree)) give(entry.path());
}

void remove_folder(const fs::path& folder) noexcept {
    std::error_code ignored;
    if (!folder.empty()) fs::remove_all(folder, ignored);
}

// Below the range from which the kernel takes the local ports of outgoing connections: a server
// that restarts would sometimes find its port taken by somebody's client, or by its own client
// that was connected to itself while nobody listened.
int free_port() {
    int ephemeral = 32'768;
    std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> ephemeral;
    constexpr int kLowest = 10'000;
    std::random_device random;
    std::uniform_int_distribution<int> any(kLowest, std::max(ephemeral, kLowest + 2) - 1);
    for (int attempt = 0; attempt < 1'000; ++attempt) {
        const int port = any(random);
        if (is_free(port)) return port;
    }
    throw std::runtime_error("no free port");
}

pid_t spawn(const std::vector<std::string>& arguments, const fs::path& log, int death_signal) {
    std::vector<std::string> owned = arguments;
    std::vector<char*> pointers;
    for (auto& argument : owned) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (output < 0) throw_errno("open " + log.string());
    const auto account = server_account();
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) become(pointers, output, death_signal, account, parent);
    ::close(output);
    if (pid < 0) throw_errno("fork");
    return pid;
}

bool has_ended(pid_t pid) {
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, WNOHANG);
    return got == pid || (got < 0 && errno == ECHILD);
}

void run(const std::vector<std::string>& arguments, const fs::path& log) {
    const pid_t pid = spawn(arguments, log, SIGKILL);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        throw std::runtime_error(arguments[0] + " failed:\n" + read_file(log));
    }
}

void end_process(pid_t pid, int signal, std::chrono::milliseconds deadline) {
    ::kill(pid, signal);
    const auto end = steady_clock::now() + deadline;
    while (!has_ended(pid)) {
        if (steady_clock::now() > end) ::kill(pid, SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
}

std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> children;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const auto pid =
            static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
        if (pid <= 0) continue;
        const std::string stat = read_file(entry.path() / "stat");
        const auto after_name = stat.rfind(')');
        if (after_name == std::string::npos) continue;
        std::istringstream fields(stat.substr(after_name + 1));
        std::string state;
        pid_t its_parent = 0;
        if (fields >> state >> its_parent && its_parent == parent) children.push_back(pid);
    }
    return children;
}

std::string read_file(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
}

}  // namespace sagaz::test
