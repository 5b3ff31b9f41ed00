#include "tests/support/postgres_server.hpp"

#include "stores/postgres/migration.hpp"
#include "tests/support/pgbouncer_server.hpp"
#include "tests/support/postgres_process.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <thread>

namespace sagaz::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kFolderPrefix = "sagaz-postgres";
constexpr seconds kStartDeadline{60};

std::string newest_bin() {
    std::pair<int, std::string> best{0, ""};
    for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql")) {
        const int version = std::atoi(entry.path().filename().c_str());
        const std::string bin = (entry.path() / "bin").string();
        if (fs::exists(bin + "/postgres") && version > best.first) best = {version, bin};
    }
    if (best.first == 0) throw std::runtime_error("no PostgreSQL server under /usr/lib/postgresql");
    return best.second;
}

class FileLock {
public:
    explicit FileLock(const fs::path& file)
        : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
        if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX) != 0) {
            throw std::runtime_error("cannot lock " + file.string());
        }
    }
    ~FileLock() { ::close(descriptor_); }
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

private:
    int descriptor_;
};

void copy_tree(const fs::path& from, const fs::path& to) {
    fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    give_to_server(to);
    ::chmod(to.c_str(), 0700);
}

// initdb takes a second, a copy of its result a tenth: one template for all tests of a build tree.
void initialise(const std::string& bin, const fs::path& folder, const fs::path& data) {
    const fs::path cache = SAGAZ_TEST_CACHE;
    fs::create_directories(cache);
    std::string name = "initdb" + bin + "-2";
    std::replace(name.begin(), name.end(), '/', '-');
    const FileLock lock(cache / (name + ".lock"));
    if (!fs::exists(cache / name)) {
        run({bin + "/initdb", "-D", (folder / "fresh").string(), "-U", "postgres", "-A", "trust",
             "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C.UTF-8"},
            folder / "initdb.log");
        const fs::path part = cache / (name + ".part");
        fs::remove_all(part);
        fs::copy(folder / "fresh", part, fs::copy_options::recursive);
        fs::rename(part, cache / name);
        fs::remove_all(folder / "fresh");
    }
    copy_tree(cache / name, data);
}

bool is_pooled() {
    const char* const asked = std::getenv("SAGAZ_TEST_POOLER");
    return asked != nullptr && std::string_view(asked) == "1";
}

std::string url_at(int port, std::string_view database, std::string_view user) {
    return "postgresql://" + std::string(user) + "@127.0.0.1:" + std::to_string(port) + "/" +
           std::string(database);
}

std::string text_of(const PGresult* result, int row, int column) {
    return PQgetisnull(result, row, column) != 0 ? "<null>" : PQgetvalue(result, row, column);
}

}  // namespace

// ------------------------------------------------------------------------------------------ Sql

Sql::Sql(const std::string& url) : connection_(PQconnectdb(url.c_str())) {
    if (PQstatus(raw()) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(raw()));
    PQsetNoticeProcessor(raw(), [](void*, const char*) {}, nullptr);
}

std::vector<Sql::Row> Sql::take(PGresult* result) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> owner(result, PQclear);
    const auto status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
        const char* state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : nullptr;
        throw std::runtime_error(std::string(state ? state : "08006") + ": " +
                                 PQerrorMessage(raw()));
    }
    std::vector<Row> rows;
    for (int r = 0; r < PQntuples(result); ++r) {
        Row row;
        for (int c = 0; c < PQnfields(result); ++c) row.push_back(text_of(result, r, c));
        rows.push_back(std::move(row));
    }
    return rows;
}

std::vector<Sql::Row> Sql::rows(const std::string& sql) { return take(PQexec(raw(), sql.c_str())); }

std::string Sql::value(const std::string& sql) {
    const auto result = rows(sql);
    if (result.size() != 1 || result[0].size() != 1) {
        throw std::runtime_error("not one value: " + sql);
    }
    return result[0][0];
}

std::int64_t Sql::number(const std::string& sql) { return std::stoll(value(sql)); }

