#pragma once

#include <cstdio>
#include <cstdlib>

/// A broken promise in our own code: says where, and stops the process. Always on: a relay that
/// goes on after one could lose an event, one that stops cannot.
#define SAGAZ_ASSERT(condition)   \
    (static_cast<bool>(condition) \
         ? static_cast<void>(0)   \
         : ::sagaz::core::assertion_failed(#condition, __FILE__, __LINE__))

namespace sagaz::inline v0::core {

[[noreturn]] inline void assertion_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "sagaz: broken promise: %s at %s:%d\n", condition, file, line);
    std::abort();
}

}  // namespace sagaz::inline v0::core
