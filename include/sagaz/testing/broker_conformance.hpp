#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/event.hpp>
#include <sagaz/export.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The proof of a broker: the three promises of <sagaz/broker.hpp>, bytes kept, limits kept. Needs
/// GoogleTest; link `sagaz::testing`. For a broker of your own:
///
///     class MyDestination : public sagaz::testing::Destination {
///         std::unique_ptr<sagaz::Broker> open() override { return my::open(server_.url()); }
///         std::string topic() override { return topic_; }
///         std::vector<sagaz::Message> arrived() override { return server_.read(topic_); }
///         ...
///     };
///     SAGAZ_BROKER_CONFORMANCE(MyBroker, {}, [] { return std::make_unique<MyDestination>(); });
namespace sagaz::inline v0::testing {

/// One message as an owner of its bytes, for tests.
struct Sample {
    std::string topic{};
    std::optional<std::string> key{};
    std::vector<Header> headers{};
    std::string payload{};

    bool operator==(const Sample&) const = default;
};

/// A destination under test. The suite makes a new one for every test: its topic must be empty.
class SAGAZ_EXPORT Destination {
public:
    Destination() = default;
    virtual ~Destination();
    Destination(const Destination&) = delete;
    Destination& operator=(const Destination&) = delete;

    /// A broker on this destination; called more than once, each object used by one thread.
    virtual std::unique_ptr<Broker> open() = 0;
    /// A topic that exists and is empty at first.
    virtual std::string topic() = 0;
    /// What all topics of this test hold now, per (topic, key) in the order of arrival.
    virtual std::vector<Message> arrived() = 0;

    /// A message that the destination refuses, whatever its state. Only asked with
    /// `Capabilities::refuses`.
    virtual Sample poison();
    /// Makes the destination unreachable, and reachable again. Only with `Capabilities::outages`.
    virtual void cut();
    virtual void heal();
};

/// What a destination can be asked for; tests of what it cannot are not registered.
struct Capabilities {
    bool keeps{true};     ///< `arrived` works (not for one that drops everything).
    bool refuses{false};  ///< `poison` works.
    bool outages{false};  ///< `cut` and `heal` work.
    std::size_t payload_max{std::size_t{1} << 20};  ///< The largest payload that is tried.
};

using MakeDestination = std::function<std::unique_ptr<Destination>()>;

/// Registers the suite as GoogleTest tests `<name>Conformance.<Test>`; before RUN_ALL_TESTS.
/// Returns how many tests that are.
SAGAZ_EXPORT int register_broker_conformance(std::string_view name, Capabilities capabilities,
                                             MakeDestination make);

/// A broker that watches another: passes everything on and writes down each broken promise. Use it
/// around a broker in tests of your own, too. It knows one (topic, key) order: that of `publish`.
class SAGAZ_EXPORT PromiseWatch final : public Broker {
public:
    explicit PromiseWatch(std::unique_ptr<Broker> watched);
    ~PromiseWatch() override;

    std::size_t publish(std::span<const Envelope> envelopes) override;
    std::vector<Receipt> poll(Milliseconds deadline) override;
    std::string down() const override { return watched_->down(); }
    void abandon(Milliseconds deadline) override { watched_->abandon(deadline); }

    /// In words, each broken promise that was seen; empty: none.
    const std::vector<std::string>& violations() const { return violations_; }
    /// Envelopes that were taken and have no receipt yet.
    std::size_t outstanding() const { return taken_.size(); }

private:
    using Key = std::pair<std::string, std::string>;
    struct Taken {
        std::optional<Key> key{};
    };

    void judge(const Receipt& receipt);

    std::unique_ptr<Broker> watched_;
    std::map<std::uint64_t, Taken> taken_;
    std::set<std::uint64_t> settled_;
    std::map<Key, std::uint64_t> accepted_;  // Highest token of a key that was accepted.
    std::vector<std::string> violations_;
};

/// Publishes samples as the relay does: from the first one that is not accepted, until every one is
/// accepted or refused; a refused one is left out (its key goes on). Gives up at `deadline`; what
/// is on its way then must be abandoned and polled before the next `deliver`. One broker, one
/// courier: tokens grow.
class SAGAZ_EXPORT Courier {
public:
    explicit Courier(Broker& broker) : broker_(broker) {}

    /// The final receipt of each sample, in their order; `unknown` for those the deadline met.
    std::vector<Receipt> deliver(std::span<const Sample> samples, Milliseconds deadline);

    std::size_t repeats() const { return repeats_; }  ///< Samples published more than once.

private:
    struct Run;

    Broker& broker_;
    std::uint64_t next_token_{1};
    std::size_t repeats_{};
};

}  // namespace sagaz::inline v0::testing

/// Registers the suite for `destination_name` at program start, so that gtest_main will do.
#define SAGAZ_BROKER_CONFORMANCE(destination_name, capabilities, ...)           \
    [[maybe_unused]] static const int sagaz_conformance_of_##destination_name = \
        ::sagaz::testing::register_broker_conformance(                          \
            #destination_name, ::sagaz::testing::Capabilities capabilities, __VA_ARGS__)
