#include "app/clean_pages.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace sagaz::app {
namespace {

const auto kPage = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

/// Two pages of a file, mapped as a library is: private, and read-only in the end.
class MappedFile {
public:
    MappedFile() {
        const std::string text(2 * kPage, 'f');
        EXPECT_EQ(std::fwrite(text.data(), 1, text.size(), file_.get()), text.size());
        EXPECT_EQ(std::fflush(file_.get()), 0);
        void* const address = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE,
                                     ::fileno(file_.get()), 0);
        EXPECT_NE(address, MAP_FAILED);
        bytes_ = static_cast<volatile char*>(address);
    }
    ~MappedFile() { ::munmap(const_cast<char*>(bytes_), 2 * kPage); }
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    volatile char* bytes() { return bytes_; }
    void protect() { EXPECT_EQ(::mprotect(const_cast<char*>(bytes_), 2 * kPage, PROT_READ), 0); }

    /// By the topmost bit of the page's word in /proc/self/pagemap.
    bool is_resident(std::size_t page) const {
        const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        const auto number = std::bit_cast<std::uintptr_t>(bytes_) / kPage + page;
        std::uint64_t word{};
        EXPECT_EQ(::pread(pagemap, &word, sizeof word, static_cast<::off_t>(number * sizeof word)),
                  static_cast<::ssize_t>(sizeof word));
        ::close(pagemap);
        return word >> 63 != 0;
    }

private:
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{std::tmpfile(), std::fclose};
    volatile char* bytes_{};
};

TEST(CleanPages, AreGivenBackAndComeAgainFromTheFile) {
    MappedFile file;
    file.protect();
    EXPECT_EQ(file.bytes()[0], 'f');
    EXPECT_EQ(file.bytes()[kPage], 'f');
    ASSERT_TRUE(file.is_resident(0) && file.is_resident(1));
    drop_clean_pages();
    EXPECT_FALSE(file.is_resident(0));
    EXPECT_FALSE(file.is_resident(1));
    EXPECT_EQ(file.bytes()[0], 'f');
}

TEST(CleanPages, StayWhereAnythingWasWritten) {
    MappedFile file;
    file.bytes()[1] = 'w';  // as the linker relocates, and a debugger sets a breakpoint
    file.protect();
    drop_clean_pages();
    EXPECT_EQ(file.bytes()[1], 'w');
}

TEST(CleanPages, StayWhereSomethingMayBeWritten) {
    MappedFile file;
    EXPECT_EQ(file.bytes()[0], 'f');
    drop_clean_pages();
    EXPECT_TRUE(file.is_resident(0));
}

}  // namespace
}  // namespace sagaz::app
