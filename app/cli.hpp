#pragma once

namespace sagaz::inline v0::app {

class Console;

/// Parses the command line, loads the configuration and runs the command. Returns its exit code;
/// throws `sagaz::Error`.
int run_cli(int argc, const char* const* argv, Console& console);

}  // namespace sagaz::inline v0::app
