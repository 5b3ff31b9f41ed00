#include "stores/postgres/connection.hpp"

#include "core/array_literal.hpp"
#include "core/assert.hpp"
#include "stores/postgres/error_table.hpp"

#include <sagaz/error.hpp>

#include <poll.h>

#include <array>
#include <cerrno>
#include <utility>

namespace sagaz::inline v0::postgres {
namespace {

using std::chrono::steady_clock;

void check_url(const std::string& url) {
    char* problem = nullptr;
    PQconninfoOption* options = PQconninfoParse(url.c_str(), &problem);
    if (options != nullptr) {
        PQconninfoFree(options);
        return;
    }
    // libpq's text may quote the URL, password included: it is not shown.
    PQfreemem(problem);
    const bool other_driver = url.starts_with("postgresql+");
    throw Error(ErrorKind::invalid, "store_url", "libpq cannot read the store URL",
                other_driver ? "write postgresql:// without the driver's name after the +"
                             : "give postgresql://user@host:port/database");
}

}  // namespace

// ------------------------------------------------------------------------------------ Parameters

Parameters& Parameters::text(std::string_view value) {
    values_.emplace_back(std::string(value));
    return *this;
}

Parameters& Parameters::null() {
    values_.emplace_back(std::nullopt);
    return *this;
}

Parameters& Parameters::number(std::int64_t value) { return text(std::to_string(value)); }
Parameters& Parameters::id(const Id& value) { return text(value.text()); }

std::vector<const char*> Parameters::pointers() const {
    std::vector<const char*> pointers;
    pointers.reserve(values_.size());
    for (const auto& value : values_) pointers.push_back(value ? value->c_str() : nullptr);
    return pointers;
}

void Parameters::begin_array() { values_.emplace_back("{"); }

void Parameters::add_to_array(const std::optional<std::string>& item) {
    core::add_to_array(*values_.back(), item);
}

void Parameters::add_to_array(std::int64_t item) { add_to_array(std::to_string(item)); }
void Parameters::add_to_array(std::uint64_t item) { add_to_array(std::to_string(item)); }

Parameters& Parameters::end_array() {
    values_.back()->push_back('}');
    return *this;
}

// ------------------------------------------------------------------------------------ Connection

bool is_of_cancelled_wait(const PGresult* notice) noexcept {
    const char* function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);
    return function != nullptr && std::string_view(function) == "SyncRepWaitForLSN";
}

Connection::Connection(std::string url, Deadlines deadlines,
                       std::function<std::string()> current_url)
    : url_(std::move(url)), current_url_(std::move(current_url)), deadlines_(deadlines) {
    check_url(url_);
}

void Connection::refresh_url() {
    if (!current_url_) return;
    try {
        std::string url = current_url_();
        check_url(url);
        url_ = std::move(url);
    } catch (const std::exception&) {
        // The file is just being replaced, or is gone: the last URL may still be right, and if it
        // is not, the server says so.
    }
}

void Connection::connect() {
    refresh_url();
    const Moment end = steady_clock::now() + deadlines_.connect;
    // What stands before dbname is a default that the URL may override; what stands after wins.
    const std::string user_timeout = std::to_string(deadlines_.statement.count());
    const std::array<const char*, 9> keywords{"keepalives_idle",
                                              "keepalives_interval",
                                              "keepalives_count",
                                              "tcp_user_timeout",
                                              "fallback_application_name",
                                              "dbname",
                                              "client_encoding",
                                              nullptr,
                                              nullptr};
    const std::array<const char*, 9> values{
        "10", "5", "3", user_timeout.c_str(), "sagaz", url_.c_str(), "UTF8", nullptr, nullptr};
    connection_.reset(PQconnectStartParams(keywords.data(), values.data(), 1));
    if (!connection_) throw std::bad_alloc();
    auto state = PGRES_POLLING_WRITING;
    while (PQstatus(connection_.get()) != CONNECTION_BAD && state != PGRES_POLLING_OK &&
           state != PGRES_POLLING_FAILED) {
        wait_for_socket(state == PGRES_POLLING_READING ? POLLIN : POLLOUT, end, "connecting");
        state = PQconnectPoll(connection_.get());
    }
    if (PQstatus(connection_.get()) != CONNECTION_OK) {
        const Error error = connect_error(connection_.get());
        drop();
        const bool rotates = current_url_ && was_connected_ && error.code() == "wrong_password";
        if (!rotates) throw error;
        throw Error(ErrorKind::unavailable, std::string(error.code()), error.what(),
                    std::string(error.hint()));
    }
    was_connected_ = true;
    cancelled_wait_ = false;
    PQsetNoticeReceiver(
        connection_.get(),
        [](void* self, const PGresult* notice) {
            if (is_of_cancelled_wait(notice))
                static_cast<Connection*>(self)->cancelled_wait_ = true;
        },
        this);
    PQsetnonblocking(connection_.get(), 1);
}

