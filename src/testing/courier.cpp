#include <sagaz/testing/broker_conformance.hpp>

#include <chrono>
#include <utility>

namespace sagaz::inline v0::testing {

namespace {

constexpr std::size_t kChunk = 500;  // Envelopes offered at once, as a relay's batch would be.

}  // namespace

struct Courier::Run {
    std::span<const Sample> samples;
    std::vector<Receipt> outcome;
    std::vector<bool> decided;
    std::vector<std::size_t> sent{};  // By token - first_token: the sample's index.
    std::uint64_t first_token{};
    std::size_t next{};  // The next sample to publish.
    std::size_t left{};
};

namespace {

Envelope to_envelope(const Sample& sample, std::uint64_t token, std::vector<HeaderView>& headers) {
    headers.clear();
    for (const Header& header : sample.headers) headers.push_back({header.name, header.value});
    Envelope envelope;
    envelope.token = token;
    envelope.topic = sample.topic;
    if (sample.key) envelope.key = *sample.key;
    envelope.headers = headers;
    envelope.payload = sample.payload;
    return envelope;
}

}  // namespace

std::vector<Receipt> Courier::deliver(std::span<const Sample> samples, Milliseconds deadline) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    Run run{samples, std::vector<Receipt>(samples.size()), std::vector<bool>(samples.size())};
    run.first_token = next_token_;
    run.left = samples.size();
    while (run.left > 0 && std::chrono::steady_clock::now() < end) {
        std::vector<Envelope> offered;
        std::vector<std::vector<HeaderView>> headers(kChunk);
        std::vector<std::size_t> indices;
        for (std::size_t at = run.next; at < samples.size() && offered.size() < kChunk; ++at) {
            if (run.decided[at]) continue;
            offered.push_back(
                to_envelope(samples[at], next_token_ + offered.size(), headers[offered.size()]));
            indices.push_back(at);
        }
        const std::size_t taken = offered.empty() ? 0 : broker_.publish(offered);
        for (std::size_t n = 0; n < taken; ++n) run.sent.push_back(indices[n]);
        next_token_ += taken;
        if (taken > 0) run.next = indices[taken - 1] + 1;
        const bool wait = taken < kChunk;
        bool broken = false;
        for (Receipt& receipt : broker_.poll(Milliseconds{wait ? 100 : 0})) {
            const std::size_t at = run.sent.at(receipt.token - run.first_token);
            const bool final = receipt.state != Receipt::State::unknown;
            broken = broken || receipt.state != Receipt::State::accepted;
            repeats_ += final ? 0 : 1;
            if (final && !run.decided[at]) {
                run.decided[at] = true;
                --run.left;
            }
            run.outcome[at] = std::move(receipt);
        }
        if (broken) run.next = 0;  // From the first that is not decided.
    }
    return std::move(run.outcome);
}

}  // namespace sagaz::inline v0::testing
