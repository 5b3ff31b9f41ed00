#include "app/clean_pages.hpp"

#include <sys/mman.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

namespace sagaz::inline v0::app {
namespace {

/// One of /proc/self/smaps: a line of its own, then lines "Name: value".
struct Mapping {
    explicit Mapping(const std::string& line) {
        char dash{};
        std::string offset;
        std::string device;
        std::istringstream{line} >> std::hex >> begin >> dash >> end >> access >> offset >>
            device >> std::dec >> inode;
    }

    // What was written to is not in the file: a relocation, or a debugger's breakpoint.
    bool is_clean() const {
        return inode != 0 && (access == "r--p" || access == "r-xp") && written_kib == 0;
    }

    std::uintptr_t begin{};
    std::uintptr_t end{};
    std::string access;
    std::uint64_t inode{};
    std::size_t written_kib{};
};

}  // namespace

void drop_clean_pages() {
    std::ifstream smaps{"/proc/self/smaps"};
    Mapping mapping{""};
    for (std::string line; std::getline(smaps, line);) {
        std::istringstream words{line};
        std::string name;
        std::size_t kib{};
        words >> name;
        if (!name.ends_with(':')) {
            mapping = Mapping{line};
        } else if (name == "Anonymous:" || name == "Swap:") {
            words >> kib;
            mapping.written_kib += kib;
        } else if (name == "VmFlags:" && mapping.is_clean()) {  // always the last line
            ::madvise(std::bit_cast<void*>(mapping.begin), mapping.end - mapping.begin,
                      MADV_DONTNEED);
        }
    }
}

}  // namespace sagaz::inline v0::app
