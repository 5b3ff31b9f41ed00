#pragma once

#include <sagaz/error.hpp>

#include <span>
#include <string>
#include <string_view>

/// The stable codes of the executable, one table. docs/reference/errors.md lists the same words,
/// and a test compares the two.
namespace sagaz::inline v0::app {

struct CodeInfo {
    std::string_view code{};
    int exit{};               ///< The exit code of a command that fails with it.
    std::string_view what{};  ///< First line of the message: what is wrong, in general.
};

/// Every code the executable can print, its own and the libraries', by code.
std::span<const CodeInfo> codes();

/// The row of `code`; for an unknown code a row with an empty `what` and exit 1.
CodeInfo info_of(std::string_view code) noexcept;

/// The exit code of a command that ended with `error`.
int exit_of(const Error& error) noexcept;

/// The three lines: `error[code]: what`, `seen: ...`, `do: ...`. Control characters of foreign
/// text are replaced, and what looks like a password in a URL or a connection string is hidden.
std::string three_lines(const Error& error);

/// An error of usage or configuration (exit 2).
[[noreturn]] void refuse(std::string_view code, const std::string& seen,
                         const std::string& what_to_do);

/// Hides passwords: in URLs the userinfo's, in keyword strings the value of `password=`.
std::string hide_secrets(std::string_view text);

}  // namespace sagaz::inline v0::app
