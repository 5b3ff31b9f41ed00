#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace sagaz::test {

/// A file to which several processes append lines, each by one write: a kill leaves all of a line
/// or nothing, and the order of the file is that of the writes.
class LineFile {
public:
    explicit LineFile(const std::string& path)
        : file_(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) {
        if (file_ < 0) throw std::runtime_error(path + ": " + std::strerror(errno));
    }
    ~LineFile() { ::close(file_); }
    LineFile(const LineFile&) = delete;
    LineFile& operator=(const LineFile&) = delete;

    void add(std::string line) const {
        line += '\n';
        if (::write(file_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
            throw std::runtime_error("a line was not written");
        }
    }

private:
    int file_;
};

}  // namespace sagaz::test
