#pragma once

#include <sagaz/kafka.hpp>

#include <librdkafka/rdkafka.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>

namespace sagaz::inline v0::kafka {

struct ConfDeleter {
    void operator()(rd_kafka_conf_t* conf) const noexcept { rd_kafka_conf_destroy(conf); }
};
using Conf = std::unique_ptr<rd_kafka_conf_t, ConfDeleter>;

/// Whose options they are.
enum class Role { producer, consumer };

/// Throws `invalid` (`broker_option`) for a name that is not on the allow-list of that role.
void check_client(const std::map<std::string, std::string>& client, Role role);

/// Sets options that were checked. Throws `invalid` (`broker_option`) for a value that the client
/// does not take.
void apply_client(rd_kafka_conf_t* conf, const std::map<std::string, std::string>& client);
void set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value);

/// How much may go into one produce request; the broker lowers it after a batch was refused.
struct Batching {
    bool single{};            ///< One message a request, to find out whose fault a refusal is.
    std::size_t bytes_max{};  ///< 0: as the options say.
};

/// Throws `invalid` (`broker_option`) for an option that is unknown (naming the nearest that is
/// known), forbidden (saying why) or of a wrong value. Values are never shown: one may be a secret
/// under a misspelt name.
void check(const Options& options);

/// With what a message leaves at once, where `options` do not say otherwise.
Options prompt(Options options);

/// The client's configuration for checked options: theirs first, then what the promises rest on.
Conf make_conf(const Options& options, const Batching& batching);

/// Bytes of one message at most, with key, headers and framing.
std::size_t message_max(const Options& options);

}  // namespace sagaz::inline v0::kafka
