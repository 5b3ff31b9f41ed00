#pragma once

#include <sagaz/relay.hpp>

namespace sagaz::inline v0::core {

/// The options as they are. Throws `invalid` (`option_range`) for one that is out of its range.
RelayOptions checked(RelayOptions options);

}  // namespace sagaz::inline v0::core
