#include "tests/integration/first_mistakes.hpp"

#include "tests/support/postgres_process.hpp"

#include <fstream>
#include <regex>

namespace sagaz::test {
namespace {

struct Row {
    std::string name{}, typed{}, code{}, says{};
};

std::vector<Row>& rows() {
    static std::vector<Row> all;
    return all;
}

std::string command_of(const Mistake& mistake) {
    std::string text;
    for (const auto& [name, value] : mistake.options.environment) {
        if (name == "SAGAZ_ADMIN_LISTEN") continue;  // the test's own
        text.append(name).append("=").append(value).append(" ");
    }
    text += "sagaz";
    for (const auto& word : mistake.typed) text += ' ' + word;
    return text;
}

// A cell of Markdown ends at a bar.
std::string cell(const std::string& text) {
    return std::regex_replace(text, std::regex{R"(\|)"}, R"(\|)");
}

}  // namespace

ErrorLines expect_help(const Mistake& mistake) {
    const auto result = run_cli(mistake.typed, mistake.options);
    EXPECT_EQ(result.code, mistake.exit) << mistake.name << '\n' << result.err;
    auto lines = error_of(result);
    EXPECT_EQ(lines.code, mistake.code) << mistake.name << '\n' << result.err;
    for (const auto& words : mistake.says) {
        EXPECT_NE(lines.what_to_do.find(words), std::string::npos)
            << mistake.name << ": \"" << words << "\" is not in\n"
            << result.err;
    }
    note(mistake.name, command_of(mistake), lines.code, lines.what_to_do);
    return lines;
}

void note(const std::string& name, const std::string& typed, const std::string& code,
          const std::string& says) {
    rows().push_back({name, typed, code, says});
}

std::string table_of_mistakes() {
    std::string text =
        "| mistake | what was typed | code | what it says to do |\n|---|---|---|---|\n";
    for (const auto& row : rows()) {
        text += "| " + cell(row.name) + " | `" + cell(row.typed) + "` | `" + row.code + "` | " +
                cell(row.says) + " |\n";
    }
    return text;
}

std::vector<std::string> codes_of_mistakes() {
    std::vector<std::string> codes;
    for (const auto& row : rows()) codes.push_back(row.code);
    return codes;
}

std::vector<std::string> statements_in(const std::string& message) {
    static const std::regex kStatement{"(GRANT|ALTER ROLE) [^;]+;"};
    std::vector<std::string> statements;
    for (std::sregex_iterator at{message.begin(), message.end(), kStatement}, end; at != end;
         ++at) {
        statements.push_back(at->str());
    }
    return statements;
}

FirstMistakes::FirstMistakes() : folder_{make_folder("sagaz-mistakes")} {}

FirstMistakes::~FirstMistakes() { remove_folder(folder_); }

CliResult FirstMistakes::run(Arguments arguments) const {
    return CliOnADatabase::run(std::move(arguments),
                               {.environment = {{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}}});
}

std::string FirstMistakes::file(const std::string& name, const std::string& text) const {
    std::ofstream{folder_ / name, std::ios::binary} << text;
    return path(name);
}

}  // namespace sagaz::test
