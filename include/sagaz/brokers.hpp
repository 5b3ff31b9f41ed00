#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/export.hpp>

#include <memory>
#include <string>
#include <vector>

/// The destinations that need no server: for tests, development and measuring.
namespace sagaz::inline v0 {

namespace memory {

/// What a memory destination was given, shared by the brokers opened on it. Thread-safe.
class SAGAZ_EXPORT Topic {
public:
    Topic();
    ~Topic();
    Topic(const Topic&) = delete;
    Topic& operator=(const Topic&) = delete;

    std::vector<Message> messages() const;  ///< A copy, in order of arrival.
    std::size_t size() const;

private:
    friend class MemoryBroker;
    struct State;
    std::unique_ptr<State> state_;
};

/// Accepts everything into `topic`, which must outlive the broker.
SAGAZ_EXPORT std::unique_ptr<Broker> open(Topic& topic);

}  // namespace memory

namespace file {

/// Appends JSON lines to `path` ("-" is standard output): `topic`, `key`, `headers` as a list of
/// [name, value], and `payload`. Bytes that are not UTF-8 go as base64: `key_base64`,
/// `payload_base64`, {"base64": ...} in a header. Several processes may append. A receipt is given
/// after the bytes are written and, for a regular file, synced; the unfinished last line of an
/// earlier crash is cut off by the first append. A file that was moved away or removed is made
/// anew. Throws `invalid`: `file_open` when the file cannot be opened, `file_foreign` when its last
/// line is unfinished and not of this form; nothing of such a file is changed.
SAGAZ_EXPORT std::unique_ptr<Broker> open(const std::string& path);

}  // namespace file

namespace null {

/// Accepts and drops: for measuring.
SAGAZ_EXPORT std::unique_ptr<Broker> open();

}  // namespace null

}  // namespace sagaz::inline v0
