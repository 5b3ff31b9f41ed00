#pragma once

#include <sagaz/broker.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0::file {

/// Owns a file descriptor, or borrows standard output's.
class Descriptor {
public:
    Descriptor() = default;
    Descriptor(int fd, bool owned) : fd_(fd), owned_(owned) {}
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept;
    Descriptor& operator=(Descriptor&& other) noexcept;

    int get() const { return fd_; }
    bool valid() const { return fd_ >= 0; }

private:
    int fd_{-1};
    bool owned_{};
};

/// JSON lines to a file or a stream. The safety argument is at the head of file_broker.cpp.
class FileBroker final : public Broker {
public:
    /// As fdatasync(2): 0, or -1 and errno. Tests give one that fails.
    using Sync = std::function<int(int fd)>;

    explicit FileBroker(std::string path, Sync sync = ::fdatasync);

    std::size_t publish(std::span<const Envelope> envelopes) override;
    std::vector<Receipt> poll(Milliseconds deadline) override;
    std::string down() const override { return down_; }
    void abandon(Milliseconds deadline) override;

private:
    using Clock = std::chrono::steady_clock;

    bool open_file();
    bool write_out(Clock::time_point end);
    bool write_to_file(Clock::time_point end);
    bool lock(Clock::time_point end);
    bool is_at_its_path() const;
    bool append_locked();
    bool write_to_stream(Clock::time_point end);
    bool fail(std::string_view doing, int error);
    bool fail(const std::string& why);

    const std::string path_;
    const Sync sync_;
    Descriptor file_;
    bool is_regular_{};
    std::string buffer_;                 // Lines that are not written yet.
    std::size_t written_{};              // Of buffer_, to a stream.
    bool torn_{};                        // buffer_ begins within a line that is partly written.
    std::vector<std::uint64_t> tokens_;  // Of the lines in buffer_.
    std::vector<Receipt> receipts_;
    std::string down_;
    Clock::time_point retry_at_{};
    Milliseconds stream_sync_retry_{200};  // Until the next try after a failed sync of a stream.
};

}  // namespace sagaz::inline v0::file
