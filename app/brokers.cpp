#include "app/brokers.hpp"

#include "app/commands.hpp"
#include "app/errors.hpp"
#include "app/kafka_client.hpp"
#include "app/url.hpp"

#include <sagaz/brokers.hpp>

namespace sagaz::inline v0::app {
namespace {

// A client of its own that asks for metadata: the sending one says it is down only by and by.
std::string ask_kafka(const kafka::Options& options, std::chrono::milliseconds deadline) {
    std::string words;
    const auto client = asking_client(options, words);
    if (!client) return words;
    const struct rd_kafka_metadata* metadata = nullptr;
    const auto answer =
        rd_kafka_metadata(client.get(), 0, nullptr, &metadata, static_cast<int>(deadline.count()));
    if (answer != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(client.get(), 0);
        return "no server of " + options.bootstrap_servers +
               " answers: " + (words.empty() ? rd_kafka_err2str(answer) : words);
    }
    rd_kafka_metadata_destroy(metadata);
    return {};
}

}  // namespace

std::unique_ptr<Broker> open_broker(const BrokerTarget& target) {
    const auto url = parse_broker_url(target.url, "the configuration");
    if (url.kind != BrokerKind::kafka && !target.options.empty()) {
        refuse("broker_option", "broker.options for " + target.url,
               "only kafka:// takes client options");
    }
    if (url.kind == BrokerKind::kafka) {
        return kafka::open(kafka_options(url.place, target));
    }
    if (url.kind == BrokerKind::null) {
        return null::open();
    }
    return file::open(url.place);  // "-" is standard output
}

std::string why_unreachable(const BrokerTarget& target, std::chrono::milliseconds deadline) {
    const auto url = parse_broker_url(target.url, "the configuration");
    if (url.kind == BrokerKind::kafka) {
        return ask_kafka(kafka_options(url.place, target), deadline);
    }
    return {};  // the others need no server
}

}  // namespace sagaz::inline v0::app
