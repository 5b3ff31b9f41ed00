#include "brokers/kafka/lifeline.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace sagaz::inline v0::kafka {

int Lifeline::open(int domain, int type, int protocol) {
    const std::lock_guard lock{mutex_};
    if (is_cut_) {
        errno = ECANCELED;
        return -1;
    }
    const int made = ::socket(domain, type | SOCK_CLOEXEC, protocol);
    if (made >= 0) sockets_.push_back(made);
    return made;
}

// Forgets the socket before its number can belong to another: `cut` must not hit a stranger.
int Lifeline::close(int socket) {
    const std::lock_guard lock{mutex_};
    std::erase(sockets_, socket);
    return ::close(socket);
}

void Lifeline::cut() {
    const std::lock_guard lock{mutex_};
    if (is_cut_) return;
    is_cut_ = true;
    for (const int socket : sockets_) ::shutdown(socket, SHUT_WR);
}

}  // namespace sagaz::inline v0::kafka
