#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>

namespace sagaz::test {

/// Stands between SQLite and the disk of this process from its construction on: keeps each file as
/// it was at its last sync, which is all that a power cut leaves in the worst case, and can make
/// writes and syncs fail. One at a time.
class SqliteDisk {
public:
    SqliteDisk();
    ~SqliteDisk();
    SqliteDisk(const SqliteDisk&) = delete;
    SqliteDisk& operator=(const SqliteDisk&) = delete;

    /// Writes what a power cut now would leave of `path` and its log, and returns where.
    std::string cut_power(const std::filesystem::path& path) const;

    void fail_writes(bool fail);  ///< As a full disk does.
    void fail_syncs(bool fail);

private:
    struct Shim;
    friend struct Shim;

    mutable std::mutex mutex_;
    std::map<std::string, std::string> synced_;
    bool fail_writes_{};
    bool fail_syncs_{};
};

}  // namespace sagaz::test
