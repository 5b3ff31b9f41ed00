// Why this keeps the three promises of <sagaz/broker.hpp>.
//
// One receipt. Every envelope taken is in the window (it went to the client) or in `held_` (we
// refused it ourselves). The client reports each message exactly once; the window asserts it.
//
// No overtaking. Within a partition the client sends in order, one request at a time
// (max.in.flight=1), and a message never expires (message.timeout.ms=0). Five requests in flight,
// which idempotence allows, would not do: the server checks sequence numbers only against what it
// remembers of a producer id, and of a new id (or one silent for a day) it remembers nothing, so
// when the first batch is refused it takes the second, whatever its number. Seen with Apache
// Kafka 4.3.1; `F32_ARefusalByTheServerIsNeverOvertaken` holds it. Even `enable.gapless.guarantee`
// with one request in flight is not enough, since the client has the next request ready and may
// send it before its own purge arrives: so the first message that fails, for whatever reason, cuts
// the producer's connections in the client's thread that found out (`Lifeline`). That thread is
// the one that would send the partition's next request, and it does so after its reports; a topic
// that vanishes and comes back is covered in the same way. (What one request in flight costs:
// docs/internals/adr/0006-one-request-in-flight.md.) A leader that changes, a lost connection or an
// error that is retried makes the client drain the partition first. What we refuse ourselves never
// reaches the client, and nothing is taken after it until it is handed out.
//
// A break settles everything. The first report that is not an acceptance, and any fatal error,
// ends the producer: nothing more is taken, what was not sent is purged at once, what was sent has
// `kInFlightGrace` to be answered (each answer spares a repeat) and is purged then, and no failure
// is handed out before the client has reported every message. Then the producer is destroyed and
// the next `publish` or `poll` makes a new one. Our own refusals wait in the same way for what was
// taken before them, but without hurting it.
//
// What if a request of the old producer was already in the server's socket? Then it may be appended
// late, beside what the new producer sends. That cannot reorder first arrivals: per partition at
// most one request was on its way, and it holds, in order and without gap, the oldest messages that
// were not accepted. The caller publishes again from its first envelope that was not accepted. So
// there are two streams of the same messages, each in order and each starting at that first one;
// however they interleave, the first copy of a message arrives after the first copies of all before
// it, because both streams hold those before it. (An event that the server refused and the caller
// parked is not in the new stream; its request was answered, so it is not in the old one.) What
// remains is a repeat: same id, same bytes.
// For the same reason `abandon` may return at its deadline although a broker thread of the client
// hangs in a name lookup and will only then see the purge.
//
// Trouble of the destination refuses nothing. Only errors named as refusals in kafka_errors.cpp
// are; all others are `unknown`, and a producer that fails without anything accepted or refused is
// followed by the next after a growing pause.
#include "brokers/kafka/kafka_broker.hpp"

#include "brokers/kafka/kafka_errors.hpp"
#include "brokers/kafka/topic_name.hpp"
#include "core/assert.hpp"
#include "core/clock.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace sagaz::inline v0::kafka {

namespace {

using namespace std::chrono_literals;

constexpr auto kInFlightGrace = 500ms;
constexpr auto kPurgeAgain = 100ms;
constexpr auto kBackoffMin = 100ms;
constexpr auto kBackoffMax = 5'000ms;
constexpr auto kProbeUnreachable = 250ms;
constexpr auto kProbeStalled = 1'000ms;  // Also: how old the oldest envelope is before we ask why.
constexpr auto kProbeConnected = 100ms;
constexpr auto kProbeAnswered = 2'000ms;
constexpr auto kSilent = 5'000ms;
constexpr auto kServeWhileBreaking = 20ms;
constexpr auto kServeWhileAsking = 10ms;
constexpr auto kServeBetweenChecks = 100ms;

// Upper bounds of what the record format v2 adds: batch and record header, and the lengths of one
// header (https://kafka.apache.org/documentation/#recordbatch).
constexpr std::size_t kFraming = 61 + 40;
constexpr std::size_t kHeaderFraming = 10;

std::size_t size_of(const Envelope& envelope) {
    std::size_t bytes =
        kFraming + envelope.payload.size() + (envelope.key ? envelope.key->size() : 0);
    for (const HeaderView& header : envelope.headers) {
        bytes += kHeaderFraming + header.name.size() + header.value.size();
    }
    return bytes;
}

std::string of_topic(std::string_view name) { return "topic '" + std::string{name} + "': "; }

Options checked(Options options) {
    check(options);
    try_out(make_conf(options, Batching{}));
    return options;
}

}  // namespace

