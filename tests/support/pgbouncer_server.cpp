#include "tests/support/pgbouncer_server.hpp"

#include "tests/support/postgres_process.hpp"

#include <csignal>
#include <fstream>
#include <stdexcept>

namespace sagaz::test {
namespace {

std::string find_program() {
    for (const char* path : {"/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"}) {
        if (std::filesystem::exists(path)) return path;
    }
    throw std::runtime_error("pgbouncer is not installed");
}

}  // namespace

PgbouncerServer::PgbouncerServer(const PostgresServer& server, int pool_size, std::string_view mode)
    : folder_(make_folder("sagaz-pgbouncer")), port_(free_port()) {
    std::ofstream config(folder_ / "pgbouncer.ini");
    // Whoever has a login on the server has one here; in turn, so that a client's next
    // transaction runs in another session whenever there is one.
    config << "[databases]\n* = host=127.0.0.1 port=" << server.port() << " auth_user=postgres\n"
           << "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = " << port_ << "\n"
           << "unix_socket_dir =\nauth_type = trust\nauth_file = " << (folder_ / "users").string()
           << "\npool_mode = " << mode << "\ndefault_pool_size = " << pool_size
           << "\nmax_client_conn = 200\nserver_login_retry = 0\nserver_idle_timeout = 10\n"
           << "server_round_robin = 1\nauth_query = SELECT rolname, ''::text FROM pg_roles WHERE "
           << "rolname = $1\n"
           << "ignore_startup_parameters = extra_float_digits\n";
    config.close();
    std::ofstream(folder_ / "users") << "\"postgres\" \"\"\n";
    give_to_server(folder_);
    try {
        pid_ = spawn({find_program(), (folder_ / "pgbouncer.ini").string()},
                     folder_ / "pgbouncer.log", SIGKILL);
        wait_for("pgbouncer to answer", [&] {
            if (has_ended(pid_)) {
                throw std::runtime_error("pgbouncer ended:\n" +
                                         read_file(folder_ / "pgbouncer.log"));
            }
            return PQping((url() + "?connect_timeout=2").c_str()) == PQPING_OK;
        });
    } catch (...) {
        if (pid_ > 0) end_process(pid_, SIGKILL, std::chrono::seconds{5});
        remove_folder(folder_);
        throw;
    }
}

PgbouncerServer::~PgbouncerServer() {
    end_process(pid_, SIGKILL, std::chrono::seconds{5});
    remove_folder(folder_);
}

std::string PgbouncerServer::url(std::string_view database, std::string_view user) const {
    return "postgresql://" + std::string(user) + "@127.0.0.1:" + std::to_string(port_) + "/" +
           std::string(database);
}

}  // namespace sagaz::test
