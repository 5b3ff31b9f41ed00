#pragma once

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/statements.hpp"

#include <sagaz/error.hpp>
#include <sagaz/store.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

/// What the relay's store and the publisher's ask of a file in the same way.
namespace sagaz::inline v0::sqlite {

/// The file is not the one that was attached to, or not as it was left.
Error incarnation_changed();

/// Throws `invalid` (`store_url`) for what is no file.
void check_is_file(const std::string& path);

/// Opens the file unless `database` has it open and it is still the one at `path`.
void open_anew(std::unique_ptr<Database>& database, const std::string& path,
               Milliseconds busy_timeout);

/// Throws `invalid` for a schema that is not there, or is not one that this program knows.
void check_schema(Database& database, const Statements& statements, const std::string& schema,
                  const std::string& path);

/// Syncs the log of the file that `attached` gives, and asks for it again: what was synced of one
/// that nobody reads any more is no ground to publish. Calls `forget` when the sync failed.
void sync_log(const std::function<Database&()>& attached, const std::function<void()>& forget);

/// The last id given out.
std::int64_t sequence_of(Database& database, const Statements& statements);

/// All ids up to this are delivered by a cursor: visible in done, or visible in target and passed.
std::int64_t delivered_by(const Snapshot& done, const Snapshot& target, std::int64_t position);

}  // namespace sagaz::inline v0::sqlite
