#pragma once

#include <sagaz/telemetry.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sagaz::inline v0::telemetry {

enum class LogFormat { text, json };

/// One line, without its end. JSON is always valid: control characters are escaped and bytes that
/// are not UTF-8 are replaced. Text quotes what would not stand in one word.
std::string format_line(LogFormat format, std::chrono::system_clock::time_point at, LogLevel level,
                        std::string_view event, std::span<const Field> fields);

/// Writes log lines to standard error from a thread of its own. Thread-safe; never throws and never
/// waits: when the reader of the log is too slow or the disk is full, the oldest lines of a bounded
/// queue are given up and counted.
class LogWriter {
public:
    /// `sink` replaces standard error, for tests; it is called from the writer's thread.
    LogWriter(LogFormat format, LogLevel level, std::function<void(std::string_view)> sink = {});
    ~LogWriter();
    LogWriter(const LogWriter&) = delete;
    LogWriter& operator=(const LogWriter&) = delete;

    void write(LogLevel level, std::string_view event, std::span<const Field> fields) noexcept;

    /// Lines given up so far.
    std::size_t dropped() const noexcept;

    static constexpr std::size_t kQueueMax = 1'024;  ///< Lines, about 400 bytes each.

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace sagaz::inline v0::telemetry
