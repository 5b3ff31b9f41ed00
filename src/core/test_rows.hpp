#pragma once

// Rows for the unit tests of this folder.

#include <sagaz/store.hpp>

#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace sagaz::inline v0::core {

struct TestRow {
    std::int64_t position{};
    std::string key{"k"};
    bool held{};
    std::int16_t slot{};
    std::string topic{"orders"};
};

class TestBatch final : public Batch {
public:
    explicit TestBatch(const std::vector<TestRow>& wanted) {
        for (const TestRow& from : wanted) {
            const std::string& key = keys_.emplace_back(from.key);
            const std::string& topic = keys_.emplace_back(from.topic);
            Row row{};
            row.slot = from.slot;
            row.held = from.held;
            row.position = from.position;
            row.event_id.bytes[15] = static_cast<std::byte>(from.position);
            row.topic = topic;
            row.key = key;
            row.event_type = "OrderPlaced";
            row.content_type = "application/json";
            row.payload = "{}";
            rows.push_back(row);
        }
        bytes = 100 * rows.size();
    }

private:
    std::deque<std::string> keys_;
};

inline std::unique_ptr<Batch> batch_of(const std::vector<TestRow>& rows) {
    return std::make_unique<TestBatch>(rows);
}

}  // namespace sagaz::inline v0::core
