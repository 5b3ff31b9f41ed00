#pragma once

#include <sagaz/store.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace sagaz::inline v0::core {

/// Slots that were taken over and are not loaded yet. They are loaded a few at a time, so that the
/// relay beats in between, and fewer after an answer that came too late: what the owner of a slot
/// must know grows with its stopped keys, which may be millions.
class FreshSlots {
public:
    bool empty() const noexcept { return slots_.empty(); }
    void add(const OwnedSlot& slot) {
        remove(slot.slot);
        slots_.push_back(slot);
    }
    void remove(std::int16_t slot) {
        std::erase_if(slots_, [&](const OwnedSlot& fresh) { return fresh.slot == slot; });
    }
    void clear() noexcept { slots_.clear(); }

    /// The ones to load now.
    std::vector<OwnedSlot> ask() {
        asked_ = std::min(max_, slots_.size());
        return {slots_.begin(), slots_.begin() + static_cast<std::ptrdiff_t>(asked_)};
    }
    /// They were loaded; returns them.
    std::vector<OwnedSlot> loaded() {
        const auto asked = ask();
        slots_.erase(slots_.begin(), slots_.begin() + static_cast<std::ptrdiff_t>(asked_));
        asked_ = 0;
        return asked;
    }
    /// The last load brought so many stopped keys: their words are in memory all at once.
    void weigh(std::size_t keys) noexcept {
        max_ = keys > kKeysMax ? 1 : std::min(limit_, 2 * max_);
    }
    /// A store command failed, perhaps this one.
    void failed(bool came_too_late) noexcept {
        if (std::exchange(asked_, 0) > 0 && came_too_late)
            limit_ = max_ = std::max<std::size_t>(1, max_ / 2);
    }

private:
    static constexpr std::size_t kMax = 4;
    static constexpr std::size_t kKeysMax = 20'000;

    std::vector<OwnedSlot> slots_;
    std::size_t limit_{kMax};
    std::size_t max_{1};
    std::size_t asked_{};  ///< By the load under way.
};

}  // namespace sagaz::inline v0::core
