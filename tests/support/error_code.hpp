#pragma once

#include <sagaz/error.hpp>

#include <functional>
#include <string>

namespace sagaz::test {

/// The code of the Error that `call` throws; empty when it throws none.
inline std::string code_of(const std::function<void()>& call) {
    try {
        call();
        return "";
    } catch (const Error& error) {
        return std::string(error.code());
    }
}

}  // namespace sagaz::test
