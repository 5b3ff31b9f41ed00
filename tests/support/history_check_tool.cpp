// history_check FILE: checks a recorded history ("-": standard input), says what it saw in JSON,
// and exits 3 when an invariant is broken, 2 when the history cannot be read.
#include "tests/support/history_check.hpp"

#include <fstream>
#include <iostream>

int main(int argc, char** argv) {
    using namespace sagaz::history;
    if (argc != 2) {
        std::cerr << "usage: history_check FILE\n";
        return 2;
    }
    try {
        const std::string path = argv[1];
        std::ifstream file;
        if (path != "-") {
            file.open(path);
            if (!file) throw std::runtime_error("cannot open " + path);
        }
        const Verdict verdict = check(path == "-" ? std::cin : file);
        nlohmann::ordered_json report{{"schema", 1},
                                      {"appended", verdict.appended},
                                      {"committed", verdict.committed},
                                      {"arrived", verdict.arrived},
                                      {"repeats", verdict.repeats},
                                      {"parked", verdict.parked},
                                      {"pending", verdict.pending},
                                      {"violations", verdict.violations_total}};
        for (const Violation& violation : verdict.violations) {
            report["samples"].push_back({{"invariant", violation.invariant},
                                         {"id", violation.id},
                                         {"what", violation.what}});
        }
        std::cout << report.dump(2) << '\n';
        return verdict.holds() ? 0 : 3;
    } catch (const std::exception& error) {
        std::cerr << "history_check: " << error.what() << '\n';
        return 2;
    }
}
