#include <sagaz/error.hpp>

#include <utility>

namespace sagaz::inline v0 {

std::string_view to_string(ErrorKind kind) noexcept {
    switch (kind) {
        case ErrorKind::invalid: return "invalid";
        case ErrorKind::conflict: return "conflict";
        case ErrorKind::unavailable: return "unavailable";
        case ErrorKind::in_doubt: return "in_doubt";
        case ErrorKind::fatal: return "fatal";
    }
    return "unknown";
}

Error::Error(ErrorKind kind, std::string code, const std::string& what, std::string hint)
    : std::runtime_error(what), kind_(kind), code_(std::move(code)), hint_(std::move(hint)) {}

Error::~Error() = default;
Error::Error(const Error&) = default;
Error& Error::operator=(const Error&) = default;

}  // namespace sagaz::inline v0
