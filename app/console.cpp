#include "app/console.hpp"

#include "app/errors.hpp"

#include <istream>
#include <ostream>
#include <string>

namespace sagaz::inline v0::app {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kQuietFor = std::chrono::seconds{1};
constexpr auto kRedrawEvery = std::chrono::milliseconds{200};

}  // namespace

Console::Console(std::istream& in, std::ostream& out, std::ostream& err, Options options)
    : in_{in}, out_{out}, err_{err}, options_{options}, started_{Clock::now()} {}

Console::~Console() { clear_progress(); }

void Console::clear_progress() {
    if (progress_shown_) {
        err_ << "\r\x1b[K" << std::flush;
        progress_shown_ = false;
    }
}

void Console::say(std::string_view line) {
    clear_progress();
    err_ << line << '\n' << std::flush;
}

void Console::warn(std::string_view line) {
    clear_progress();
    err_ << (options_.color ? "\x1b[33mwarning:\x1b[0m " : "warning: ") << line << '\n'
         << std::flush;
}

void Console::error(const Error& error) {
    clear_progress();
    const auto text = three_lines(error);
    if (options_.color) {
        const auto colon = text.find("]: ");
        err_ << "\x1b[31m" << text.substr(0, colon + 2) << "\x1b[0m" << text.substr(colon + 2);
    } else {
        err_ << text;
    }
    err_ << '\n' << std::flush;
}

bool Console::ask(std::string_view question) {
    clear_progress();
    err_ << question << " [y/N] " << std::flush;
    std::string answer;
    std::getline(in_, answer);
    return answer == "y" || answer == "Y" || answer == "yes";
}

void Console::progress(std::string_view line) {
    const auto now = Clock::now();
    if (!options_.err_is_terminal || now - started_ < kQuietFor || now - drawn_ < kRedrawEvery) {
        return;
    }
    drawn_ = now;
    progress_shown_ = true;
    err_ << "\r\x1b[K" << line << std::flush;
}

}  // namespace sagaz::inline v0::app
