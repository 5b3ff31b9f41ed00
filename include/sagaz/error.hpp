#pragma once

#include <sagaz/export.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

namespace sagaz::inline v0 {

/// What the caller should do next.
enum class ErrorKind {
    invalid,      ///< The input is wrong; the same call will fail again. Change what `hint` names.
    conflict,     ///< The database chose another transaction; run the whole transaction again.
    unavailable,  ///< A server cannot be reached or is not ready; nothing happened, try later.
    in_doubt,     ///< The answer was lost: it may have happened. Look before you repeat.
    fatal,        ///< This process cannot go on safely; stop and let a person look.
};

/// The word for a kind, as in logs: "invalid", "conflict", ...
SAGAZ_EXPORT std::string_view to_string(ErrorKind kind) noexcept;

/// A call that failed as a whole. `what()` says what was seen, `hint()` what to change, and
/// `code()` is the stable word that docs, logs and doctor share ("schema_missing").
/// Never carries a password or a payload.
class SAGAZ_EXPORT Error : public std::runtime_error {
public:
    Error(ErrorKind kind, std::string code, const std::string& what, std::string hint);
    ~Error() override;
    Error(const Error&);
    Error& operator=(const Error&);

    ErrorKind kind() const noexcept { return kind_; }
    std::string_view code() const noexcept { return code_; }
    std::string_view hint() const noexcept { return hint_; }

private:
    ErrorKind kind_;
    std::string code_;
    std::string hint_;
};

}  // namespace sagaz::inline v0
