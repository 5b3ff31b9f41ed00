#include "tests/support/tcp_gate.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>

namespace sagaz::test {
namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
constexpr int kTick = 20;  // Milliseconds after which it looks whether it must stop.

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
}

}  // namespace

TcpGate::TcpGate(int server_port) {
    left_[0] = left_[1] = kNoLimit;
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_, 4) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        throw std::runtime_error("the TCP gate cannot listen");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, server_port] { serve(server_port); });
}

TcpGate::~TcpGate() {
    stopping_ = true;
    thread_.join();
    ::close(listener_);
}

void TcpGate::cut_after(Direction direction, std::int64_t bytes) {
    left_[static_cast<std::size_t>(direction)] = bytes;
}

void TcpGate::serve(int server_port) {
    while (!stopping_) {
        pollfd waiting{listener_, POLLIN, 0};
        if (::poll(&waiting, 1, kTick) <= 0) continue;
        const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const sockaddr_in address = loopback(server_port);
        if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
            carry(client, server);
        }
        ::close(client);
        ::close(server);
    }
}

void TcpGate::carry(int client, int server) {
    while (!stopping_) {
        std::array<pollfd, 2> ends{{{client, POLLIN, 0}, {server, POLLIN, 0}}};
        if (::poll(ends.data(), ends.size(), kTick) <= 0) continue;
        if (ends[0].revents != 0 && !pass(client, server, Direction::to_server)) return;
        if (ends[1].revents != 0 && !pass(server, client, Direction::to_client)) return;
    }
}

bool TcpGate::pass(int from, int to, Direction direction) {
    std::array<char, 4'096> buffer{};
    const auto count = ::recv(from, buffer.data(), buffer.size(), 0);
    if (count <= 0) return false;
    auto& left = left_[static_cast<std::size_t>(direction)];
    const std::int64_t limit = left.load();
    const auto passing = static_cast<std::size_t>(std::min<std::int64_t>(limit, count));
    for (std::size_t sent = 0; sent < passing;) {
        const auto now = ::send(to, buffer.data() + sent, passing - sent, MSG_NOSIGNAL);
        if (now <= 0) return false;
        sent += static_cast<std::size_t>(now);
    }
    if (limit == kNoLimit) return true;
    left = limit - count;
    if (limit >= count) return true;
    cut_ = true;
    left_[0] = left_[1] = kNoLimit;
    return false;
}

}  // namespace sagaz::test
