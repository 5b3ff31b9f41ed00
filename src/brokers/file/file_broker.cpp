// Why no line is lost, torn or doubled by us, and no byte of anybody else is destroyed.
//
// `publish` only collects lines; `poll` writes all of them at the end of the file and syncs once,
// then gives their receipts, so a receipt means that the line is on disk. When writing or syncing
// fails, the file is cut back to where it ended before, and the lines stay collected: they are
// written again later, from the start and in order, so the failure is neither a lost nor a doubled
// line, and no later line overtakes. After a failed sync the kernel may have dropped the pages and
// would report the next sync as good, so the file is opened anew and the lines are written again.
//
// A process that dies while it writes leaves an unfinished last line. Every append, and nothing
// before it, first cuts that off: what follows the last newline, when it begins as each line of
// ours does. A last line that is whole and lacks only its newline (an editor took it) may have its
// receipt, so it is finished and kept. Anything else is somebody's file, or what a power failure
// made of ours: it is refused at open, and later holds the destination down until a person moves
// it away. Several processes may append to one file (two relays): appending, cutting and syncing
// happen under an exclusive flock, which the kernel releases when its holder dies.
//
// An open file outlives its name. So under the lock the path must still name the open file, or it
// is opened anew before anything is written: a rotation by rename goes on in a new file, and no
// receipt is given for a line in a file that was gone already. What happens after that look is not
// looked for. A rename between write and receipt takes the lines along, under the new name; one
// who unlinks the file then deletes lines, as he does with one who unlinks it a moment after the
// receipt, and no second look could tell the two apart or close the gap behind itself.
//
// A stream (standard output, a pipe) can neither be cut nor opened anew: what was written stays,
// the rest of the line goes on from there, and `abandon` keeps the rest of a line that was begun.
// Standard output that is a file is synced; when that fails, the lines are written once more after
// what is there, since the next sync could be good without them. A repeat is allowed, a loss not.
#include "brokers/file/file_broker.hpp"

#include "brokers/file/json_line.hpp"
#include "brokers/idle.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/error.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

namespace sagaz::inline v0::file {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kBufferMax = std::size_t{4} << 20;
constexpr auto kRetry = 200ms;
constexpr auto kStreamSyncRetryMax = 60s;  // Each such retry adds repeats to the stream.
constexpr auto kLockRetry = 5ms;
constexpr int kReopenMax = 3;
constexpr const char* kForeign = "its last line is unfinished and not of a file: destination";

std::string error_text(int error) { return std::generic_category().message(error); }

Milliseconds until(std::chrono::steady_clock::time_point end) {
    const auto now = std::chrono::steady_clock::now();
    if (end <= now) return 0ms;
    return std::chrono::ceil<Milliseconds>(end - now);
}

// 0 or an errno.
int write_at(int fd, std::string_view bytes, off_t offset) {
    while (!bytes.empty()) {
        const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno;
        if (count == 0) return EIO;
        bytes.remove_prefix(static_cast<std::size_t>(count));
        offset += count;
    }
    return 0;
}

// 0 or an errno. A file that ends before is EIO: someone cut it meanwhile.
int read_at(int fd, char* to, std::size_t size, off_t offset) {
    while (size > 0) {
        const ssize_t count = ::pread(fd, to, size, offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno;
        if (count == 0) return EIO;
        to += count;
        size -= static_cast<std::size_t>(count);
        offset += count;
    }
    return 0;
}

// 0 or an errno; where the last whole line ends, in a file of `size` bytes.
int find_end_of_lines(int fd, off_t size, off_t& end) {
    char block[4096];
    for (end = size; end > 0;) {
        const off_t from = std::max<off_t>(0, end - static_cast<off_t>(sizeof block));
        const auto count = static_cast<std::size_t>(end - from);
        if (const int error = read_at(fd, block, count, from); error != 0) return error;
        const std::size_t newline = std::string_view{block, count}.rfind('\n');
        end = from;
        if (newline == std::string_view::npos) continue;
        end += static_cast<off_t>(newline) + 1;
        break;
    }
    return 0;
}

// What follows the last newline of a file.
enum class Rest { none, torn, whole, foreign };

struct Ending {
    off_t end_of_lines{};
    off_t end_of_file{};
    Rest rest{Rest::none};
};

bool is_line(std::string_view text) {
    try {
        static_cast<void>(decode_line(text));
        return true;
    } catch (const Error&) {
        return false;
    }
}

// 0 or an errno.
int look_at_rest(int fd, Ending& ending) {
    const auto size = static_cast<std::size_t>(ending.end_of_file - ending.end_of_lines);
    std::string rest(std::min(size, kLineBegin.size()), '\0');
    int error = read_at(fd, rest.data(), rest.size(), ending.end_of_lines);
    if (error != 0 || rest.empty()) return error;
    ending.rest = kLineBegin.starts_with(rest) ? Rest::torn : Rest::foreign;
    char last{};
    error = read_at(fd, &last, 1, ending.end_of_file - 1);
    if (error != 0 || ending.rest == Rest::foreign || last != '}') return error;
    rest.resize(size);
    error = read_at(fd, rest.data(), size, ending.end_of_lines);
    if (error == 0 && is_line(rest)) ending.rest = Rest::whole;
    return error;
}

// 0 or an errno.
int look_at_ending(int fd, Ending& ending) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return errno;
    ending = {.end_of_file = status.st_size};
    const int error = find_end_of_lines(fd, status.st_size, ending.end_of_lines);
    return error != 0 ? error : look_at_rest(fd, ending);
}

// A new file's name is only as durable as its folder.
void sync_folder_of(const std::string& path) {
    std::filesystem::path folder = std::filesystem::path{path}.parent_path();
    if (folder.empty()) folder = ".";
    const Descriptor opened{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), true};
    if (opened.valid()) ::fsync(opened.get());
}

}  // namespace

