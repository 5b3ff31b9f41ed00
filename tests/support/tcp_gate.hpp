#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

namespace sagaz::test {

/// A TCP gate to a loopback port for one client at a time. Counts bytes from when it is armed, and
/// cuts both sides once so many have passed in a direction; the byte after them never arrives.
class TcpGate {
public:
    enum class Direction { to_server, to_client };

    explicit TcpGate(int server_port);
    ~TcpGate();
    TcpGate(const TcpGate&) = delete;
    TcpGate& operator=(const TcpGate&) = delete;

    int port() const { return port_; }
    /// From now on lets `bytes` more pass that way, then cuts.
    void cut_after(Direction direction, std::int64_t bytes);
    bool has_cut() const { return cut_; }

private:
    void serve(int server_port);
    void carry(int client, int server);
    bool pass(int from, int to, Direction direction);

    int listener_{-1};
    int port_{};
    std::atomic<std::int64_t> left_[2]{};  ///< By direction; negative: no limit.
    std::atomic<bool> cut_{};
    std::atomic<bool> stopping_{};
    std::thread thread_;
};

}  // namespace sagaz::test
