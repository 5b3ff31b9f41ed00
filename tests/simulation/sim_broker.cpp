#include "sim_broker.hpp"

#include "core/assert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sagaz::simulation {

namespace {

struct Read {
    Id event_id{};
    std::uint64_t bytes{};
    std::string lane{};
};

Read read_envelope(const Envelope& envelope) {
    Read read;
    read.bytes = hash_bytes(envelope.payload, hash_bytes(envelope.topic));
    if (envelope.key) read.bytes = hash_bytes(*envelope.key, read.bytes + 1);
    for (const HeaderView& header : envelope.headers) {
        read.bytes = hash_bytes(header.value, hash_bytes(header.name, read.bytes));
        if (header.name == "ce_id") read.event_id = Id::parse(header.value);
    }
    read.lane = std::string(envelope.topic) + '\n' +
                (envelope.key ? std::string(*envelope.key) : "#" + read.event_id.text());
    return read;
}

}  // namespace

void Destination::set_faults(const BrokerFaults& faults, std::uint64_t seed) {
    faults_ = faults;
    refusal_seed_ = seed;
    history_.judge_refusals_by([this](const LogRow& row) { return was_ever_refused(row); });
}

void Destination::heal() {
    down_ = false;
    faults_.lost_acknowledgements = faults_.breaks = faults_.partial_takes = 0;
}

bool Destination::was_ever_refused(const LogRow& row) const {
    const std::string id = row.event_id.text();
    if (draw(id) < static_cast<std::uint64_t>(faults_.refused_events)) return true;
    return row.key && draw(*row.key) < static_cast<std::uint64_t>(faults_.refused_keys);
}

bool Destination::is_refused(const LogRow& row) const {
    if (!was_ever_refused(row)) return false;
    return !mended_ || draw("end of " + row.event_id.text()) >=
                           static_cast<std::uint64_t>(faults_.refusals_end);
}

std::uint64_t Destination::draw(std::string_view bytes) const {
    return Random::mix(hash_bytes(bytes) ^ refusal_seed_) % 1000;
}

void Destination::set_down(bool down) {
    down_ = down;
    trace_.line("broker", fmt::format(R"("what":"{}")", down ? "down" : "up"));
}

/// One client's messages on their way. Lives on in the scheduled actions when the broker is gone.
struct SimBroker::Client : std::enable_shared_from_this<SimBroker::Client> {
    struct Flight {
        std::uint64_t token{};
        EventIndex event{};
        std::uint64_t bytes{};
        std::string lane{};  ///< Topic and key; a lane of its own when there is no key.
        bool arrived{};
    };

    Client(Destination& to, std::string name, std::uint64_t seed, User user_is)
        : destination(to), who(std::move(name)), random(seed), user(user_is) {}

    Destination& destination;
    std::string who;
    Random random;
    User user;
    std::deque<Flight> flights;
    struct Ready {
        Receipt receipt{};
        EventIndex event{};
    };
    std::vector<Ready> ready;
    bool settled_a_break{};  ///< `ready` holds a receipt that is not `accepted`.
    bool pumping{};
    bool closed{};
    Instant frozen_until{};
    Duration poll_wait{};
    std::function<void()> wake = [] {};

    Duration delay() {
        const auto max = static_cast<std::uint64_t>(destination.faults().delay_max.count());
        return Duration{static_cast<Duration::rep>(random.below(max + 1))};
    }

    void start_pumping() {
        if (pumping || closed) return;
        pumping = true;
        const Duration wait = destination.is_down() ? delay() + milliseconds{20} : delay();
        destination.scheduler().after(wait, [self = shared_from_this()] {
            self->pumping = false;
            self->pump();
        });
    }

    void pump() {
        if (closed || flights.empty()) return;
        const Instant now = destination.scheduler().now();
        if (now < frozen_until) {
            pumping = true;
            destination.scheduler().at(frozen_until, [self = shared_from_this()] {
                self->pumping = false;
                self->pump();
            });
            return;
        }
        if (!destination.is_down()) {
            if (Flight* flight = pick()) carry(*flight);
        } else if (random.chance(20)) {
            settle_all(flights.front().token, Receipt::State::unknown);  // the client gives up
        }
        const bool more = std::any_of(flights.begin(), flights.end(),
                                      [](const Flight& flight) { return !flight.arrived; });
        if (more) start_pumping();
    }

    /// A message that waits and is the first of its lane to do so.
    Flight* pick() {
        std::vector<Flight*> firsts;
        std::set<std::string_view> lanes;
        for (Flight& flight : flights) {
            if (flight.arrived || !lanes.insert(flight.lane).second) continue;
            firsts.push_back(&flight);
            if (firsts.size() == 8) break;
        }
        return firsts.empty() ? nullptr : firsts[random.below(firsts.size())];
    }

    void carry(Flight& flight) {
        const BrokerFaults& faults = destination.faults();
        if (destination.is_refused(destination.database().row(flight.event))) {
            return settle_all(flight.token, Receipt::State::refused);
        }
        if (random.chance(faults.breaks)) return settle_all(flight.token, Receipt::State::unknown);
        flight.arrived = true;
        destination.arrive(flight.event, flight.bytes, who);
        if (random.chance(faults.lost_acknowledgements)) {
            return settle_all(flight.token, Receipt::State::unknown);
        }
        destination.scheduler().after(delay(), [self = shared_from_this(), token = flight.token] {
            self->acknowledge(token);
        });
    }

