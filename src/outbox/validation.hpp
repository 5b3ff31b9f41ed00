#pragma once

#include <sagaz/event.hpp>

namespace sagaz::inline v0::outbox {

/// Throws `invalid` naming the field when `event` is over a limit of event.hpp, has text that is
/// not UTF-8 or has a zero byte (`text_encoding`), has no type (`event_type_missing`), or uses a
/// header that the envelope owns (`header_reserved`). The same limits stand in the table, so what
/// passes here is not refused there in the middle of a transaction.
void check(const Event& event);

}  // namespace sagaz::inline v0::outbox
