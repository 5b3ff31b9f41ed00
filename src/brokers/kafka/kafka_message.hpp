#pragma once

#include <sagaz/event.hpp>

#include <librdkafka/rdkafka.h>

#include <span>
#include <string>

namespace sagaz::inline v0::kafka {

/// Copies a record. The id is that of the first of `id_headers` that is there and not empty, else
/// `topic-partition-offset-milliseconds`. Type, subject and content type come from the CloudEvents
/// headers (docs/reference/wire.md) and are empty without them; all headers stay in the list.
Message read_message(const rd_kafka_message_t& record, std::span<const std::string> id_headers);

/// What the headers say of the event; they are in place already, as are place and time.
void read_headers(Message& message, std::span<const std::string> id_headers);

}  // namespace sagaz::inline v0::kafka
