#pragma once

#include <sagaz/event.hpp>

#include <libpq-fe.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sagaz::inline v0::postgres {

struct ClearResult {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

/// The values of one statement, as text that the server parses by the casts in the statement.
class Parameters {
public:
    Parameters& text(std::string_view value);
    Parameters& null();
    Parameters& number(std::int64_t value);
    Parameters& id(const Id& value);

    /// An array literal of what `write` gives for each item: a string, or nothing for NULL.
    template <class Items, class Write>
    Parameters& array(const Items& items, Write write) {
        begin_array();
        for (const auto& item : items) add_to_array(write(item));
        return end_array();
    }

    std::size_t size() const noexcept { return values_.size(); }
    std::vector<const char*> pointers() const;

private:
    void begin_array();
    void add_to_array(const std::optional<std::string>& item);
    void add_to_array(std::int64_t item);
    void add_to_array(std::uint64_t item);
    Parameters& end_array();

    std::vector<std::optional<std::string>> values_;
};

enum class Format : int { text = 0, binary = 1 };

/// True for the WARNING of a commit that did not wait for its standby, since somebody cancelled the
/// wait: it is answered with success, "but might not have been replicated". By the name of the
/// server's function, as its SQLSTATE is that of every warning and its text is translated.
bool is_of_cancelled_wait(const PGresult* notice) noexcept;

/// One libpq connection whose every call has a deadline that this side keeps, with poll(2) on the
/// socket: a server or pooler that does not answer costs a time-out, never a thread. Connects when
/// a call needs it; a connection that failed or timed out is dropped, and the next call makes a new
/// one. No session state, no named prepared statement, no pipeline mode: a pooler in transaction
/// mode may stand in between. (Name resolution is libpq's and not covered by the deadline.)
class Connection {
public:
    struct Deadlines {
        Milliseconds connect{5'000};
        Milliseconds statement{15'000};
    };

    /// Throws `invalid` (`store_url`) when libpq cannot read `url`.
    /// `current_url`: see postgres::Options.
    Connection(std::string url, Deadlines deadlines, std::function<std::string()> current_url = {});
    Connection(const Connection&) = delete;  // libpq knows where it is
    Connection& operator=(const Connection&) = delete;

    /// What the login needs for what it does here, as `error_of` takes it.
    void needs(std::vector<std::string> grants) { grants_ = std::move(grants); }

    /// One statement, one result. Throws `sagaz::Error`.
    Result execute(const std::string& sql, const Parameters& parameters = {},
                   Format format = Format::text);

    /// The same in two parts; nothing else may be called in between.
    void send(const std::string& sql, const Parameters& parameters, Format format);
    Result receive();
    /// True when `receive` will not wait for the server; waits at most `patience` for that.
    bool is_ready(Milliseconds patience);

    /// Several statements without parameters, by the simple protocol; throws at the first failure.
    /// They are one message: the server has all of it before it begins, and unless they say BEGIN
    /// their transaction is over before the answer is sent. Returns the last one's result.
    Result run_script(const std::string& sql);
    /// The first part of it, as `send` is of `execute`.
    void send_script(const std::string& sql);

    void drop() noexcept {
        connection_.reset();
        last_.reset();
    }
    bool is_connected() const noexcept { return connection_ != nullptr; }

    /// The server's process as the connection's start named it; 0 without one. A pooler names
    /// another than the one that answers.
    int backend_pid() const noexcept { return PQbackendPID(connection_.get()); }

    /// True once after a commit on this connection was not waited for: see `is_of_cancelled_wait`.
    bool take_cancelled_wait() noexcept { return std::exchange(cancelled_wait_, false); }

private:
    using Moment = std::chrono::steady_clock::time_point;
    struct Finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };

    void refresh_url();
    void connect();
    void flush(Moment end);
    Result receive_by(Moment end);
    void keep(Result next);
    /// Waits until the socket is ready; at `end` drops the connection and throws.
    void wait_for_socket(short events, Moment end, const char* what);
    [[noreturn]] void throw_lost();

    std::string url_;
    std::function<std::string()> current_url_;
    std::vector<std::string> grants_;
    bool was_connected_{};
    Deadlines deadlines_;
    Moment statement_end_{};
    std::unique_ptr<PGconn, Finish> connection_;
    Result last_;  ///< Of the statements under way.
    bool cancelled_wait_{};
};

}  // namespace sagaz::inline v0::postgres
