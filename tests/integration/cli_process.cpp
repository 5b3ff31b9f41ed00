#include "tests/integration/cli_process.hpp"

#include "tests/support/postgres_process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace sagaz::test {
namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (auto& text : texts) {
        list.push_back(text.data());
    }
    list.push_back(nullptr);
    return list;
}

}  // namespace

CliProcess::CliProcess(const std::vector<std::string>& arguments) : CliProcess(arguments, {}) {}

CliProcess::CliProcess(const std::vector<std::string>& arguments, Options options)
    : folder_{make_folder("cli")} {
    std::ofstream{folder_ / "in"} << options.input;
    std::vector<std::string> words{SAGAZ_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables{"PATH=/usr/bin:/bin"};
    for (const auto& [name, value] : options.environment) {
        variables.push_back(name + '=' + value);
    }
    const auto in = (folder_ / "in").string();
    const auto out = options.out_path.empty() ? (folder_ / "out").string() : options.out_path;
    const auto err = (folder_ / "err").string();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    const int failed = posix_spawn(&pid_, SAGAZ_BINARY, &actions, nullptr, pointers(words).data(),
                                   pointers(variables).data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        throw std::runtime_error("cannot start " SAGAZ_BINARY);
    }
}

CliProcess::~CliProcess() {
    if (!has_ended()) {
        signal(SIGCONT);
        end_process(pid_, SIGKILL, std::chrono::seconds{10});
    }
    remove_folder(folder_);
}

bool CliProcess::has_ended() {
    if (!ended_ && waitpid(pid_, &status_, WNOHANG) == pid_) {
        ended_ = true;
    }
    return ended_;
}

int CliProcess::wait(std::chrono::milliseconds deadline) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!has_ended()) {
        if (std::chrono::steady_clock::now() > end) {
            throw std::runtime_error("sagaz has not ended; it wrote:\n" + out() + err());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 1'000 + WTERMSIG(status_);
}

void CliProcess::signal(int number) const {
    if (!ended_) {
        kill(pid_, number);
    }
}

std::string CliProcess::out() const { return read_file(folder_ / "out"); }
std::string CliProcess::err() const { return read_file(folder_ / "err"); }

CliResult run_cli(const std::vector<std::string>& arguments, CliProcess::Options options) {
    CliProcess process{arguments, std::move(options)};
    const int code = process.wait();
    return {code, process.out(), process.err()};
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream{text};
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

ErrorLines error_of(const CliResult& result) {
    static const std::regex kThree{
        R"((?:^|\n)error\[(\w+)\]: [^\n]+\nseen: ([^\n]+)\ndo: ([^\n]+)\n$)"};
    std::smatch parts;
    if (!std::regex_search(result.err, parts, kThree)) return {};
    return {parts[1], parts[2], parts[3]};
}

}  // namespace sagaz::test
