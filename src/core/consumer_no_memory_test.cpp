// The consumer's step where there is no memory: the exception leaves it, the shell gives up its
// partitions, and what is committed then must not be past the message.
#include "core/consumer_step_fixture.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

namespace {

thread_local long allocations_left = -1;  // Fewer than 0: any number.

}  // namespace

// All forms but the aligned ones: memory of one allocator must not come to another. The two that
// are called where objects are made are kept apart: inlined beside an operator new that is not,
// their free() is a mismatch to GCC at -O2.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    if (allocations_left >= 0 && allocations_left-- == 0) return nullptr;
    return std::malloc(size);
}
void* operator new(std::size_t size) {
    if (void* memory = operator new(size, std::nothrow)) return memory;
    throw std::bad_alloc{};
}
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new[](std::size_t size, const std::nothrow_t& none) noexcept {
    return operator new(size, none);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace sagaz::core {
namespace {

TEST_F(ConsumerStepTest, F68_CommitsNothingPastAMessageThatThereWasNoMemoryToHold) {
    int failed = 0;
    for (long most = 0;; ++most) {
        step_ = ConsumerStep{kOptions, 1};
        step_.on_assigned(std::vector{zero_});
        step_.on_message(message_of(zero_, 7, "a"));
        ASSERT_TRUE(handled());
        bool threw = false;
        allocations_left = most;
        try {
            step_.on_failure(now_);
        } catch (const std::bad_alloc&) {
            threw = true;
        }
        allocations_left = -1;
        if (!threw) break;
        ++failed;
        for (const Progress& one : step_.on_revoked(std::vector{zero_}, false)) {
            EXPECT_LE(one.done, 7) << "allocation " << most;
        }
    }
    EXPECT_GT(failed, 1);
}

}  // namespace
}  // namespace sagaz::core
