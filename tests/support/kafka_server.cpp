#include "tests/support/kafka_server.hpp"

#include <librdkafka/rdkafka.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace sagaz::tests {

namespace {

constexpr int kTimeoutMs = 20'000;

// Runs kafka.sh; its output goes to standard error, so a test's own output stays its own.
bool run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), SAGAZ_KAFKA_SH);
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    pid_t child = 0;
    const int error = ::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    if (error != 0) return false;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct ClientDeleter {
    void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
};
struct QueueDeleter {
    void operator()(rd_kafka_queue_t* queue) const noexcept { rd_kafka_queue_destroy(queue); }
};
struct EventDeleter {
    void operator()(rd_kafka_event_t* event) const noexcept { rd_kafka_event_destroy(event); }
};
using Event = std::unique_ptr<rd_kafka_event_t, EventDeleter>;

class Admin {
public:
    explicit Admin(const std::string& bootstrap) {
        char text[512] = "";
        rd_kafka_conf_t* conf = rd_kafka_conf_new();
        rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap.c_str(), text, sizeof text);
        client_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text));
        if (!client_) throw std::runtime_error(text);
        queue_.reset(rd_kafka_queue_new(client_.get()));
    }
    rd_kafka_t* client() const { return client_.get(); }
    rd_kafka_queue_t* queue() const { return queue_.get(); }

    /// Null when nothing came in time.
    Event answer(int timeout_ms) const {
        return Event{rd_kafka_queue_poll(queue_.get(), timeout_ms)};
    }

    Event result(const char* what) const { return checked(answer(kTimeoutMs), what); }

    static Event checked(Event event, const char* what) {
        if (!event) throw std::runtime_error(std::string{what} + ": no answer");
        if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            throw std::runtime_error(std::string{what} + ": " +
                                     rd_kafka_event_error_string(event.get()));
        }
        return event;
    }

private:
    std::unique_ptr<rd_kafka_t, ClientDeleter> client_;
    std::unique_ptr<rd_kafka_queue_t, QueueDeleter> queue_;  // Destroyed before the client.
};

void must(const rd_kafka_topic_result_t* result, const char* what) {
    if (rd_kafka_topic_result_error(result) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw std::runtime_error(std::string{what} + ": " +
                                 rd_kafka_err2str(rd_kafka_topic_result_error(result)));
    }
}

// False when no answer came: a client that asks while a thawed server has no controller waits for
// one and may not see it come, and another one does. `is_again`: the one before may have made it.
bool made_topic(const std::string& bootstrap, const std::string& topic, int partitions,
                const std::map<std::string, std::string>& config, bool is_again) {
    const Admin admin{bootstrap};
    char text[512] = "";
    rd_kafka_NewTopic_t* made =
        rd_kafka_NewTopic_new(topic.c_str(), partitions, 1, text, sizeof text);
    for (const auto& [name, value] : config) {
        rd_kafka_NewTopic_set_config(made, name.c_str(), value.c_str());
    }
    rd_kafka_CreateTopics(admin.client(), &made, 1, nullptr, admin.queue());
    rd_kafka_NewTopic_destroy(made);
    Event answer = admin.answer(kTimeoutMs / 2);
    if (!answer) return false;
    const Event event = Admin::checked(std::move(answer), "create topic");
    std::size_t count = 0;
    const auto* result = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(event.get()), &count)[0];
    const bool is_there =
        rd_kafka_topic_result_error(result) == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS;
    if (!(is_again && is_there)) must(result, "create topic");
    return true;
}

}  // namespace

bool KafkaServer::available() {
    if (run({"fetch"}) && run({"available"})) return true;
    std::fprintf(stderr,
                 "\n"
                 "**********************************************************************\n"
                 "** NO REAL KAFKA: Java or Maven is missing, or the jars cannot be   **\n"
                 "** fetched. These tests run on librdkafka's mock cluster, which     **\n"
                 "** proves less.  (apt-get install default-jre-headless maven)       **\n"
                 "**********************************************************************\n\n");
    return false;
}

