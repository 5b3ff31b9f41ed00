// Where events go: whether it answers, has the topics that they name, and keeps what it takes.
#include "app/brokers.hpp"
#include "app/doctor.hpp"
#include "app/url.hpp"

#include <array>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;

constexpr auto kNoBroker = "no broker is configured: give --broker";

Result check_broker(Patient& patient) {
    const auto& broker = patient.options().broker;
    if (!broker) return skipped(kNoBroker);
    const auto why = why_unreachable(*broker, milliseconds{3'000});
    return why.empty() ? ok("reachable")
                       : finding(why, "start it, or correct --broker and broker.options");
}

// Why there is nothing to ask; none: there is.
std::optional<Result> no_cluster(Patient& patient) {
    if (!patient.options().broker) return skipped(kNoBroker);
    if (!patient.is_kafka()) return ok("this kind of destination has none");
    if (const auto found = patient.found({"broker"}); !found.empty()) {
        return skipped("follows from " + found);
    }
    if (patient.there < Needs::schema) return skipped("without the log no topic is known");
    if (patient.topics().empty()) return ok("no event names one yet");
    return std::nullopt;
}

Result check_topics(Patient& patient) {
    if (auto nothing = no_cluster(patient)) return *nothing;
    const auto& cluster = patient.cluster();
    std::vector<std::string> missing;
    for (const auto& topic : cluster.topics) {
        if (!topic.exists) missing.push_back(topic.name);
    }
    if (missing.empty()) {
        return ok("all " + std::to_string(cluster.topics.size()) +
                  " that the newest events name are there");
    }
    if (!cluster.makes_topics) {
        return skipped("not there, or hidden from this login: " + joined(missing) +
                       "; whether the brokers make topics by themselves is not known (" +
                       cluster.trouble + ")");
    }
    if (*cluster.makes_topics) {
        return ok("the brokers will make " + joined(missing) +
                  " by themselves (auto.create.topics.enable)");
    }
    return finding("not there, or hidden from this login: " + joined(missing),
                   "create the topics, or allow the login to describe and write them");
}

Result check_replication(Patient& patient) {
    if (auto nothing = no_cluster(patient)) return *nothing;
    const auto& cluster = patient.cluster();
    std::vector<std::string> seen;
    std::vector<std::string> mend;
    for (const auto& trouble : weak_topics(cluster)) {
        seen.push_back(trouble.seen);
        mend.push_back(trouble.what_to_do);
    }
    if (!seen.empty()) return finding(joined(seen), joined(mend));
    for (const auto& topic : cluster.topics) {
        if (topic.exists && !topic.trouble.empty()) {
            return skipped("min.insync.replicas of " + topic.name + " is not known (" +
                           topic.trouble + ")");
        }
    }
    return ok(cluster.brokers < 2
                  ? "acks is all; there is one broker, and what it loses is lost"
                  : "acks is all, and every topic keeps what it acknowledges on two brokers or "
                    "more");
}

constexpr std::array kChecks{
    Check{"broker", "events go there", check_broker, Needs::nothing},
    Check{"topics", "events of a topic that is not there are parked", check_topics, Needs::nothing},
    Check{"replication", "an acknowledged event must outlive the loss of a broker",
          check_replication, Needs::nothing},
};

}  // namespace

std::span<const Check> checks_of_broker() { return kChecks; }

}  // namespace sagaz::inline v0::app
