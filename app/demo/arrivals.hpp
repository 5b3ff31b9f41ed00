#pragma once

#include "app/verify/sources.hpp"

#include <sagaz/event.hpp>

#include <optional>

namespace sagaz::inline v0::app::demo {

/// The destination's file as a consumer meets it: message after message, also those that are
/// written meanwhile.
class Arrivals {
public:
    explicit Arrivals(const std::string& path) : reader_{path} {}

    /// None when there is no further whole line yet.
    std::optional<Message> next();

    /// Where the next message begins, in bytes.
    std::int64_t position() const { return reader_.position(); }

private:
    verify::FileReader reader_;
};

}  // namespace sagaz::inline v0::app::demo
