#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// Processes that a test owns: started with its own rights taken away when they are root's, ended
/// by pid, and told to quit by the kernel when the test dies first.
namespace sagaz::test {

struct Account {
    uid_t uid{};
    gid_t gid{};
};

/// Who a server runs as: nothing when this process is not root, else `postgres` or `nobody`.
std::optional<Account> server_account();

/// A new folder under the system's temporary one that the server's account can use. Its name
/// carries this process's pid; folders of processes that are gone are removed first.
std::filesystem::path make_folder(const std::string& prefix);
void give_to_server(const std::filesystem::path& tree);
void remove_folder(const std::filesystem::path& folder) noexcept;

/// A loopback port that was free a moment ago.
int free_port();

/// Starts `arguments[0]` with output appended to `log`; `death_signal` reaches it when the thread
/// that called ends (the main thread in tests).
pid_t spawn(const std::vector<std::string>& arguments, const std::filesystem::path& log,
            int death_signal);

/// True when `pid` has ended; reaps it.
bool has_ended(pid_t pid);

/// Runs to the end; throws std::runtime_error with the log's tail unless it exits with 0.
void run(const std::vector<std::string>& arguments, const std::filesystem::path& log);

/// Waits for the end of `pid` and reaps it; SIGKILL at the deadline.
void end_process(pid_t pid, int signal, std::chrono::milliseconds deadline);

std::vector<pid_t> children_of(pid_t parent);

std::string read_file(const std::filesystem::path& file);

}  // namespace sagaz::test