Descriptor::~Descriptor() {
    if (owned_ && fd_ >= 0) ::close(fd_);
}

Descriptor::Descriptor(Descriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), owned_(std::exchange(other.owned_, false)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(owned_, other.owned_);
    return *this;
}

std::unique_ptr<Broker> open(const std::string& path) { return std::make_unique<FileBroker>(path); }

FileBroker::FileBroker(std::string path, Sync sync)
    : path_(std::move(path)), sync_(std::move(sync)) {
    if (!open_file()) {
        throw Error(ErrorKind::invalid, "file_open", "cannot open for appending: " + down_,
                    "name a file in a folder that exists and may be written");
    }
    // Only a look, without the lock: what another process is writing begins as a line of ours, and
    // what cannot be read now is looked at again before it is written to.
    Ending ending;
    if (is_regular_ && look_at_ending(file_.get(), ending) == 0 && ending.rest == Rest::foreign) {
        throw Error(ErrorKind::invalid, "file_foreign", path_ + ": " + kForeign,
                    "name another file, or move this one away: nothing of it was changed");
    }
}

bool FileBroker::open_file() {
    if (path_ == "-") {
        file_ = Descriptor{STDOUT_FILENO, false};
    } else {
        file_ = Descriptor{::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), true};
        if (!file_.valid()) return fail("open", errno);
        sync_folder_of(path_);
    }
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) return fail("stat", errno);
    // Standard output that was redirected to a file was not opened by us: no cutting, but a sync.
    is_regular_ = S_ISREG(status.st_mode) && path_ != "-";
    return true;
}

std::size_t FileBroker::publish(std::span<const Envelope> envelopes) {
    std::size_t taken = 0;
    while (taken < envelopes.size() && buffer_.size() < kBufferMax) {
        buffer_ += encode_line(envelopes[taken]);
        tokens_.push_back(envelopes[taken].token);
        ++taken;
    }
    return taken;
}

std::vector<Receipt> FileBroker::poll(Milliseconds deadline) {
    const auto end = Clock::now() + deadline;
    if (receipts_.empty() && buffer_.empty()) wait_idle(deadline);
    while (!buffer_.empty()) {
        if (Clock::now() >= retry_at_ && write_out(end)) {
            for (const std::uint64_t token : tokens_) {
                receipts_.push_back({token, Receipt::State::accepted, {}, {}});
            }
            tokens_.clear();
            buffer_.clear();
            written_ = 0;
            torn_ = false;
            stream_sync_retry_ = kRetry;
            down_.clear();
        }
        if (!receipts_.empty() || Clock::now() >= end) break;
        const auto pause = std::chrono::ceil<Milliseconds>(retry_at_ - Clock::now());
        std::this_thread::sleep_for(std::clamp<Milliseconds>(pause, 0ms, until(end)));
    }
    return std::exchange(receipts_, {});
}

bool FileBroker::write_out(Clock::time_point end) {
    if (!file_.valid() && !open_file()) return false;
    return is_regular_ ? write_to_file(end) : write_to_stream(end);
}

