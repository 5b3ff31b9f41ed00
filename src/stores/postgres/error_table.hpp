#pragma once

#include <sagaz/error.hpp>

#include <libpq-fe.h>

#include <span>
#include <string>
#include <string_view>

/// What PostgreSQL's and libpq's errors mean to a caller: the one place that says so.
namespace sagaz::inline v0::postgres {

struct Meaning {
    std::string_view native{};  ///< An SQLSTATE, its class (two characters), or words of libpq.
    ErrorKind kind{};
    std::string_view code{};
    std::string_view hint{};
};

/// SQLSTATEs, then classes; the first match counts.
std::span<const Meaning> sqlstate_table();

/// Words of a connection that was refused: libpq gives no SQLSTATE there.
std::span<const Meaning> connect_table();

const Meaning& meaning_of_sqlstate(std::string_view sqlstate);
const Meaning& meaning_of_connect_failure(std::string_view message);

/// The error behind a failed result. Server messages are shortened to their first line, which
/// carries no payload: details, which may, are left out. `grants` is what the login needs for what
/// it does here, a role or rights ("sagaz_reader", "SELECT ON sagaz.outbox"): named as statements
/// that can be run as they stand when the server refuses for lack of rights.
Error error_of(const PGresult* result, const PGconn* connection,
               std::span<const std::string> grants = {});

/// The error behind a connection that could not be made.
Error connect_error(const PGconn* connection);

/// First line, at most 300 bytes, without libpq's own line breaks.
std::string first_line(std::string_view message);

}  // namespace sagaz::inline v0::postgres
