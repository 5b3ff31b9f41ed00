#include "app/kafka_configs.hpp"

#include "app/kafka_client.hpp"

#include <sagaz/error.hpp>

#include <memory>

namespace sagaz::inline v0::app {
namespace {

struct Destroy {
    void operator()(rd_kafka_ConfigResource_t* one) const { rd_kafka_ConfigResource_destroy(one); }
    void operator()(rd_kafka_AdminOptions_t* one) const { rd_kafka_AdminOptions_destroy(one); }
    void operator()(rd_kafka_queue_t* one) const { rd_kafka_queue_destroy(one); }
    void operator()(rd_kafka_event_t* one) const { rd_kafka_event_destroy(one); }
};
template <class Thing>
using Owned = std::unique_ptr<Thing, Destroy>;

Owned<rd_kafka_event_t> answer_of(rd_kafka_t* client, rd_kafka_ResourceType_t kind,
                                  const std::vector<std::string>& names,
                                  std::chrono::milliseconds deadline) {
    std::vector<Owned<rd_kafka_ConfigResource_t>> resources;
    std::vector<rd_kafka_ConfigResource_t*> raw;
    for (const auto& name : names) {
        resources.emplace_back(rd_kafka_ConfigResource_new(kind, name.c_str()));
        raw.push_back(resources.back().get());
    }
    const Owned<rd_kafka_AdminOptions_t> options{
        rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS)};
    char problem[512];
    rd_kafka_AdminOptions_set_request_timeout(options.get(), static_cast<int>(deadline.count()),
                                              problem, sizeof problem);
    const Owned<rd_kafka_queue_t> queue{rd_kafka_queue_new(client)};
    rd_kafka_DescribeConfigs(client, raw.data(), raw.size(), options.get(), queue.get());
    return Owned<rd_kafka_event_t>{
        rd_kafka_queue_poll(queue.get(), static_cast<int>(deadline.count()) + 1'000)};
}

KafkaConfig config_in(const rd_kafka_ConfigResource_t* resource) {
    KafkaConfig config;
    if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* words = rd_kafka_ConfigResource_error_string(resource);
        config.trouble = words != nullptr ? words : "not known there";
        return config;
    }
    std::size_t count = 0;
    const auto* entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (std::size_t n = 0; n < count; ++n) {
        const char* text = rd_kafka_ConfigEntry_value(entries[n]);
        config.values.emplace(rd_kafka_ConfigEntry_name(entries[n]), text != nullptr ? text : "");
    }
    return config;
}

}  // namespace

std::string KafkaConfig::value(std::string_view name) const {
    const auto found = values.find(name);
    return found == values.end() ? std::string{} : found->second;
}

std::map<std::string, KafkaConfig, std::less<>> configs_of(rd_kafka_t* client,
                                                           rd_kafka_ResourceType_t kind,
                                                           const std::vector<std::string>& names,
                                                           std::chrono::milliseconds deadline,
                                                           const std::string& words) {
    std::map<std::string, KafkaConfig, std::less<>> found;
    if (names.empty()) return found;
    const auto event = answer_of(client, kind, names, deadline);
    if (!event || rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(client, 0);
        throw broker_unreachable(!event           ? "no answer"
                                 : !words.empty() ? words
                                                  : rd_kafka_event_error_string(event.get()));
    }
    std::size_t count = 0;
    const auto* resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event.get()), &count);
    for (std::size_t n = 0; n < count; ++n) {
        found.emplace(rd_kafka_ConfigResource_name(resources[n]), config_in(resources[n]));
    }
    for (const auto& name : names) {
        found.try_emplace(name, KafkaConfig{{}, "the broker says nothing"});
    }
    return found;
}

}  // namespace sagaz::inline v0::app