std::string Sql::failure(const std::string& sql) {
    try {
        rows(sql);
        return {};
    } catch (const std::runtime_error& error) {
        return std::string(error.what()).substr(0, 5);
    }
}

void Sql::start(const std::string& sql) {
    if (PQsendQuery(raw(), sql.c_str()) != 1) throw std::runtime_error(PQerrorMessage(raw()));
}

bool Sql::is_busy() {
    PQconsumeInput(raw());
    return PQisBusy(raw()) != 0;
}

std::vector<Sql::Row> Sql::finish() {
    std::vector<Row> last;
    std::string error;
    while (PGresult* result = PQgetResult(raw())) {
        try {
            last = take(result);
        } catch (const std::runtime_error& failed) {
            error = failed.what();
        }
    }
    if (!error.empty()) throw std::runtime_error(error);
    return last;
}

// ------------------------------------------------------------------------------- PostgresServer

PostgresServer::PostgresServer() : PostgresServer(Options{}) {}

PostgresServer::PostgresServer(Options options)
    : options_(std::move(options)),
      bin_(options_.bin.empty() ? newest_bin() : options_.bin),
      folder_(make_folder(kFolderPrefix)),
      data_(folder_ / "data") {
    try {
        initialise(bin_, folder_, data_);
        std::ofstream config(data_ / "postgresql.conf", std::ios::app);
        config << "\nlisten_addresses = '127.0.0.1'\n"
               << "unix_socket_directories = '" << folder_.string() << "'\n"
               << "max_connections = 100\nshared_buffers = 64MB\nfsync = on\n"
               << "max_wal_size = 2GB\nlogging_collector = off\nlog_min_messages = warning\n"
               << "max_prepared_transactions = 5\n";
        for (const auto& line : options_.config) config << line << '\n';
        config.close();
        start();
    } catch (...) {
        end_and_remove();
        throw;
    }
}

PostgresServer::PostgresServer(Copy, const PostgresServer& original)
    : options_(original.options_),
      bin_(original.bin_),
      folder_(make_folder(kFolderPrefix)),
      data_(folder_ / "data") {
    try {
        copy_tree(original.data_, data_);
        std::ofstream(data_ / "standby.signal").close();
        give_to_server(data_);
        configure("unix_socket_directories = '" + folder_.string() + "'");
        start();
    } catch (...) {
        end_and_remove();
        throw;
    }
}

PostgresServer::~PostgresServer() { end_and_remove(); }

PostgresServer& PostgresServer::shared() {
    static PostgresServer server;
    return server;
}

std::string PostgresServer::url(std::string_view database, std::string_view user) const {
    return url_at(pooler_ ? pooler_->port() : port_, database, user);
}

std::string PostgresServer::direct_url(std::string_view why, std::string_view database,
                                       std::string_view user) const {
    if (pooler_) std::cout << "[  direct  ] past the pooler: " << why << '\n';
    return url_at(port_, database, user);
}

Sql PostgresServer::connect(std::string_view database, std::string_view user) const {
    return Sql(url_at(port_, database, user));
}

int PostgresServer::version() const { return std::atoi(read_file(data_ / "PG_VERSION").c_str()); }

std::string PostgresServer::fresh_database() {
    static std::atomic<int> count{0};
    const std::string name = "test_" + std::to_string(++count);
    connect().run("CREATE DATABASE " + name);
    return name;
}

void PostgresServer::spawn() {
    pid_ = test::spawn({bin_ + "/postgres", "-D", data_.string(), "-p", std::to_string(port_)},
                       folder_ / "server.log", SIGQUIT);
}

void PostgresServer::start() {
    // The port was free a moment ago; where somebody else took it meanwhile, take another. A
    // restart keeps its port, since clients hold its URL.
    const bool first = port_ == 0;
    for (int attempt = 0;; ++attempt) {
        if (first) port_ = free_port();
        spawn();
        try {
            wait_until_it_answers();
            // It outlives every restart, as a pooler does.
            if (is_pooled() && !pooler_) pooler_ = std::make_unique<PgbouncerServer>(*this, 40);
            return;
        } catch (const std::runtime_error&) {
            if (pid_ != 0) end_process(pid_, SIGQUIT, seconds{5});
            pid_ = 0;
            if (attempt >= 4) throw;
        }
    }
}

