#pragma once

#include "app/verify/account.hpp"

#include <string>

namespace sagaz::verify {

/// The report as JSON (`"schema": 1`), every damage named with its count, also those of zero.
std::string to_json(const Report& report);

/// The same for a person, a line a fact, without a newline at the end.
std::string to_text(const Report& report);

}  // namespace sagaz::verify
