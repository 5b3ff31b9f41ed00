#pragma once

#include "tests/integration/cli_database.hpp"

#include <filesystem>
#include <string>
#include <vector>

/// The mistakes of the first day, each made with the real executable: what it says must name what
/// to change. Everything that was made is printed as a table when the binary ends.
namespace sagaz::test {

using Arguments = std::vector<std::string>;

struct Mistake {
    std::string name{};
    Arguments typed{};
    std::string code{};
    std::vector<std::string> says{};  ///< Each must be in the line `do:`.
    int exit{1};
    CliProcess::Options options{};
};

/// Makes the mistake, expects its help, and notes both for the table.
ErrorLines expect_help(const Mistake& mistake);

/// A row of the table for what is no error of one command.
void note(const std::string& name, const std::string& typed, const std::string& code,
          const std::string& says);

/// The whole table, as Markdown.
std::string table_of_mistakes();

/// The codes and reasons of its rows.
std::vector<std::string> codes_of_mistakes();

/// The statements that a message names to be run as they stand: GRANT ...; and ALTER ROLE ...;
std::vector<std::string> statements_in(const std::string& message);

/// A database of its own, and a folder for files.
class FirstMistakes : public CliOnADatabase {
protected:
    FirstMistakes();
    ~FirstMistakes() override;

    /// Of the table's owner, with `--store`.
    CliResult run(Arguments arguments) const;
    std::string file(const std::string& name, const std::string& text) const;
    std::string path(const std::string& name) const { return (folder_ / name).string(); }

private:
    std::filesystem::path folder_;
};

}  // namespace sagaz::test
