#pragma once

#include "tests/support/postgres_process.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>

/// Wall clocks that run beside the true one, by libfaketime; the monotonic clock stays true.
namespace sagaz::test {

inline std::filesystem::path faketime_library() {
    for (const auto& folder : std::filesystem::directory_iterator("/usr/lib")) {
        const auto library = folder.path() / "faketime" / "libfaketimeMT.so.1";
        if (std::filesystem::exists(library)) return library;
    }
    throw std::runtime_error("no libfaketime: install Debian's package faketime (./do setup)");
}

/// A clock that runs beside the true one by an offset that may change at any time.
class ShiftedClock {
public:
    ShiftedClock() : folder_(make_folder("sagaz-clock")) {
        std::filesystem::permissions(folder_, std::filesystem::perms{0755});
        shift("+0");
    }
    ~ShiftedClock() { remove_folder(folder_); }
    ShiftedClock(const ShiftedClock&) = delete;
    ShiftedClock& operator=(const ShiftedClock&) = delete;

    /// As "+3600" or "-3600": seconds.
    void shift(const std::string& offset) {
        const auto next = folder_ / "next";
        std::ofstream(next) << offset << '\n';
        std::filesystem::permissions(next, std::filesystem::perms{0644});
        std::filesystem::rename(next, folder_ / "offset");  // Never read half written.
    }

    std::map<std::string, std::string> environment() const {
        return {{"LD_PRELOAD", faketime_library().string()},
                {"FAKETIME_TIMESTAMP_FILE", (folder_ / "offset").string()},
                {"FAKETIME_NO_CACHE", "1"},
                {"DONT_FAKE_MONOTONIC", "1"},
                {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}};
    }

private:
    std::filesystem::path folder_;
};

/// What is started while it lives runs by that clock; this process does not.
class Under {
public:
    explicit Under(const ShiftedClock& clock) : variables_(clock.environment()) {
        for (const auto& [name, value] : variables_) ::setenv(name.c_str(), value.c_str(), 1);
    }
    ~Under() {
        for (const auto& [name, value] : variables_) ::unsetenv(name.c_str());
    }
    Under(const Under&) = delete;
    Under& operator=(const Under&) = delete;

private:
    std::map<std::string, std::string> variables_;
};

}  // namespace sagaz::test