void Connection::wait_for_socket(short events, Moment end, const char* what) {
    for (;;) {
        const auto left = std::chrono::ceil<Milliseconds>(end - steady_clock::now()).count();
        if (left <= 0) {
            drop();
            throw Error(ErrorKind::unavailable, "deadline_passed",
                        std::string("no answer in time while ") + what,
                        "check the network and the server's load");
        }
        pollfd descriptor{PQsocket(connection_.get()), events, 0};
        const int ready = ::poll(&descriptor, 1, static_cast<int>(left));
        if (ready > 0) return;
        if (ready < 0 && errno != EINTR) throw_lost();
    }
}

void Connection::throw_lost() {
    std::string seen = connection_ ? first_line(PQerrorMessage(connection_.get())) : std::string();
    drop();
    throw Error(ErrorKind::unavailable, "connection_lost",
                seen.empty() ? "the connection was lost" : seen,
                "nothing to do: it is tried again");
}

void Connection::flush(Moment end) {
    for (;;) {
        const int left = PQflush(connection_.get());
        if (left == 0) return;
        if (left < 0) throw_lost();
        wait_for_socket(POLLIN | POLLOUT, end, "sending a statement");
        if (PQconsumeInput(connection_.get()) == 0) throw_lost();
    }
}

void Connection::send(const std::string& sql, const Parameters& parameters, Format format) {
    if (!connection_) connect();
    statement_end_ = steady_clock::now() + deadlines_.statement;
    const auto values = parameters.pointers();
    const int sent =
        PQsendQueryParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr,
                          values.data(), nullptr, nullptr, static_cast<int>(format));
    if (sent == 0) throw_lost();
    flush(statement_end_);
}

Result Connection::receive_by(Moment end) {
    while (PQisBusy(connection_.get()) != 0) {
        wait_for_socket(POLLIN, end, "waiting for a statement");
        if (PQconsumeInput(connection_.get()) == 0 && PQisBusy(connection_.get()) != 0) {
            throw_lost();
        }
    }
    return Result(PQgetResult(connection_.get()));
}

// The first failure counts; libpq may add one of its own when the connection ends.
void Connection::keep(Result next) {
    const bool failed = last_ && PQresultStatus(last_.get()) == PGRES_FATAL_ERROR;
    if (!failed) last_ = std::move(next);
}

bool Connection::is_ready(Milliseconds patience) {
    const Moment end = steady_clock::now() + patience;
    while (connection_) {
        if (PQisBusy(connection_.get()) == 0) {
            Result next(PQgetResult(connection_.get()));
            if (!next) return true;
            keep(std::move(next));
            continue;
        }
        const auto left = std::chrono::ceil<Milliseconds>(end - steady_clock::now()).count();
        pollfd descriptor{PQsocket(connection_.get()), POLLIN, 0};
        if (left <= 0 || ::poll(&descriptor, 1, static_cast<int>(left)) <= 0) return false;
        if (PQconsumeInput(connection_.get()) == 0) return true;  // receive says what is wrong
    }
    return true;
}

Result Connection::receive() {
    if (!connection_) throw_lost();
    while (Result next = receive_by(statement_end_)) keep(std::move(next));
    Result last = std::move(last_);
    const auto status = PQresultStatus(last.get());
    const bool good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
    if (!good) {
        const Error error = error_of(last.get(), connection_.get(), grants_);
        if (PQstatus(connection_.get()) != CONNECTION_OK) drop();
        throw error;
    }
    // A whole answer counts, even when the connection ended right after it.
    if (PQstatus(connection_.get()) != CONNECTION_OK) drop();
    return last;
}

Result Connection::execute(const std::string& sql, const Parameters& parameters, Format format) {
    send(sql, parameters, format);
    return receive();
}

void Connection::send_script(const std::string& sql) {
    if (!connection_) connect();
    statement_end_ = steady_clock::now() + deadlines_.statement;
    if (PQsendQuery(connection_.get(), sql.c_str()) == 0) throw_lost();
    flush(statement_end_);
}

Result Connection::run_script(const std::string& sql) {
    send_script(sql);
    return receive();
}

}  // namespace sagaz::inline v0::postgres
