#include "tests/support/history_check.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace sagaz::history {

void Checker::feed(const Operation& operation) {
    if (operation.f == "append") {
        feed_append(operation);
    } else if (operation.f == "arrive" && operation.type == Type::ok) {
        feed_arrival(operation);
    } else if (operation.f == "truth" && operation.type == Type::ok) {
        has_truth_ = true;
        records_[operation.id].survived = true;
    } else if (operation.f == "park" && operation.type == Type::ok) {
        records_[operation.id].parked = true;
    } else if (operation.f == "pending" && operation.type == Type::ok) {
        records_[operation.id].pending = true;
    }
}

void Checker::feed_append(const Operation& operation) {
    Record& record = records_[operation.id];
    if (record.fate == Fate::none) ++verdict_.appended;
    switch (operation.type) {
        case Type::invoke: record.fate = Fate::invoked; break;
        case Type::ok: record.fate = Fate::committed; break;
        case Type::fail: record.fate = Fate::aborted; break;
        case Type::info: record.fate = Fate::unknown; break;
    }
    if (!operation.topic.empty()) record.topic = operation.topic;
    if (operation.key) record.key = operation.key;
    if (!operation.digest.empty()) record.digest = operation.digest;
    if (operation.order) record.order = operation.order;
}

void Checker::feed_arrival(const Operation& operation) {
    Record& record = records_[operation.id];
    if (record.arrived) {
        ++verdict_.repeats;
        compare_repeat(operation, record);
        return;
    }
    record.arrived = true;
    record.arrived_topic = operation.topic;
    record.arrived_key = operation.key;
    record.arrived_digest = operation.digest;
    record.arrived_partition = operation.partition;
    first_arrivals_.push_back(operation.id);
    ++verdict_.arrived;
}

void Checker::compare_repeat(const Operation& operation, const Record& record) {
    if (operation.topic != record.arrived_topic) {
        violate("I5", operation.id, "came again in another topic");
    }
    if (operation.key != record.arrived_key) {
        violate("I5", operation.id, "came again with another key");
    }
    if (operation.digest != record.arrived_digest) {
        violate("I5", operation.id, "came again with other bytes");
    }
}

// Order is judged at the end, since an arrival may be recorded before the line that says its
// order: the producer hears of its commit later than a quick relay does.
void Checker::judge_orders() {
    std::map<std::pair<std::string, std::string>, Highest> highest;
    for (const std::string& id : first_arrivals_) {
        const Record& record = records_.at(id);
        if (!record.order || !record.arrived_key) continue;
        const auto [at, is_first] =
            highest.try_emplace({record.arrived_topic, *record.arrived_key},
                                Highest{*record.order, id, record.arrived_partition});
        if (is_first) continue;
        if (record.arrived_partition != at->second.partition) {
            violate("I4", id, "key " + *record.arrived_key + " is in two partitions");
        }
        if (*record.order < at->second.order) {
            violate("I4", id,
                    "order " + std::to_string(*record.order) + " of key " + *record.arrived_key +
                        " arrived after order " + std::to_string(at->second.order) + ", " +
                        at->second.id);
        } else {
            at->second.order = *record.order;
            at->second.id = id;
        }
    }
}

void Checker::judge(const std::string& id, const Record& record) {
    const bool committed = has_truth_ ? record.survived : record.fate == Fate::committed;
    if (committed) {
        ++verdict_.committed;
        if (!record.arrived && !record.parked && !record.pending) {
            violate("I1", id, "committed, and neither arrived nor parked nor pending");
        }
    }
    if (record.parked) ++verdict_.parked;
    if (record.pending) ++verdict_.pending;
    if (record.arrived) judge_arrival(id, record);
}

void Checker::judge_arrival(const std::string& id, const Record& record) {
    if (record.fate == Fate::aborted && !record.survived) {
        violate("I2", id, "arrived although its transaction rolled back");
    } else if (record.fate == Fate::none && !record.survived) {
        violate("I2", id, "arrived although nobody appended it");
    } else if (has_truth_ && !record.survived) {
        violate("I3", id, "arrived although its commit did not survive");
    }
    if (!record.topic.empty() && record.topic != record.arrived_topic) {
        violate("I5", id, "arrived in another topic than it was appended to");
    }
    if (record.fate != Fate::none && record.key != record.arrived_key) {
        violate("I5", id, "arrived with another key than it was appended with");
    }
    if (!record.digest.empty() && !record.arrived_digest.empty() &&
        record.digest != record.arrived_digest) {
        violate("I5", id, "arrived with other bytes than were appended");
    }
}

Verdict Checker::finish() {
    judge_orders();
    for (const auto& [id, record] : records_) judge(id, record);
    // The records have no order of their own; the same history must give the same verdict.
    std::sort(verdict_.violations.begin(), verdict_.violations.end(),
              [](const Violation& a, const Violation& b) {
                  return std::tie(a.invariant, a.id, a.what) < std::tie(b.invariant, b.id, b.what);
              });
    verdict_.violations.resize(std::min(verdict_.violations.size(), kViolationsMax));
    return std::move(verdict_);
}

void Checker::violate(const char* invariant, const std::string& id, std::string what) {
    ++verdict_.violations_total;
    verdict_.violations.push_back({invariant, id, std::move(what)});
}

Verdict check(std::istream& stream) {
    Reader reader(stream);
    Checker checker;
    while (const auto operation = reader.next()) checker.feed(*operation);
    return checker.finish();
}

}  // namespace sagaz::history
