#pragma once

#include <chrono>
#include <iosfwd>
#include <string>
#include <string_view>

namespace sagaz::inline v0 {
class Error;
}  // namespace sagaz::inline v0

namespace sagaz::inline v0::app {

/// Where a command's words go: data to `out`, everything else to `err`. Belongs to one thread.
class Console {
public:
    struct Options {
        bool err_is_terminal{};  ///< Progress is drawn only then.
        bool color{};
        bool in_is_terminal{};
    };
    Console(std::istream& in, std::ostream& out, std::ostream& err, Options options);
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;
    ~Console();

    std::istream& in() noexcept { return in_; }
    std::ostream& out() noexcept { return out_; }

    /// One line to the person, on `err`. Clears a progress line first.
    void say(std::string_view line);

    /// "warning: " and the line.
    void warn(std::string_view line);

    /// Three lines: `error[code]: what`, `seen:`, `do:`.
    void error(const Error& error);

    /// Replaces the progress line. Draws nothing unless `err` is a terminal, nothing in the first
    /// second after construction, and at most five times a second: call it as often as you like.
    void progress(std::string_view line);

    /// A person is there to answer.
    bool can_ask() const noexcept { return options_.in_is_terminal && options_.err_is_terminal; }

    /// Asks on `err` and waits for a line; true for y or yes, false for all else.
    bool ask(std::string_view question);

    void no_color() noexcept { options_.color = false; }

private:
    void clear_progress();

    std::istream& in_;
    std::ostream& out_;
    std::ostream& err_;
    Options options_;
    std::chrono::steady_clock::time_point started_;
    std::chrono::steady_clock::time_point drawn_{};
    bool progress_shown_{};
};

}  // namespace sagaz::inline v0::app
