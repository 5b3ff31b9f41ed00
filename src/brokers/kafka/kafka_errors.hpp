#pragma once

#include <sagaz/broker.hpp>

#include <librdkafka/rdkafka.h>

#include <string>
#include <string_view>

namespace sagaz::inline v0::kafka {

/// What a native error of one message means for its receipt.
struct Verdict {
    Receipt::State state{Receipt::State::unknown};
    const char* reason{""};
    /// The server said it of a whole batch; with more than one message in it, nobody knows whose
    /// fault it was.
    bool of_batch{false};
};

/// The one table of native errors. What it does not name is `unknown`: sent again, never parked,
/// since an error that nobody classified must not cost an event.
Verdict verdict(rd_kafka_resp_err_t error);

/// The detail of a receipt that refuses for `reason`: what was seen, and what a person can change.
std::string refusal_detail(std::string_view reason, std::string_view seen);

}  // namespace sagaz::inline v0::kafka