std::unique_ptr<Broker> open(Options options) {
    return std::make_unique<KafkaBroker>(std::move(options));
}

std::unique_ptr<Broker> open_for_publisher(Options options) {
    return open(prompt(std::move(options)));
}

KafkaBroker::KafkaBroker(Options options)
    : options_(checked(std::move(options))),
      message_max_(message_max(options_)),
      window_(options_.queue_max, options_.queue_max_bytes),
      random_(std::random_device{}()),
      unreachable_("not connected yet to " + options_.bootstrap_servers),
      producer_(make_producer()) {}

std::unique_ptr<Producer> KafkaBroker::make_producer() {
    ProducerEvents& events = *this;
    return std::make_unique<Producer>(make_conf(options_, isolation_.batching()), events);
}

KafkaBroker::~KafkaBroker() {
    if (!producer_) return;
    producer_->detach();
    if (!window_.empty()) producer_->purge(true);
}

std::string_view KafkaBroker::refusal(const Envelope& envelope, std::size_t bytes) const {
    if (!is_topic_name(envelope.topic)) return "invalid_topic";
    if (bytes > message_max_) return "payload_too_large";
    return {};
}

std::size_t KafkaBroker::publish(std::span<const Envelope> envelopes) {
    const auto now = Clock::now();
    if (state_ != State::flowing || !ensure_producer(now)) return 0;
    std::size_t taken = 0;
    while (taken < envelopes.size() && state_ == State::flowing && take(envelopes[taken], now)) {
        ++taken;
    }
    return taken;
}

// True when the envelope is ours now; a refusal of our own counts, and changes the state.
bool KafkaBroker::take(const Envelope& envelope, Clock::time_point now) {
    const std::size_t bytes = size_of(envelope);
    if (const std::string_view reason = refusal(envelope, bytes); !reason.empty()) {
        refuse(envelope.token, reason,
               reason == "payload_too_large"
                   ? std::to_string(bytes) + " bytes with key, headers and framing; at most " +
                         std::to_string(message_max_) + " leave this relay"
                   : std::string{"no name that Kafka allows"});
        return true;
    }
    if (!window_.has_room_for(bytes)) return false;
    const rd_kafka_resp_err_t error = producer_->send(window_.next(), envelope);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        window_.add(envelope.token, bytes, now);
        return true;
    }
    if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) return false;
    const Verdict said = verdict(error);
    if (said.state == Receipt::State::refused) {
        refuse(envelope.token, said.reason, of_topic(envelope.topic) + rd_kafka_err2str(error));
        return true;
    }
    // The producer is finished, by a fatal error that was not polled yet or by one we do not know.
    last_error_ = rd_kafka_err2str(error);
    begin_break(now);
    return false;
}

void KafkaBroker::refuse(std::uint64_t token, std::string_view reason, std::string_view seen) {
    held_.push_back(
        {token, Receipt::State::refused, std::string{reason}, refusal_detail(reason, seen)});
    state_ = State::settling;
}

std::vector<Receipt> KafkaBroker::poll(Milliseconds deadline) {
    const auto end = Clock::now() + deadline;
    while (true) {
        wait_for_events(end);
        const auto now = Clock::now();
        advance(now);
        look_after_health(now);
        // While settling or breaking, what is ready waits for the rest as long as there is time.
        if (!ready_.empty() && state_ == State::flowing) break;
        if (Clock::now() >= end) break;
    }
    return std::exchange(ready_, {});
}

void KafkaBroker::wait_for_events(Clock::time_point end) {
    const auto now = Clock::now();
    const bool ready = !ready_.empty() && state_ == State::flowing;
    const Milliseconds left = ready ? 0ms : core::milliseconds_until(now, end);
    if (ensure_producer(now)) {
        producer_->serve(std::min(left, time_to_serve()));
    } else {
        std::this_thread::sleep_for(std::min(left, core::milliseconds_until(now, retry_at_)));
    }
}

