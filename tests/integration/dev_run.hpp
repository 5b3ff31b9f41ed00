#pragma once

#include "tests/integration/cli_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <nlohmann/json.hpp>

#include <csignal>
#include <sstream>
#include <string>
#include <vector>

namespace sagaz::test {

/// `sagaz dev --json` under way: what it has said so far.
class DevRun {
public:
    explicit DevRun(std::vector<std::string> arguments)
        : process_{with_verb(std::move(arguments))} {}

    /// Objects whose "what" is this word.
    std::vector<nlohmann::json> said(const std::string& what) const {
        std::vector<nlohmann::json> found;
        std::istringstream lines{process_.out()};
        for (std::string line; std::getline(lines, line);) {
            auto object = nlohmann::json::parse(line, nullptr, false);
            if (object.is_object() && object["what"] == what) found.push_back(std::move(object));
        }
        return found;
    }

    nlohmann::json wait_for_first(const std::string& what) const {
        wait_for("sagaz dev to say " + what, [&] { return !said(what).empty(); });
        return said(what)[0];
    }

    CliProcess& process() { return process_; }

    int end() {
        process_.signal(SIGINT);
        return process_.wait(std::chrono::seconds{60});
    }

private:
    static std::vector<std::string> with_verb(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), {"dev", "--json"});
        return arguments;
    }

    CliProcess process_;
};

}  // namespace sagaz::test
