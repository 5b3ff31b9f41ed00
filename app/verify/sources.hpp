#pragma once

#include "app/verify/account.hpp"

#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// Where `Account` is fed from. Each reads to an end that was fixed when it began, so what is
/// written meanwhile is neither read nor missed.
namespace sagaz::verify {

/// How long the database of a truth may be silent: until the connection stands, and with the query
/// until its first row and between two. A query that sorts is silent for as long as it sorts.
struct TruthPatience {
    std::chrono::seconds connect{10};
    std::chrono::milliseconds silence{std::chrono::minutes{30}};
};

/// Runs `sql` in a read-only transaction and feeds each row to the account, one row in memory at
/// a time. Columns are found by name: event_id, key, order_number (or "order"); and when they are
/// there: topic, payload (bytea) or payload_md5 (hex text), event_type, content_type, source, and
/// headers (JSON: an object, or an array of [name, value] whose order counts; null is none).
/// `progress` is called now and then. Throws `invalid` (`truth_query`) for a query that fails or
/// lacks a column, `unavailable` when the database cannot be reached (`store_unreachable`) or stays
/// silent (`deadline_passed`).
void read_truth(const std::string& url, const std::string& sql, Account& account,
                const std::function<void()>& progress, TruthPatience patience = {});

/// The same over an SQLite file; the connection can only read.
void read_sqlite_truth(const std::string& path, const std::string& sql, Account& account,
                       const std::function<void()>& progress);

struct KafkaSource {
    std::string bootstrap_servers{};
    std::vector<std::string> topics{};
    std::map<std::string, std::string> client{};    ///< Transport, TLS and SASL options as given.
    std::chrono::milliseconds silence_max{30'000};  ///< Without a message, and not at the end.
};

/// Reads every partition of the topics from its first message to where it ended at the call.
/// Without a consumer group: nothing is committed. Throws `unavailable` (`broker_unreachable`,
/// `topic_unreadable`) when the cluster stays silent, `invalid` (`broker_option`) for an option
/// the client library does not take.
void read_kafka(const KafkaSource& source, Account& account, const std::function<void()>& progress);

/// Reads the JSON lines that a `file:` destination writes. The file is one partition a topic.
/// An unfinished last line is not a message yet. Throws `invalid` (`file_open`, `file_line`).
void read_file(const std::string& path, Account& account, const std::function<void()>& progress);

/// Reads such a file line by line, also one that is still written to. Throws as `read_file`.
class FileReader {
public:
    explicit FileReader(const std::string& path);

    /// The next message, whose position is its line, from 0; none when there is no further whole
    /// line yet.
    std::optional<Message> next();

    std::int64_t position() const { return position_; }  ///< Bytes of the lines that were read.
    std::int64_t lines() const { return lines_; }

private:
    std::ifstream file_;
    std::string line_;
    std::int64_t position_{};
    std::int64_t lines_{};
};

}  // namespace sagaz::verify
