// What a topic's configuration says, by one DescribeConfigs for all of them.
#include "app/topic_retention.hpp"

#include "app/commands.hpp"
#include "app/kafka_client.hpp"
#include "app/url.hpp"

#include <sagaz/error.hpp>

#include <charconv>
#include <map>
#include <string_view>

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

Error unreachable(const std::string& why) {
    return {ErrorKind::unavailable, "broker_unreachable", why,
            "start it, or correct --broker and broker.options"};
}

Owned<rd_kafka_event_t> answer_of(rd_kafka_t* client, const std::vector<std::string>& topics,
                                  std::chrono::milliseconds deadline) {
    std::vector<Owned<rd_kafka_ConfigResource_t>> resources;
    std::vector<rd_kafka_ConfigResource_t*> raw;
    for (const auto& topic : topics) {
        resources.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
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

// A topic that is compacted and not deleted from keeps the newest message of a key for ever.
TopicRetention retention_in(const rd_kafka_ConfigResource_t* resource) {
    TopicRetention found{rd_kafka_ConfigResource_name(resource)};
    if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* words = rd_kafka_ConfigResource_error_string(resource);
        found.trouble = words != nullptr ? words : "not known there";
        return found;
    }
    std::size_t count = 0;
    const auto* entries = rd_kafka_ConfigResource_configs(resource, &count);
    std::string_view policy;
    std::string_view kept;
    for (std::size_t n = 0; n < count; ++n) {
        const char* text = rd_kafka_ConfigEntry_value(entries[n]);
        const std::string_view value = text != nullptr ? text : "";
        const std::string_view name = rd_kafka_ConfigEntry_name(entries[n]);
        if (name == "cleanup.policy") policy = value;
        if (name == "retention.ms") kept = value;
    }
    std::int64_t milliseconds = 0;
    const auto [end, error] = std::from_chars(kept.data(), kept.data() + kept.size(), milliseconds);
    if (error != std::errc{}) {
        found.trouble = "it has no retention.ms";
    } else if (milliseconds >= 0 && policy.find("delete") != std::string_view::npos) {
        found.kept = std::chrono::milliseconds{milliseconds};
    }
    return found;
}

}  // namespace

std::vector<TopicRetention> retentions_of(const BrokerTarget& target,
                                          const std::vector<std::string>& topics,
                                          std::chrono::milliseconds deadline) {
    const auto url = parse_broker_url(target.url, "the configuration");
    std::string words;
    const auto client = asking_client(kafka_options(url.place, target), words);
    if (!client) throw unreachable(words);
    const auto event = answer_of(client.get(), topics, deadline);
    if (!event || rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(client.get(), 0);
        throw unreachable(!event           ? "no answer"
                          : !words.empty() ? words
                                           : rd_kafka_event_error_string(event.get()));
    }
    std::size_t count = 0;
    const auto* resources = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event.get()), &count);
    std::map<std::string, TopicRetention> found;
    for (std::size_t n = 0; n < count; ++n) {
        auto one = retention_in(resources[n]);
        found.emplace(one.topic, one);
    }
    std::vector<TopicRetention> all;
    for (const auto& topic : topics) {
        const auto at = found.find(topic);
        all.push_back(at != found.end() ? at->second
                                        : TopicRetention{topic, {}, "the broker says nothing"});
    }
    return all;
}

}  // namespace sagaz::inline v0::app
