#include "app/cli.hpp"
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"

#include <sagaz/error.hpp>

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>

namespace {

using sagaz::Error;
using sagaz::ErrorKind;

// The relay and whoever else must finish something blocks the signal and waits for it instead.
void interrupt(int /*signal*/) { _exit(sagaz::app::kInterrupted); }

int run(int argc, const char* const* argv, sagaz::app::Console& console) {
    const int code = sagaz::app::run_cli(argc, argv, console);
    if (!console.out().flush()) {
        throw Error{ErrorKind::unavailable, "output_failed", "a write to standard output failed",
                    "make room where it goes, and do not take what is there for complete"};
    }
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGINT, interrupt);
    // The first process of a container is not ended by a signal that it has no handler for.
    if (getpid() == 1) std::signal(SIGTERM, interrupt);
    std::ios::sync_with_stdio(false);
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const char* const no_color = std::getenv("NO_COLOR");
    const bool color = terminal && (no_color == nullptr || *no_color == '\0');
    sagaz::app::Console console{
        std::cin,
        std::cout,
        std::cerr,
        {.err_is_terminal = terminal, .color = color, .in_is_terminal = isatty(STDIN_FILENO) == 1}};
    try {
        return run(argc, argv, console);
    } catch (const Error& error) {
        console.error(error);
        return sagaz::app::exit_of(error);
    } catch (const std::exception& error) {
        console.error(Error{ErrorKind::fatal, "internal", error.what(),
                            "please report this, with the command"});
        return sagaz::app::kFailed;
    }
}
