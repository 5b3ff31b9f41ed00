#pragma once

#include <sagaz/id.hpp>

#include <cstddef>
#include <cstdint>

namespace sagaz::simulation {

/// The simulator's only source of chance: splitmix64 (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", 2014). No std distribution, so a seed means the same
/// everywhere.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15U;
        return mix(state_);
    }

    static std::uint64_t mix(std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

    /// In [0, end); the bias is far below what any test could see.
    std::uint64_t below(std::uint64_t end) { return end == 0 ? 0 : next() % end; }
    /// In [low, high].
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low) + 1));
    }
    /// True `parts` times in a thousand.
    bool chance(int parts) { return below(1000) < static_cast<std::uint64_t>(parts); }
    /// A generator of its own, so that one actor's draws do not shift another's.
    Random fork() { return Random(next()); }

    Id id() {
        Id id;
        for (std::size_t n = 0; n < id.bytes.size(); n += 8) {
            const std::uint64_t word = next();
            for (std::size_t k = 0; k < 8; ++k) {
                id.bytes[n + k] = static_cast<std::byte>(word >> (8 * k));
            }
        }
        id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x70};
        id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
        return id;
    }

private:
    std::uint64_t state_;
};

/// FNV-1a, to compare bytes and traces.
inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325U) {
    for (const char c : bytes) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    }
    return hash;
}

}  // namespace sagaz::simulation
