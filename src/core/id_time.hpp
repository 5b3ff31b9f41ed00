#pragma once

#include <sagaz/event.hpp>
#include <sagaz/id.hpp>

#include <cstdint>

namespace sagaz::inline v0::core {

/// Writes `since_1970` where a UUIDv7 has its time, into the first 48 bits; the rest stays.
inline void set_time(Id& id, Milliseconds since_1970) {
    const auto time = static_cast<std::uint64_t>(since_1970.count());
    for (std::size_t n = 0; n < 6; ++n) {
        id.bytes[n] = static_cast<std::byte>(time >> (8 * (5 - n)));
    }
}

/// Below every UUIDv7 of that time, and above every one of an earlier time.
inline Id first_id_of(Milliseconds since_1970) {
    Id id;
    set_time(id, since_1970);
    return id;
}

}  // namespace sagaz::inline v0::core
