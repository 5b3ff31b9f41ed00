#pragma once

#include <sagaz/event.hpp>

#include <thread>

namespace sagaz::inline v0 {

/// What a destination without a server does in `poll` when there is nothing to report: it waits,
/// as one with a server would. A caller that uses `poll` as its pause must not spin on it.
inline void wait_idle(Milliseconds deadline) {
    if (deadline.count() > 0) std::this_thread::sleep_for(deadline);
}

}  // namespace sagaz::inline v0