    void acknowledge(std::uint64_t token) {
        if (closed) return;
        const auto at = std::find_if(flights.begin(), flights.end(),
                                     [&](const Flight& flight) { return flight.token == token; });
        if (at == flights.end()) return;  // settled by a break, or with a later one of its lane
        const std::string lane = at->lane;
        std::erase_if(flights, [&](const Flight& flight) {
            if (flight.lane != lane || flight.token > token) return false;
            ready.push_back({{flight.token, Receipt::State::accepted, "", ""}, flight.event});
            return true;
        });
        wake();
    }

    /// The third promise: nothing stays on its way. A lane whose message was not accepted accepts
    /// nothing behind it; other lanes may still have come through.
    void settle_all(std::uint64_t broken, Receipt::State state) {
        std::set<std::string> stopped;
        for (Flight& flight : flights) {
            Receipt receipt{flight.token, Receipt::State::unknown, "", ""};
            if (flight.token == broken) {
                receipt.state = state;
                if (state == Receipt::State::refused) receipt.reason = "payload_too_large";
            } else if (!stopped.contains(flight.lane)) {
                if (!flight.arrived && may_still_arrive(flight)) {
                    flight.arrived = true;
                    destination.arrive(flight.event, flight.bytes, who);
                }
                if (flight.arrived && random.chance(600)) receipt.state = Receipt::State::accepted;
            } else if (flight.arrived) {
                receipt.detail = "arrived, but nobody will say so";
            }
            if (receipt.state != Receipt::State::accepted) stopped.insert(flight.lane);
            ready.push_back({std::move(receipt), flight.event});
        }
        destination.trace().line(who,
                                 fmt::format(R"("what":"break","messages":{})", flights.size()));
        destination.note_break();
        flights.clear();
        settled_a_break = true;
        wake();
    }

    bool may_still_arrive(const Flight& flight) {
        return !destination.is_down() && random.chance(300) &&
               !destination.is_refused(destination.database().row(flight.event));
    }

    /// The process died. What its kernel still had goes out in order, up to some message.
    void orphan() {
        closed = true;
        std::vector<Flight> left;
        for (Flight& flight : flights) {
            if (!flight.arrived) left.push_back(std::move(flight));
        }
        left.resize(random.below(left.size() + 1));
        Instant when = destination.scheduler().now();
        auto stopped = std::make_shared<std::set<std::string>>();
        for (const Flight& flight : left) {
            when += delay() * static_cast<Duration::rep>(1 + random.below(50));
            destination.scheduler().at(when, [flight, stopped, self = shared_from_this()] {
                Destination& to = self->destination;
                const bool is_lost = to.is_down() || to.is_refused(to.database().row(flight.event));
                if (is_lost) stopped->insert(flight.lane);
                if (stopped->contains(flight.lane)) return;
                to.arrive(flight.event, flight.bytes, self->who + "(dead)");
            });
        }
        flights.clear();
    }
};

SimBroker::SimBroker(Destination& destination, std::string who, std::uint64_t seed, User user)
    : client_(std::make_shared<Client>(destination, std::move(who), seed, user)) {}

SimBroker::~SimBroker() { client_->orphan(); }

std::size_t SimBroker::publish(std::span<const Envelope> envelopes) {
    Client& client = *client_;
    Destination& destination = client.destination;
    const BrokerFaults& faults = destination.faults();
    if (destination.is_down() && faults.outage_takes_nothing) return 0;
    const bool after_break = client.settled_a_break;
    if (after_break && client.random.chance(500)) return 0;
    std::size_t room = faults.capacity - std::min(faults.capacity, client.flights.size());
    if (client.random.chance(faults.partial_takes)) room = client.random.below(room + 1);
    const std::size_t count = std::min(room, envelopes.size());
    for (const Envelope& envelope : envelopes.first(count)) {
        Read read = read_envelope(envelope);
        if (client.user == User::publisher) {
            destination.history().on_taken_by_publisher(read.event_id, client.who);
        } else {
            destination.history().on_taken_by_relay(read.event_id, client.who);
        }
        const auto event = destination.database().find_event(read.event_id);
        SAGAZ_ASSERT(event.has_value());
        if (after_break) {
            client.ready.push_back({{envelope.token, Receipt::State::unknown, "", ""}, *event});
        } else {
            client.flights.push_back(
                {envelope.token, *event, read.bytes, std::move(read.lane), false});
        }
    }
    if (count > 0) {
        destination.trace().line(client.who,
                                 fmt::format(R"("what":"publish","messages":{})", count));
    }
    if (!client.flights.empty()) client.start_pumping();
    return count;
}

std::vector<Receipt> SimBroker::poll(Milliseconds deadline) {
    client_->poll_wait = client_->ready.empty() ? Duration{deadline} : Duration{};
    client_->settled_a_break = false;
    std::vector<Receipt> receipts;
    for (auto& [receipt, event] : std::exchange(client_->ready, {})) {
        if (receipt.state == Receipt::State::accepted) {
            client_->destination.history().on_accepted(event);
        }
        receipts.push_back(std::move(receipt));
    }
    return receipts;
}

std::string SimBroker::down() const {
    return client_->destination.is_down() ? "the simulated destination is down" : "";
}

void SimBroker::abandon(Milliseconds) {
    for (const auto& flight : client_->flights) {
        client_->ready.push_back({{flight.token, Receipt::State::unknown, "", ""}, flight.event});
        client_->settled_a_break = true;
    }
    client_->flights.clear();
}

void SimBroker::wake_by(std::function<void()> wake) { client_->wake = std::move(wake); }
Duration SimBroker::poll_wait() const { return client_->poll_wait; }
void SimBroker::forget_poll() { client_->poll_wait = Duration{}; }
void SimBroker::freeze(Instant until) { client_->frozen_until = until; }

}  // namespace sagaz::simulation
