#pragma once

#include <string>
#include <string_view>

namespace sagaz::inline v0::sqlite {

/// The statements about parked events.
struct ParkedStatements {
    explicit ParkedStatements(std::string_view schema);

    std::string look;
    std::string look_alone;
    std::string read;
    std::string remove;
    std::string count;
};

}  // namespace sagaz::inline v0::sqlite
