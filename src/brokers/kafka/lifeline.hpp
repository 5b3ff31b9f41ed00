#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

namespace sagaz::inline v0::kafka {

/// The connections of one client, so that it can be stopped from sending at the very moment when a
/// message fails, by the client's own thread. Thread-safe.
///
/// Asking the client to purge is not enough. While one request is on its way, the client already
/// builds the next of the same partition; when the first is refused, the thread that reads this
/// sends the next one unless another thread's purge arrives before. (librdkafka 2.0.2: seen in
/// four runs of six.) Once cut, the sockets take no more bytes, and no new ones are made. What was
/// sent before can still be answered, since only the sending half is closed.
class Lifeline {
public:
    /// The client's socket callback: a socket, or -1 with errno.
    int open(int domain, int type, int protocol);
    /// The client's closesocket callback.
    int close(int socket);
    void cut();

private:
    std::mutex mutex_;
    std::vector<int> sockets_;
    bool is_cut_{};
};

}  // namespace sagaz::inline v0::kafka
