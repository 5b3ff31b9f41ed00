#pragma once

#include <optional>
#include <string>
#include <string_view>

/// What a URL names. A plain if on the scheme; wrong ones get an error that says how to write it.
namespace sagaz::inline v0::app {

enum class BrokerKind { kafka, file, standard_output, null };

struct BrokerUrl {
    BrokerKind kind{BrokerKind::null};
    std::string place{};  ///< kafka: "host:port,host:port"; file: the path.
};

/// PATH of "sqlite:PATH"; none for any other store.
std::optional<std::string> sqlite_path(const std::string& url);

/// Checks that libpq or SQLite can use `url`, and returns it. Throws `store_scheme` for another
/// database's URL and for SQLAlchemy's driver suffixes, naming the fix. `origin` is where it came
/// from.
std::string check_store_url(const std::string& url, std::string_view origin);

/// Throws `broker_scheme` (unknown), `broker_not_built` (known, not in this build) or
/// `broker_url_invalid`.
BrokerUrl parse_broker_url(const std::string& url, std::string_view origin);

}  // namespace sagaz::inline v0::app
