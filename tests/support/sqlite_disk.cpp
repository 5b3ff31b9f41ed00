// The shim is the default VFS with one function exchanged, xOpen; and each opened file has its own
// methods but for xSync and xWrite. So locks and shared memory are SQLite's own.
#include "tests/support/sqlite_disk.hpp"

#include <sqlite3.h>

#include <fstream>
#include <stdexcept>

namespace sagaz::test {

namespace {

SqliteDisk* current = nullptr;
sqlite3_vfs* original = nullptr;
sqlite3_vfs shim{};

}  // namespace

struct SqliteDisk::Shim {
    struct File {
        std::string path;
        const sqlite3_io_methods* methods{};
        sqlite3_io_methods patched{};
    };

    static std::map<sqlite3_file*, File>& files() {
        static std::map<sqlite3_file*, File> all;
        return all;
    }

    static int open(sqlite3_vfs* /*vfs*/, const char* name, sqlite3_file* file, int flags,
                    int* out) {
        const int result = original->xOpen(original, name, file, flags, out);
        if (result != SQLITE_OK || name == nullptr || current == nullptr) return result;
        const std::lock_guard lock(current->mutex_);
        File& known = files()[file];
        known.path = name;
        known.methods = file->pMethods;
        known.patched = *file->pMethods;
        known.patched.xSync = sync;
        known.patched.xWrite = write;
        file->pMethods = &known.patched;
        return result;
    }

    static File& known(sqlite3_file* file) { return files().at(file); }

    static int write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
        const std::lock_guard lock(current->mutex_);
        if (current->fail_writes_) return SQLITE_FULL;
        return known(file).methods->xWrite(file, bytes, size, offset);
    }

    static int sync(sqlite3_file* file, int flags) {
        const std::lock_guard lock(current->mutex_);
        if (current->fail_syncs_) return SQLITE_IOERR_FSYNC;
        const File& one = known(file);
        const int result = one.methods->xSync(file, flags);
        sqlite3_int64 size = 0;
        one.methods->xFileSize(file, &size);
        std::string bytes(static_cast<std::size_t>(size), '\0');
        one.methods->xRead(file, bytes.data(), static_cast<int>(size), 0);
        current->synced_[one.path] = std::move(bytes);
        return result;
    }
};

SqliteDisk::SqliteDisk() {
    if (current != nullptr) throw std::logic_error("one SqliteDisk at a time");
    current = this;
    original = sqlite3_vfs_find(nullptr);
    shim = *original;
    shim.zName = "sagaz-test-disk";
    shim.xOpen = Shim::open;
    sqlite3_vfs_register(&shim, 1);
}

SqliteDisk::~SqliteDisk() {
    sqlite3_vfs_unregister(&shim);
    sqlite3_vfs_register(original, 1);
    current = nullptr;
}

std::string SqliteDisk::cut_power(const std::filesystem::path& path) const {
    const std::lock_guard lock(mutex_);
    const auto folder = path.parent_path() / "after-power-cut";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directory(folder);
    for (const char* suffix : {"", "-wal"}) {
        const auto found = synced_.find(path.string() + suffix);
        if (found == synced_.end()) continue;
        std::ofstream file(folder / (path.filename().string() + suffix), std::ios::binary);
        file << found->second;
    }
    return folder / path.filename();
}

void SqliteDisk::fail_writes(bool fail) {
    const std::lock_guard lock(mutex_);
    fail_writes_ = fail;
}

void SqliteDisk::fail_syncs(bool fail) {
    const std::lock_guard lock(mutex_);
    fail_syncs_ = fail;
}

}  // namespace sagaz::test