Milliseconds KafkaBroker::time_to_serve() const {
    if (state_ != State::flowing) return kServeWhileBreaking;
    return producer_->is_asking() ? kServeWhileAsking : kServeBetweenChecks;
}

bool KafkaBroker::ensure_producer(Clock::time_point now) {
    if (producer_ && state_ == State::flowing && isolation_.done()) {
        if (!window_.empty()) return true;
        isolation_.end();
        retire_producer();
    }
    if (producer_) return true;
    if (now < retry_at_) return false;
    progress_ = false;
    try {
        producer_ = make_producer();
        return true;
    } catch (const Error& error) {
        // It worked at open, so time may heal it: a certificate that is just being replaced.
        last_error_ = error.what();
        back_off(now);
        return false;
    }
}

void KafkaBroker::advance(Clock::time_point now) {
    if (state_ != State::breaking && producer_ && !producer_->fatal().empty()) begin_break(now);
    if (state_ == State::breaking) {
        if (window_.empty()) {
            finish_break(now);
        } else if (now >= purge_at_) {
            producer_->purge(true);
            purge_at_ = now + kPurgeAgain;
        }
    }
    if (state_ == State::settling && window_.empty()) {
        ready_.insert(ready_.end(), std::make_move_iterator(held_.begin()),
                      std::make_move_iterator(held_.end()));
        held_.clear();
        state_ = State::flowing;
    }
}

void KafkaBroker::on_delivery(const Delivery& delivery) {
    const std::uint64_t token = window_.settle(delivery.sequence);
    if (delivery.error == RD_KAFKA_RESP_ERR_NO_ERROR && delivery.persisted) {
        ready_.push_back({token, Receipt::State::accepted, {}, {}});
        progress_ = true;
        backoff_ = 0ms;
        isolation_.answered(false);
        unreachable_.clear();
        alarm_ = false;
        news_ = News::accepted;
        if (window_.empty()) stalled_.clear();
        return;
    }
    const rd_kafka_resp_err_t error = delivery.error == RD_KAFKA_RESP_ERR_NO_ERROR
                                          ? RD_KAFKA_RESP_ERR__FAIL  // Not persisted: unknown.
                                          : delivery.error;
    failures_.push_back(
        {token, error, delivery.topic, delivery.partition, std::string{delivery.topic_name}});
    if (state_ != State::breaking) begin_break(Clock::now());
}

void KafkaBroker::begin_break(Clock::time_point now) {
    state_ = State::breaking;
    purge_at_ = now + kInFlightGrace;
    producer_->purge(false);
}

void KafkaBroker::finish_break(Clock::time_point now) {
    const std::string fatal = producer_->fatal();
    if (!fatal.empty()) last_error_ = fatal;
    const bool decided = hand_out_failures();
    ready_.insert(ready_.end(), std::make_move_iterator(held_.begin()),
                  std::make_move_iterator(held_.end()));
    held_.clear();
    retire_producer();
    if (progress_ || decided) {
        retry_at_ = now;
    } else {
        back_off(now);
    }
    state_ = State::flowing;
}

// The failures as receipts. True when that brought us on: one was refused, or a suspect batch
// found.
bool KafkaBroker::hand_out_failures() {
    std::map<std::pair<const void*, std::int32_t>, std::size_t> batches;
    for (const Failure& failure : failures_) {
        if (verdict(failure.error).of_batch) ++batches[{failure.topic, failure.partition}];
    }
    bool refused = false;
    bool suspects = false;
    for (const Failure& failure : failures_) {
        const Verdict said = verdict(failure.error);
        Receipt receipt{failure.token, said.state, said.reason, rd_kafka_err2str(failure.error)};
        if (said.of_batch && batches[{failure.topic, failure.partition}] > 1) {
            receipt.state = Receipt::State::unknown;
            receipt.reason.clear();
            suspects = true;
        } else if (said.state == Receipt::State::refused) {
            refused = true;
            isolation_.answered(true);
            receipt.detail =
                refusal_detail(said.reason, of_topic(failure.topic_name) + receipt.detail);
        }
        ready_.push_back(std::move(receipt));
    }
    if (suspects) isolation_.begin(failures_.size());
    failures_.clear();
    return refused || suspects;
}

