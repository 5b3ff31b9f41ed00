#pragma once

#include <string>
#include <string_view>

namespace sagaz::inline v0::postgres {

/// The statements about parked events. Like those of statements.hpp they begin with the guard.
struct ParkedStatements {
    explicit ParkedStatements(std::string_view schema);

    std::string look;
    std::string read;
    std::string settle;
};

}  // namespace sagaz::inline v0::postgres
