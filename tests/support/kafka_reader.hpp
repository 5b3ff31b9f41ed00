#pragma once

#include <sagaz/event.hpp>

#include <string>
#include <vector>

namespace sagaz::tests {

/// Everything that `topic` holds now, partition after partition in offset order. Throws when that
/// cannot be read within a minute. `partition` and `position` are set.
std::vector<Message> read_topic(const std::string& bootstrap, const std::string& topic);

}  // namespace sagaz::tests
