#pragma once

#include <sagaz/error.hpp>

#include <string>

namespace sagaz::inline v0::core {

/// Throws `invalid` (`option_range`) unless `in_range`: `of` is whose `option` it is.
inline void check_option(bool in_range, const char* of, const char* option, const char* range) {
    if (in_range) return;
    throw Error(ErrorKind::invalid, "option_range",
                std::string(of) + " option " + option + " is out of range",
                std::string("set it ") + range);
}

}  // namespace sagaz::inline v0::core