KafkaServer::KafkaServer(const std::string& properties) {
    std::string name = (std::filesystem::temp_directory_path() / "sagaz-kafka-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
    ::setenv("SAGAZ_KAFKA_PROPERTIES", properties.c_str(), 1);
    const bool started = run({"start", folder_});
    ::unsetenv("SAGAZ_KAFKA_PROPERTIES");
    if (!started) {
        std::filesystem::remove_all(folder_);
        throw std::runtime_error("Kafka did not start");
    }
    read_state();
}

KafkaServer::~KafkaServer() {
    run({"stop", folder_});
    std::filesystem::remove_all(folder_);
}

void KafkaServer::read_state() {
    std::ifstream{folder_ + "/bootstrap"} >> bootstrap_;
    std::ifstream{folder_ + "/pid"} >> pid_;
}

std::string KafkaServer::create_topic(int partitions,
                                      const std::map<std::string, std::string>& config) {
    const std::string topic = "t" + std::to_string(::getpid()) + "." + std::to_string(++topics_);
    create_topic_named(topic, partitions, config);
    return topic;
}

void KafkaServer::create_topic_named(const std::string& topic, int partitions,
                                     const std::map<std::string, std::string>& config) {
    for (const bool is_again : {false, true, true}) {
        if (made_topic(bootstrap_, topic, partitions, config, is_again)) return;
    }
    throw std::runtime_error("create topic: no answer");
}

void KafkaServer::delete_topic(const std::string& topic) {
    const Admin admin{bootstrap_};
    rd_kafka_DeleteTopic_t* gone = rd_kafka_DeleteTopic_new(topic.c_str());
    rd_kafka_DeleteTopics(admin.client(), &gone, 1, nullptr, admin.queue());
    rd_kafka_DeleteTopic_destroy(gone);
    const Event event = admin.result("delete topic");
    std::size_t count = 0;
    must(rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event.get()),
                                             &count)[0],
         "delete topic");
}

void KafkaServer::delete_records(const std::string& topic, int partition, std::int64_t offset) {
    const Admin admin{bootstrap_};
    rd_kafka_topic_partition_list_t* before = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(before, topic.c_str(), partition)->offset = offset;
    rd_kafka_DeleteRecords_t* gone = rd_kafka_DeleteRecords_new(before);
    rd_kafka_topic_partition_list_destroy(before);
    rd_kafka_DeleteRecords(admin.client(), &gone, 1, nullptr, admin.queue());
    rd_kafka_DeleteRecords_destroy(gone);
    const Event event = admin.result("delete records");
    const auto* list =
        rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.get()));
    if (list->cnt != 1 || list->elems[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw std::runtime_error("delete records");
    }
}

void KafkaServer::deny_writing(const std::string& topic, bool describe) {
    const Admin admin{bootstrap_};
    char text[512] = "";
    rd_kafka_AclBinding_t* denied = rd_kafka_AclBinding_new(
        RD_KAFKA_RESOURCE_TOPIC, topic.c_str(), RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:ANONYMOUS",
        "*", describe ? RD_KAFKA_ACL_OPERATION_WRITE : RD_KAFKA_ACL_OPERATION_ALL,
        RD_KAFKA_ACL_PERMISSION_TYPE_DENY, text, sizeof text);
    if (denied == nullptr) throw std::runtime_error(text);
    rd_kafka_AclBinding_t* allowed = rd_kafka_AclBinding_new(
        RD_KAFKA_RESOURCE_TOPIC, topic.c_str(), RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:ANONYMOUS",
        "*", RD_KAFKA_ACL_OPERATION_ALL, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, text, sizeof text);
    rd_kafka_AclBinding_t* both[] = {denied, allowed};
    rd_kafka_CreateAcls(admin.client(), both, 2, nullptr, admin.queue());
    rd_kafka_AclBinding_destroy_array(both, 2);
    const Event event = admin.result("create ACL");
    std::size_t count = 0;
    const rd_kafka_acl_result_t** results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event.get()), &count);
    for (std::size_t n = 0; n < count; ++n) {
        if (const rd_kafka_error_t* error = rd_kafka_acl_result_error(results[n])) {
            throw std::runtime_error("create ACL: " + std::string{rd_kafka_error_string(error)});
        }
    }
}

void KafkaServer::kill() { ::kill(pid_, SIGKILL); }
void KafkaServer::freeze() { ::kill(pid_, SIGSTOP); }
void KafkaServer::thaw() { ::kill(pid_, SIGCONT); }

void KafkaServer::restart() {
    if (!run({"restart", folder_})) throw std::runtime_error("Kafka did not start again");
    read_state();
}

}  // namespace sagaz::tests
