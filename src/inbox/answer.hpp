#pragma once

#include "core/inbox_step.hpp"

#include <sagaz/error.hpp>

#include <optional>
#include <string>

/// Reading what a statement of the inbox returned.
namespace sagaz::inline v0::inbox {

[[noreturn]] inline void throw_unexpected() {
    throw Error(ErrorKind::fatal, "unexpected_answer",
                "the driver did not return what the inbox asked for",
                "its Transaction must return each value as text");
}

inline Settlement settlement_in(const std::optional<std::string>& word) {
    const auto settlement = word ? core::settlement_of(*word) : std::nullopt;
    if (!settlement) throw_unexpected();
    return *settlement;
}

}  // namespace sagaz::inline v0::inbox
