#pragma once

#include "core/clock.hpp"

#include <sagaz/store.hpp>

#include <cstdint>
#include <optional>
#include <string>

/// When a relay asks the store to keep the consumers' marks: once an hour, in small pieces.
///
/// Only when to ask is decided here; what may go the store judges by itself, so any relay may ask
/// at any time. In calm one does: the owner of the lowest slot. Nothing of it is urgent, since
/// partitions are made a week ahead. So a new owner lets five minutes pass, pieces come a tenth of
/// a second apart, and after somebody was in the way it waits a minute and is a little more patient
/// then: whoever waits for that lock makes others wait.
namespace sagaz::inline v0::core {

class KeepInboxStep {
public:
    /// Zero: never.
    explicit KeepInboxStep(Milliseconds retention) : limits_{.retention = retention} {}

    /// What to ask for now, if it is time. `lowest`: of the slots owned, if any. Asked once, an
    /// error counts as an answer.
    std::optional<InboxLimits> next(std::optional<std::int16_t> lowest, Instant now);
    void kept(const InboxKept& kept, Instant now);

private:
    InboxLimits limits_;
    bool on_duty_{};
    Instant due_{};
};

}  // namespace sagaz::inline v0::core
