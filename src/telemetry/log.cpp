#include "telemetry/log.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/async_logger.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <cstdio>
#include <ctime>
#include <exception>

namespace sagaz::inline v0::telemetry {
namespace {

std::string_view word(LogLevel level) {
    switch (level) {
        case LogLevel::debug: return "debug";
        case LogLevel::info: return "info";
        case LogLevel::warning: return "warning";
        case LogLevel::error: return "error";
    }
    return "info";
}

spdlog::level::level_enum native(LogLevel level) {
    switch (level) {
        case LogLevel::debug: return spdlog::level::debug;
        case LogLevel::info: return spdlog::level::info;
        case LogLevel::warning: return spdlog::level::warn;
        case LogLevel::error: return spdlog::level::err;
    }
    return spdlog::level::info;
}

// RFC 3339, UTC, milliseconds.
std::string time_text(std::chrono::system_clock::time_point at) {
    const auto ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
    const auto seconds = static_cast<std::time_t>(ms / 1'000);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char day[32];
    std::strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts);
    char text[48];
    std::snprintf(text, sizeof text, "%s.%03dZ", day, static_cast<int>(ms % 1'000));
    return text;
}

std::string quoted(std::string_view value) {
    return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_one_word(std::string_view value) {
    if (value.empty()) {
        return false;
    }
    for (const char c : value) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= 0x20 || byte >= 0x7f || c == '"' || c == '=' || c == '\\') {
            return false;
        }
    }
    return true;
}

class FunctionSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
public:
    explicit FunctionSink(std::function<void(std::string_view)> function)
        : function_{std::move(function)} {}

protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        function_({message.payload.data(), message.payload.size()});
    }
    void flush_() override {}

private:
    std::function<void(std::string_view)> function_;
};

}  // namespace

std::string format_line(LogFormat format, std::chrono::system_clock::time_point at, LogLevel level,
                        std::string_view event, std::span<const Field> fields) {
    if (format == LogFormat::json) {
        nlohmann::ordered_json line;
        line["time"] = time_text(at);
        line["level"] = word(level);
        line["event"] = event;
        for (const auto& field : fields) {
            line[std::string{field.name}] = field.value;
        }
        return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    auto line = time_text(at);
    line.append(" ")
        .append(word(level))
        .append(" ")
        .append(is_one_word(event) ? std::string{event} : quoted(event));
    for (const auto& field : fields) {
        line.append(" ").append(field.name).append("=");
        line += is_one_word(field.value) ? std::string{field.value} : quoted(field.value);
    }
    return line;
}

struct LogWriter::State {
    LogFormat format{};
    std::atomic<std::size_t> lost{};
    // The pool is destroyed first: it writes what is queued and joins its thread, which borrows
    // the logger and its sink.
    std::shared_ptr<spdlog::async_logger> logger;
    std::shared_ptr<spdlog::details::thread_pool> pool;
};

LogWriter::LogWriter(LogFormat format, LogLevel level, std::function<void(std::string_view)> sink)
    : state_{std::make_unique<State>()} {
    state_->format = format;
    state_->pool = std::make_shared<spdlog::details::thread_pool>(kQueueMax, 1);
    std::shared_ptr<spdlog::sinks::sink> target;
    if (sink) {
        target = std::make_shared<FunctionSink>(std::move(sink));
    } else {
        target = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    }
    state_->logger = std::make_shared<spdlog::async_logger>(
        "sagaz", std::move(target), state_->pool, spdlog::async_overflow_policy::overrun_oldest);
    state_->logger->set_pattern("%v");
    state_->logger->set_level(native(level));
    state_->logger->set_error_handler([](const std::string&) {});  // a full disk is not our error
}

LogWriter::~LogWriter() = default;

void LogWriter::write(LogLevel level, std::string_view event,
                      std::span<const Field> fields) noexcept {
    try {
        if (!state_->logger->should_log(native(level))) {
            return;
        }
        const auto line =
            format_line(state_->format, std::chrono::system_clock::now(), level, event, fields);
        state_->logger->log(native(level), spdlog::string_view_t{line.data(), line.size()});
    } catch (const std::exception&) {
        ++state_->lost;  // out of memory: the relay goes on without this line
    }
}

std::size_t LogWriter::dropped() const noexcept {
    return state_->pool->overrun_counter() + state_->lost;
}

}  // namespace sagaz::inline v0::telemetry