bool FileBroker::write_to_file(Clock::time_point end) {
    if (!lock(end)) return false;
    for (int turn = 0; !is_at_its_path(); ++turn) {
        if (turn == kReopenMax) return fail("the path names another file each time it is opened");
        file_ = Descriptor{};
        if (!open_file() || !is_regular_ || !lock(end)) return false;
    }
    const bool appended = append_locked();
    if (file_.valid()) ::flock(file_.get(), LOCK_UN);
    return appended;
}

bool FileBroker::lock(Clock::time_point end) {
    while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) return fail("lock", errno);
        if (Clock::now() >= end) {
            down_ = path_ + ": another process holds its lock";
            return false;
        }
        std::this_thread::sleep_for(kLockRetry);
    }
    return true;
}

bool FileBroker::is_at_its_path() const {
    struct stat opened{};
    struct stat named{};
    return ::fstat(file_.get(), &opened) == 0 && ::stat(path_.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

bool FileBroker::append_locked() {
    Ending ending;
    if (const int error = look_at_ending(file_.get(), ending); error != 0) {
        return fail("read", error);
    }
    if (ending.rest == Rest::foreign) {
        return fail(std::string{kForeign} + ": move the file away");
    }
    const bool is_whole = ending.rest == Rest::whole;
    const off_t end = is_whole ? ending.end_of_file : ending.end_of_lines;
    if (ending.rest == Rest::torn && ::ftruncate(file_.get(), end) != 0) return fail("cut", errno);
    int error = is_whole ? write_at(file_.get(), "\n", end) : 0;
    if (error == 0) error = write_at(file_.get(), buffer_, end + (is_whole ? 1 : 0));
    if (error != 0) {
        // Should cutting fail too: the next append finds whole lines of ours that have no receipt
        // and will be written again. That is a repeat, which is allowed; a loss is not.
        static_cast<void>(::ftruncate(file_.get(), end) == 0);
        return fail("write", error);
    }
    if (sync_(file_.get()) != 0) {
        error = errno;
        static_cast<void>(::ftruncate(file_.get(), end) == 0);
        file_ = Descriptor{};
        return fail("sync", error);
    }
    return true;
}

bool FileBroker::write_to_stream(Clock::time_point end) {
    while (written_ < buffer_.size()) {
        pollfd ready{file_.get(), POLLOUT, 0};
        const int count = ::poll(&ready, 1, static_cast<int>(until(end).count()));
        if (count < 0 && errno != EINTR) return fail("wait", errno);
        if (count <= 0) {
            if (Clock::now() >= end) return false;
            continue;
        }
        // No more than a pipe takes without blocking once it says that it is writable.
        const std::size_t size = std::min<std::size_t>(buffer_.size() - written_, PIPE_BUF);
        const ssize_t put = ::write(file_.get(), buffer_.data() + written_, size);
        if (put < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (put < 0) return fail("write", errno);
        written_ += static_cast<std::size_t>(put);
    }
    if (sync_(file_.get()) == 0 || errno == EINVAL || errno == EROFS || errno == ENOTSUP) {
        return true;
    }
    fail("sync", errno);
    // All is written, so the stream is at the begin of a line: a rest that was kept is done with.
    if (torn_) buffer_.erase(0, buffer_.find('\n') + 1);
    torn_ = false;
    written_ = 0;
    retry_at_ = Clock::now() + stream_sync_retry_;
    stream_sync_retry_ = std::min<Milliseconds>(2 * stream_sync_retry_, kStreamSyncRetryMax);
    return false;
}

bool FileBroker::fail(std::string_view doing, int error) {
    return fail(std::string{doing} + ": " + error_text(error));
}

bool FileBroker::fail(const std::string& why) {
    down_ = (path_ == "-" ? std::string{"standard output"} : path_) + ": " + why;
    retry_at_ = Clock::now() + kRetry;
    return false;
}

void FileBroker::abandon(Milliseconds) {
    for (const std::uint64_t token : tokens_) {
        receipts_.push_back({token, Receipt::State::unknown, {}, "abandoned"});
    }
    tokens_.clear();
    const bool begun = written_ > 0 ? buffer_[written_ - 1] != '\n' : torn_;
    buffer_ = begun ? buffer_.substr(written_, buffer_.find('\n', written_) + 1 - written_) : "";
    torn_ = begun;
    written_ = 0;
}

}  // namespace sagaz::inline v0::file
