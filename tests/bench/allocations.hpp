#pragma once

#include <cstdint>

namespace sagaz::test {

/// How often operator new was called so far, by any thread of a program that has allocations.cpp.
/// What libpq and the server's answers take by malloc is not counted.
std::int64_t allocations();

}  // namespace sagaz::test
