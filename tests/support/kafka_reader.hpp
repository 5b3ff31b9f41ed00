#pragma once

#include <sagaz/event.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sagaz::tests {

/// Everything that `topic` holds now, partition after partition in offset order. Throws when that
/// cannot be read within a minute. `partition` and `position` are set.
std::vector<Message> read_topic(const std::string& bootstrap, const std::string& topic);

/// The offset that `group` has committed, partition after partition; 0 where there is none. Throws
/// when the group's server does not answer within a minute.
std::vector<std::int64_t> committed_offsets(const std::string& bootstrap, const std::string& group,
                                            const std::string& topic, int partitions);

}  // namespace sagaz::tests