// Asked of its own file, not of the port: somebody else may answer there.
void PostgresServer::wait_until_it_answers() {
    const auto is_ready = [&] {
        std::ifstream file(data_ / "postmaster.pid");
        std::string first;
        std::string last;
        std::getline(file, first);
        for (std::string line; std::getline(file, line);) last = line;
        return first == std::to_string(pid_) &&
               (last.starts_with("ready") || last.starts_with("standby"));
    };
    wait_for(
        "PostgreSQL to be ready",
        [&] {
            if (has_ended()) {
                throw std::runtime_error("PostgreSQL ended:\n" + read_file(folder_ / "server.log"));
            }
            return is_ready();
        },
        kStartDeadline);
}

bool PostgresServer::has_ended() {
    if (pid_ == 0 || !test::has_ended(pid_)) return false;
    pid_ = 0;
    return true;
}

void PostgresServer::stop(StopMode mode) {
    if (pid_ == 0) return;
    const int signal = mode == StopMode::smart  ? SIGTERM
                       : mode == StopMode::fast ? SIGINT
                                                : SIGQUIT;
    end_process(pid_, signal, seconds{30});
    pid_ = 0;
}

void PostgresServer::kill9() {
    if (pid_ == 0) return;
    const auto children = children_of(pid_);
    ::kill(pid_, SIGKILL);
    for (const pid_t child : children) ::kill(child, SIGKILL);
    end_process(pid_, SIGKILL, seconds{30});
    pid_ = 0;
    // A new postmaster refuses while an old backend still has the shared memory.
    wait_for("backends to end", [&] {
        return std::none_of(children.begin(), children.end(),
                            [](pid_t child) { return ::kill(child, 0) == 0; });
    });
}

void PostgresServer::configure(const std::string& line) {
    std::ofstream(data_ / "postgresql.conf", std::ios::app) << line << '\n';
}

void PostgresServer::reload() {
    if (pid_ != 0) ::kill(pid_, SIGHUP);
}

void PostgresServer::let_commits_wait_for(const std::string& standby) {
    configure("synchronous_standby_names = '" + standby + "'");
    reload();
    wait_for("the reload",
             [&] { return connect().value("SHOW synchronous_standby_names") == standby; });
}

void PostgresServer::freeze(pid_t backend) { ::kill(backend, SIGSTOP); }
void PostgresServer::thaw(pid_t backend) { ::kill(backend, SIGCONT); }

std::unique_ptr<PostgresServer> PostgresServer::standby() {
    stop(StopMode::fast);
    std::unique_ptr<PostgresServer> copy(new PostgresServer(Copy{}, *this));
    start();
    return copy;
}

void PostgresServer::end_and_remove() noexcept {
    pooler_.reset();
    try {
        if (pid_ != 0 && test::has_ended(pid_)) {
            // Nobody asked it to: what it said last is the only trace.
            std::cerr << "PostgreSQL had ended by itself:\n" << read_file(folder_ / "server.log");
        } else if (pid_ != 0) {
            end_process(pid_, SIGQUIT, seconds{10});
        }
    } catch (...) {
    }
    pid_ = 0;
    remove_folder(folder_);
}

// --------------------------------------------------------------------------------------- Schema

Schema::Schema(PostgresServer& server, bool with_roles) : server_(&server) {
    static std::atomic<int> count{0};
    name_ = "s" + std::to_string(++count);
    postgres::migrate(url(), name_, with_roles);
}

std::string Schema::sql(std::string_view text) const {
    std::string result(text);
    for (auto at = result.find("@s@"); at != std::string::npos; at = result.find("@s@", at)) {
        result.replace(at, 3, name_);
    }
    return result;
}

void throw_deadline(std::string_view what) {
    throw std::runtime_error("deadline passed waiting for " + std::string(what));
}

void pause_briefly() { std::this_thread::sleep_for(milliseconds{5}); }

}  // namespace sagaz::test