void KafkaBroker::back_off(Clock::time_point now) {
    backoff_ = std::clamp<Milliseconds>(backoff_ * 2, kBackoffMin, kBackoffMax);
    std::uniform_int_distribution<Milliseconds::rep> jitter{backoff_.count() / 2, backoff_.count()};
    retry_at_ = now + Milliseconds{jitter(random_)};
    unreachable_ = "the Kafka client gave up: " + last_error_;
}

// Joining the client's threads can take as long as a name lookup, or as a question that nobody
// answers, so another thread does it.
void KafkaBroker::retire_producer() {
    producer_->detach();
    // The one before goes along, since nobody is to wait for it here.
    reaper_ = std::jthread{[before = std::move(reaper_), retired = std::move(producer_)]() mutable {
        retired.reset();
    }};
    ++retired_;
    alarm_ = false;
}

void KafkaBroker::on_error(rd_kafka_resp_err_t error, std::string_view text) {
    if (state_ == State::breaking) return;  // Its connections were cut; that is no news.
    if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        alarm_ = true;
        news_ = News::alarm;
        probe_at_ = {};
        return;
    }
    last_error_ = text;
    if (!unreachable_.empty() && producer_) unreachable_ = unreachable_text();
}

std::string KafkaBroker::unreachable_text() const {
    return "no server of " + options_.bootstrap_servers + " can be reached" +
           (last_error_.empty() ? "" : ": " + last_error_);
}

// The client does not say that a server is back, nor that a partition lacks its leader; and it says
// that all are gone when the only connection was closed for being idle. So, when there is a reason
// to, ask a server. The question outlives a `poll`: a server whose answers take longer than the
// caller gives us is as well as any other, up to a second.
void KafkaBroker::look_after_health(Clock::time_point now) {
    if (!producer_ || state_ == State::breaking) return;
    const auto waiting = window_.empty() ? Clock::duration{} : now - window_.oldest_since();
    const bool stalled = waiting >= kProbeStalled;
    if (producer_->is_asking()) {
        if (const auto probe = producer_->answer()) hear(*probe, now, waiting);
        return;
    }
    if (unreachable_.empty() && !alarm_ && !stalled) {
        stalled_.clear();
    } else if (now >= probe_at_) {
        news_ = News::none;
        producer_->ask(kProbeConnected, kProbeAnswered);
    }
}

void KafkaBroker::hear(const Probe& probe, Clock::time_point now, Clock::duration waiting) {
    const bool gone = !unreachable_.empty() || alarm_;
    probe_at_ = now + (gone ? kProbeUnreachable : kProbeStalled);
    if (probe.answer != Probe::Answer::reached && news_ == News::accepted) return;  // Out of date.
    switch (probe.answer) {
        case Probe::Answer::reached:
            if (news_ == News::alarm) {  // It may have been reached before.
                probe_at_ = now;
                break;
            }
            unreachable_.clear();
            alarm_ = false;
            stalled_ = waiting >= kProbeStalled ? probe.trouble : std::string{};
            break;
        case Probe::Answer::unreachable: unreachable_ = unreachable_text(); break;
        case Probe::Answer::silent:
            if (waiting >= kSilent) unreachable_ = unreachable_text() + " (no answer)";
            break;
    }
}

std::string KafkaBroker::down() const { return unreachable_.empty() ? stalled_ : unreachable_; }

void KafkaBroker::abandon(Milliseconds deadline) {
    const auto end = Clock::now() + deadline;
    if (window_.empty() && held_.empty() && state_ != State::breaking) return;
    SAGAZ_ASSERT(producer_ != nullptr);  // Only `finish_break` takes it away, with all it had.
    if (state_ != State::breaking) begin_break(Clock::now());
    producer_->purge(true);
    while (!window_.empty() && Clock::now() < end) {
        producer_->serve(std::min<Milliseconds>(core::milliseconds_until(Clock::now(), end),
                                                kServeWhileBreaking));
        if (!window_.empty()) producer_->purge(true);
    }
    while (!window_.empty()) {
        failures_.push_back(
            {window_.settle(window_.oldest()), RD_KAFKA_RESP_ERR__TIMED_OUT, {}, {}, {}});
    }
    progress_ = true;  // Nobody's fault: the next producer may start at once.
    finish_break(Clock::now());
}

}  // namespace sagaz::inline v0::kafka
