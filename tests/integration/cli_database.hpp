#pragma once

#include "tests/integration/cli_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sagaz::test {

/// A PostgreSQL database of its own, empty at first; commands run against it.
class CliOnADatabase : public testing::Test {
protected:
    CliResult run(std::vector<std::string> arguments, CliProcess::Options options = {}) const {
        arguments.insert(arguments.end(), {"--store", url_});
        return run_cli(arguments, std::move(options));
    }
    void migrate(const std::vector<std::string>& flags = {}) const {
        std::vector<std::string> arguments{"migrate"};
        arguments.insert(arguments.end(), flags.begin(), flags.end());
        const auto result = run(arguments);
        ASSERT_EQ(result.code, 0) << result.err;
    }
    Sql sql() const { return server_.connect(database_); }

    PostgresServer& server_ = PostgresServer::shared();
    std::string database_ = server_.fresh_database();
    std::string url_ = server_.url(database_);
};

}  // namespace sagaz::test
