#include "stores/postgres/error_table.hpp"

#include <sagaz/postgres.hpp>

#include <algorithm>
#include <array>

namespace sagaz::inline v0::postgres {
namespace {

using enum ErrorKind;

constexpr std::string_view kRetry = "nothing to do: it is tried again";
constexpr std::string_view kPassword =
    "correct the password, or the user: in the URL, or in PGPASSWORD or ~/.pgpass when it has none";

constexpr std::array kSqlstates{
    Meaning{"40001", conflict, "serialization_failure", "run the whole transaction again"},
    Meaning{"40P01", conflict, "deadlock", "run the whole transaction again"},
    Meaning{"55P03", unavailable, "lock_not_available", kRetry},
    Meaning{"57014", unavailable, "statement_canceled",
            "the server cancelled the statement: see statement_timeout of the role"},
    Meaning{"57P01", unavailable, "server_shutdown", kRetry},
    Meaning{"57P02", unavailable, "server_crashed", kRetry},
    Meaning{"57P03", unavailable, "server_starting", kRetry},
    Meaning{"53300", unavailable, "too_many_connections",
            "raise max_connections, or put a pooler in between"},
    Meaning{"53100", unavailable, "disk_full", "make room on the database's disk"},
    Meaning{"25006", unavailable, "read_only",
            "the store URL leads to a read-only server; point it at the primary"},
    Meaning{"0A000", unavailable, "in_recovery",
            "the store URL leads to a standby; point it at the primary"},
    Meaning{"25P03", unavailable, "server_interrupted",
            "the transaction did nothing for too long: see idle_in_transaction_session_timeout"},
    Meaning{"25P04", unavailable, "server_interrupted",
            "the transaction took too long: see transaction_timeout"},
    Meaning{"25P02", invalid, "transaction_failed",
            "an earlier statement failed; roll the transaction back"},
    Meaning{"3F000", invalid, "schema_missing", "run: sagaz migrate"},
    Meaning{"42P01", invalid, "schema_missing", "run: sagaz migrate"},
    Meaning{"42883", invalid, "schema_missing", "run: sagaz migrate"},
    Meaning{"42703", invalid, "schema_missing", "run: sagaz migrate"},
    Meaning{
        "42501", invalid, "permission_denied",
        "grant the role that fits: sagaz_producer to append, sagaz_consumer for an inbox, "
        "sagaz_publisher to send optimistically, sagaz_relay for a relay, sagaz_reader to look"},
    Meaning{"28P01", invalid, "wrong_password", kPassword},
    Meaning{"28000", invalid, "login_refused", "check the user and pg_hba.conf"},
    Meaning{"3D000", invalid, "database_missing", "create the database, or fix its name"},
    Meaning{"22021", invalid, "text_encoding", "text must be valid UTF-8 without zero bytes"},
    Meaning{"22P05", invalid, "text_encoding",
            "the database's encoding cannot hold this text; use UTF8"},
    Meaning{"23514", invalid, "limit_exceeded",
            "shorten the value that the constraint names; the limits stand with this code in "
            "docs/reference/errors.md"},
    Meaning{"23505", invalid, "duplicate", "the row exists already"},
    Meaning{"XX001", fatal, "data_corrupted", "stop writing; restore the database from a backup"},
    Meaning{"XX002", fatal, "data_corrupted", "reindex; then look for what broke the index"},
    Meaning{"SG001", unavailable, "still_subscribed",
            "stop the old producers, let the subscription catch up, then ALTER SUBSCRIPTION ... "
            "DISABLE"},
    Meaning{"SG002", fatal, "slot_count_differs",
            "make the schema of a copy by pg_dump --schema-only, not by sagaz migrate"},
    Meaning{"SG003", invalid, "rebase_not_alone", "run it alone, outside of a transaction"},
    Meaning{"SG004", unavailable, "rebasing", kRetry},
    Meaning{"SG006", invalid, "destination",
            "send nothing past the relay where a schema has more than one destination: "
            "optimistic.enabled: false"},
    Meaning{"08", unavailable, "connection_lost", kRetry},
    Meaning{"53", unavailable, "server_resources", "the server is out of a resource; see its log"},
    Meaning{"55", unavailable, "server_not_ready", kRetry},
    Meaning{"57", unavailable, "server_interrupted", kRetry},
    Meaning{"58", unavailable, "server_io", "the server could not use a file; see its log"},
    Meaning{"40", conflict, "transaction_rolled_back", "run the whole transaction again"},
    Meaning{"XX", unavailable, "server_internal", "see the server's log"},
};

constexpr Meaning kOther{"", invalid, "statement_failed", "see the server's message"};

constexpr std::array kConnectWords{
    Meaning{"password authentication failed", invalid, "wrong_password", kPassword},
    Meaning{"no password supplied", invalid, "wrong_password", kPassword},
    Meaning{"no pg_hba.conf entry", invalid, "login_refused", "check pg_hba.conf of the server"},
    Meaning{"pg_hba.conf rejects", invalid, "login_refused", "check pg_hba.conf of the server"},
    Meaning{"invalid integer value", invalid, "store_url", "check the port and the options"},
    Meaning{"invalid port number", invalid, "store_url", "check the port"},
    Meaning{"authentication failed", invalid, "login_refused", "check the user and pg_hba.conf"},
    Meaning{"does not exist", invalid, "database_missing",
            "create the database or role that is named, or fix the URL"},
    Meaning{"no such database", invalid, "database_missing",
            "add the database to the pooler, or fix the URL"},
    Meaning{"no such user", invalid, "login_refused",
            "add the user to the pooler (auth_file or auth_query), or fix the URL"},
    Meaning{"unsupported startup parameter", invalid, "store_url",
            "take the parameter out of the URL, since a pooler does not pass it on; ALTER ROLE "
            "SET does the same"},
    Meaning{"too many clients", unavailable, "too_many_connections",
            "raise max_connections, or put a pooler in between"},
    Meaning{"remaining connection slots", unavailable, "too_many_connections",
            "raise max_connections, or put a pooler in between"},
    Meaning{"starting up", unavailable, "server_starting", kRetry},
    Meaning{"shutting down", unavailable, "server_shutdown", kRetry},
    Meaning{"certificate", invalid, "tls_failed", "check sslmode, sslrootcert and the host name"},
};

constexpr Meaning kNotReached{"", unavailable, "connection_failed",
                              "check that the server runs and that host and port are right"};

constexpr Meaning kLost{"", unavailable, "connection_lost", kRetry};

constexpr std::size_t kMessageMax = 300;

Error make_error(const Meaning& meaning, std::string_view seen) {
    return {meaning.kind, std::string(meaning.code), first_line(seen), std::string(meaning.hint)};
}

std::string as_identifier(std::string_view name) {
    std::string text = "\"";
    for (const char c : name) text.append(c == '"' ? 2 : 1, c);
    return text + '"';
}

std::string grant_hint(const PGconn* connection, std::span<const std::string> grants) {
    const std::string login = as_identifier(PQuser(connection));
    if (grants.empty()) {  // any statement of the user's
        return "for tables of sagaz, as an administrator: GRANT sagaz_producer TO " + login +
               "; to append; sagaz_consumer for an inbox, sagaz_relay for a relay, sagaz_reader to "
               "look";
    }
    std::string hint = "run as an administrator: ";
    for (const auto& grant : grants) {
        hint.append("GRANT ").append(grant).append(" TO ").append(login).append("; ");
    }
    return hint + "(sagaz migrate makes the roles)";
}

}  // namespace

std::span<const Meaning> sqlstate_table() { return kSqlstates; }
std::span<const Meaning> connect_table() { return kConnectWords; }

const Meaning& meaning_of_sqlstate(std::string_view sqlstate) {
    const auto* const found = std::ranges::find_if(
        kSqlstates, [&](const Meaning& row) { return sqlstate.starts_with(row.native); });
    return found == kSqlstates.end() ? kOther : *found;
}

const Meaning& meaning_of_connect_failure(std::string_view message) {
    const auto* const found = std::ranges::find_if(kConnectWords, [&](const Meaning& row) {
        return message.find(row.native) != std::string_view::npos;
    });
    return found == kConnectWords.end() ? kNotReached : *found;
}

std::string first_line(std::string_view message) {
    std::string line(message.substr(0, std::min(message.find('\n'), kMessageMax)));
    // A cut must not split a character: take the rest of one off.
    if (line.size() == kMessageMax) {
        while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0U) == 0x80U) {
            line.pop_back();
        }
        if (!line.empty() && static_cast<unsigned char>(line.back()) >= 0x80U) line.pop_back();
    }
    return line;
}

Error sqlstate_error(std::string_view sqlstate, std::string_view message) {
    if (sqlstate.empty()) return make_error(kLost, message);
    return make_error(meaning_of_sqlstate(sqlstate),
                      first_line(message) + " (" + std::string(sqlstate) + ")");
}

Error error_of(const PGresult* result, const PGconn* connection,
               std::span<const std::string> grants) {
    const char* sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : nullptr;
    if (sqlstate == nullptr) return make_error(kLost, PQerrorMessage(connection));
    const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    Error error = sqlstate_error(sqlstate, primary ? primary : "?");
    if (error.code() != "permission_denied") return error;
    return {error.kind(), std::string(error.code()), error.what(), grant_hint(connection, grants)};
}

Error connect_error(const PGconn* connection) {
    const std::string_view message = PQerrorMessage(connection);
    return make_error(meaning_of_connect_failure(message), message);
}

}  // namespace sagaz::inline v0::postgres
