// The consumers' inbox: its partitions, and whether marks outlive messages.
#include "app/doctor.hpp"
#include "app/inbox_look.hpp"
#include "app/topic_retention.hpp"
#include "app/units.hpp"
#include "core/replaced.hpp"

#include <array>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;

// One word where the days to come have no partition, or none is made any more since the default
// partition has become too large to be read under a lock (512 MiB, as for a relay); else nothing.
constexpr auto kNoPartition = R"(
select case
    when pg_relation_size('@schema@.consumer_inbox_default') > 536870912 then 'large'
    when not exists (select from @schema@.inbox_partitions() p
                     where p.begins <= clock_timestamp() + interval '1 day'
                       and p.ends > clock_timestamp() + interval '1 day') then 'missing'
    end
where exists (select from @schema@.consumer_inbox))";

// Two days are what a relay may need.
constexpr auto kOldPartitions = R"(
select p.name || ' of ' || pg_size_pretty(pg_relation_size(format('@schema@.%I', p.name)))
from @schema@.inbox_partitions() p
where p.ends < clock_timestamp() - interval '2 days' - {retention} * interval '1 millisecond'
limit 10)";

Result check_inbox_partitions(Patient& patient) {
    // A relay keeps them by functions of the owner's, and may not look for itself.
    if (!patient.is_true("select has_any_column_privilege('@schema@.consumer_inbox', 'SELECT') "
                         "and has_function_privilege('@schema@.inbox_partitions()', 'EXECUTE')")) {
        return skipped("this login may not see the inbox: GRANT " + patient.schema() +
                       "_reader to it");
    }
    const auto trouble = patient.value(kNoPartition);
    if (trouble == "missing") {
        return finding("none is there for tomorrow: marks pile up in consumer_inbox_default",
                       "let a relay run for an hour (it makes them), or run sagaz inbox cleanup "
                       "once a day");
    }
    if (trouble == "large") {
        return finding("consumer_inbox_default is over 512 MiB: no more are made",
                       "run sagaz inbox cleanup when consumers may wait some seconds");
    }
    const auto retention = patient.options().inbox_retention;
    const auto old = retention.count() == 0
                         ? std::vector<std::string>{}
                         : patient.column(core::replaced(kOldPartitions, "{retention}",
                                                         std::to_string(retention.count())));
    return old.empty() ? ok("made ahead, and dropped past the retention")
                       : finding("past the retention and still there: " + joined(old),
                                 "run sagaz inbox cleanup; if it cannot lock them, end who holds "
                                 "them");
}

// What is kept for longer than the marks, and what is not known.
Result compared(const std::vector<TopicRetention>& topics, milliseconds marks) {
    std::vector<std::string> longer;
    std::vector<std::string> unknown;
    for (const auto& [topic, kept, trouble] : topics) {
        if (!trouble.empty()) {
            unknown.push_back(topic + " (" + trouble + ')');
        } else if (!kept || *kept >= marks) {
            longer.push_back(topic + (kept ? " for " + duration_text(*kept) : " for ever"));
        }
    }
    const auto of_marks = "marks are kept for " + duration_text(marks);
    if (!longer.empty()) {
        return finding(of_marks + ", and messages of " + joined(longer),
                       "raise inbox.retention above it, or lower the topics' retention.ms");
    }
    if (!unknown.empty()) return skipped("not known of " + joined(unknown));
    return ok(of_marks + ", longer than the messages of " + std::to_string(topics.size()) +
              " topics");
}

Result check_inbox_retention(Patient& patient) {
    const auto& broker = patient.options().broker;
    const auto marks = patient.options().inbox_retention;
    if (marks.count() == 0) return ok("marks are kept for ever");
    const auto topics = topics_in(patient.session());
    if (topics.empty()) return ok("no consumer has a mark here");
    if (!broker) {
        return skipped("no broker is configured to ask for how long it keeps " + joined(topics));
    }
    if (!patient.is_kafka())
        return skipped("only Kafka says for how long it keeps " + joined(topics));
    if (const auto found = patient.found({"broker"}); !found.empty()) {
        return skipped("follows from " + found);
    }
    return compared(retentions_of(*broker, topics, Patient::kBrokerDeadline), marks);
}

constexpr std::array kChecks{
    Check{"inbox_partitions", "without them marks go row by row, which costs their removal",
          check_inbox_partitions, Needs::schema, true},
    Check{"inbox_retention", "a message that outlives its mark takes effect again",
          check_inbox_retention, Needs::schema},
};

}  // namespace

std::span<const Check> checks_of_inbox() { return kChecks; }

}  // namespace sagaz::inline v0::app
