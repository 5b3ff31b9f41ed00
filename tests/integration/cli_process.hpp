#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

/// The real `sagaz` run by a test: with an environment of its own, input from a text, output into
/// files of a temporary folder. Ended by its pid when the test is through with it.
namespace sagaz::test {

class CliProcess {
public:
    struct Options {
        std::string input{};
        std::map<std::string, std::string> environment{};  ///< Beside PATH; nothing is inherited.
        std::string out_path{};                            ///< Instead of a file of the folder.
    };

    explicit CliProcess(const std::vector<std::string>& arguments);
    CliProcess(const std::vector<std::string>& arguments, Options options);
    ~CliProcess();
    CliProcess(const CliProcess&) = delete;
    CliProcess& operator=(const CliProcess&) = delete;

    /// Waits for the end and returns the exit code, or 1000 + the signal that ended it. Throws
    /// std::runtime_error with what was written when it has not ended by then.
    int wait(std::chrono::milliseconds deadline = std::chrono::seconds{30});

    void signal(int number) const;
    bool has_ended();
    std::string out() const;
    std::string err() const;
    pid_t pid() const { return pid_; }

private:
    std::filesystem::path folder_;
    pid_t pid_{};
    int status_{};
    bool ended_{};
};

struct CliResult {
    int code{};
    std::string out{};
    std::string err{};
};

/// Runs to the end.
CliResult run_cli(const std::vector<std::string>& arguments, CliProcess::Options options = {});

std::vector<std::string> lines_of(const std::string& text);

/// The three lines that every error ends with, without the words they begin with.
struct ErrorLines {
    std::string code{};
    std::string seen{};
    std::string what_to_do{};
};

/// All empty when the last three lines are not those of an error.
ErrorLines error_of(const CliResult& result);

}  // namespace sagaz::test
