// The simulated stores pass what the real ones must, so the simulator asks of a step what they
// would.
#include "sim_publisher_store.hpp"

#include "sim_store.hpp"

#include <sagaz/testing/publisher_store_conformance.hpp>

#include <gtest/gtest.h>

namespace sagaz::simulation {
namespace {

class SimWriter final : public testing::Writer {
public:
    explicit SimWriter(SimDatabase& database) : database_(database), tx_(database.begin()) {}
    ~SimWriter() override {
        if (open_) database_.abort(tx_);
    }

    void append(const Event& event, Milliseconds hold) override {
        database_.take_xid(tx_);
        NewEvent appended{.topic = event.topic, .key = event.key, .payload = event.payload};
        appended.hold = hold;
        database_.insert(tx_, appended, database_.next_position());
    }
    void commit() override {
        open_ = false;
        database_.write_commit(tx_);
        database_.become_visible(tx_);
        database_.release_locks(tx_);
    }

private:
    SimDatabase& database_;
    SimDatabase::Tx tx_;
    bool open_{true};
};

class SimSubject final : public testing::PublisherSubject {
public:
    std::unique_ptr<Store> open() override {
        return std::make_unique<SimStore>(world(), StoreFaults{}, "relay", ++seed_);
    }
    std::unique_ptr<PublisherStore> open_publisher() override {
        return std::make_unique<SimPublisherStore>(world(), StoreFaults{}, "publisher", ++seed_);
    }
    std::unique_ptr<testing::Writer> begin() override {
        return std::make_unique<SimWriter>(database_);
    }
    void forget() override {
        database_.crash(database_.insert_lsn());
        database_.start();
    }

private:
    SimSession::World world() { return {scheduler_, database_, history_, trace_}; }

    std::uint64_t seed_{};
    Scheduler scheduler_{1};
    Trace trace_{scheduler_};
    SimDatabase database_{scheduler_, 2, Settings{}};
    History history_{database_, trace_};
};

[[maybe_unused]] const int kTests = testing::register_publisher_store_conformance(
    "Simulated", [] { return std::make_unique<SimSubject>(); });

}  // namespace
}  // namespace sagaz::simulation
