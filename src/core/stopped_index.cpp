#include "core/stopped_index.hpp"

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

namespace sagaz::inline v0::core {
namespace {

constexpr std::size_t kWaysMin = 16;  ///< So many sets of words are no matter.

}  // namespace

StoppedIndex::Stop* StoppedIndex::find(const std::string& key) {
    const auto found = stops_.find(key);
    return found == stops_.end() ? nullptr : &found->second;
}

std::uint64_t StoppedIndex::hash_of(const std::string& key) {
    return std::hash<std::string>{}(key);
}

const StoppedIndex::Other* StoppedIndex::find_in(const std::vector<Other>& others,
                                                 std::uint64_t hash) {
    const auto found = std::ranges::lower_bound(others, hash, {}, &Other::hash);
    return found == others.end() || found->hash != hash ? nullptr : &*found;
}

bool StoppedIndex::is_other(const std::string& key) const {
    return !others_.empty() && find_in(others_, hash_of(key)) != nullptr;
}

void StoppedIndex::forget(const std::vector<std::string>& keys) {
    if (keys.empty()) return;
    const std::size_t sorted = others_.size();
    for (const std::string& key : keys) {
        const Stop& stop = at(key);
        if (!stop.is_waiting) {  // Else its hash is there.
            const auto due = std::chrono::floor<Milliseconds>(stop.due.time_since_epoch());
            others_.push_back({hash_of(key), 2 * due.count() + (stop.is_dead ? 1 : 0)});
        }
        erase(key);
    }
    order_others(sorted);
}

// The first `sorted` are. Of those with one hash the first to be due stands for all.
void StoppedIndex::order_others(std::size_t sorted) {
    const auto order = [](const Other& one, const Other& other) {
        if (one.hash != other.hash) return one.hash < other.hash;
        return one.is_dead() != other.is_dead() ? other.is_dead() : one.mark < other.mark;
    };
    const auto middle = others_.begin() + static_cast<std::ptrdiff_t>(sorted);
    std::sort(middle, others_.end(), order);
    std::inplace_merge(others_.begin(), middle, others_.end(), order);
    const auto repeated = std::ranges::unique(others_, {}, &Other::hash);
    others_.erase(repeated.begin(), repeated.end());
    first_other_due_ = first_living_other_due_ = Instant::max();
    for (const Other& other : others_) {
        first_other_due_ = std::min(first_other_due_, other.due());
        if (other.is_dead()) continue;
        first_living_other_due_ = std::min(first_living_other_due_, other.due());
    }
}

void StoppedIndex::take(const std::vector<Found>& found, std::size_t max, Instant now) {
    const auto before = std::exchange(others_, {});
    std::vector<std::pair<Other, const Found*>> rest;
    for (const Found& one : found) {
        if (contains(one.key)) {
            add(one.key, one.words, Instant{});
            continue;
        }
        const std::uint64_t hash = hash_of(one.key);
        const Other* known = find_in(before, hash);
        rest.emplace_back(known == nullptr ? Other{hash, 0} : *known, &one);
    }
    // Of those not found all is in memory, so their words are known as well.
    for (Node& node : stops_) {
        if (!std::exchange(node.second.is_waiting, false)) continue;
        node.second.due = Instant{};
        queue_.insert(&node);
    }
    std::ranges::sort(rest, {}, [now](const auto& one) {
        const Other& other = one.first;
        const int rank = other.due() > now ? 2 : other.is_dead() ? 1 : 0;
        return std::tuple{rank, other.mark, other.hash};
    });
    std::size_t n = 0;
    // However many must stay, some have their turn.
    const std::size_t room = std::max(max, stops_.size() + (max + 1) / 2);
    // All of a hash or none: a name must not stand beside its own hash.
    while (n < rest.size() &&
           (stops_.size() < room || (n > 0 && rest[n].first.hash == rest[n - 1].first.hash))) {
        add(rest[n].second->key, rest[n].second->words, Instant{});
        ++n;
    }
    others_.reserve(rest.size() - n);
    for (; n < rest.size(); ++n) others_.push_back(rest[n].first);
    order_others(0);
}

StoppedIndex::Stop& StoppedIndex::add(const std::string& key, const StoppedKey& words,
                                      Instant due) {
    const auto [node, is_new] = stops_.try_emplace(key);
    Stop& stop = node->second;
    if (is_new) {
        stop.due = due;
        stop.is_waiting = is_other(key);
        if (!stop.is_waiting) queue_.insert(&*node);
    }
    Ways ways = stop.ways == nullptr ? Ways{} : *stop.ways;
    if (words.topic.empty()) {
        ways.types.insert(words.event_type);
    } else {
        ways.by_topic = true;
    }
    stop.ways = &*ways_.insert(std::move(ways)).first;
    if (ways_.size() > 2 * stops_.size() + kWaysMin) drop_unused_ways();
    return stop;
}

// Keys come and go, and with them the sets that their events' types make.
void StoppedIndex::drop_unused_ways() {
    std::set<const Ways*> used;
    for (const auto& [key, stop] : stops_) used.insert(stop.ways);
    std::erase_if(ways_, [&](const Ways& ways) { return !used.contains(&ways); });
}

void StoppedIndex::erase(const std::string& key) {
    const auto node = stops_.find(key);
    if (node == stops_.end()) return;
    queue_.erase(&*node);
    stops_.erase(node);
}

void StoppedIndex::schedule(const std::string& key, Instant due) {
    const auto node = stops_.find(key);
    if (node == stops_.end()) return;
    auto place = queue_.extract(&*node);  // Before the key of its order changes.
    node->second.due = due;
    queue_.insert(std::move(place));
}

bool StoppedIndex::is_looked_through() const noexcept {
    const auto next = std::ranges::find_if(
        queue_, [](const Node* node) { return node->second.due != kJustRefused; });
    return next == queue_.end() || (*next)->second.due > Instant{};
}

Instant StoppedIndex::first_due() const noexcept {
    return queue_.empty() ? Instant::max() : (*queue_.begin())->second.due;
}

std::vector<std::string> StoppedIndex::due(Instant now, std::size_t max) const {
    std::vector<std::string> keys;
    for (const Node* node : queue_) {
        if (node->second.due > now || keys.size() == max) break;
        keys.push_back(node->first);
    }
    return keys;
}

std::vector<StoppedKey> StoppedIndex::words_of(const std::string& key, std::int16_t slot) const {
    const auto end = key.find('\0');
    const std::string text = key.substr(end + 1);
    const Ways& ways = *at(key).ways;
    std::vector<StoppedKey> words;
    if (ways.by_topic) words.push_back({slot, key.substr(0, end), text, ""});
    for (const std::string& type : ways.types) words.push_back({slot, "", text, type});
    return words;
}

}  // namespace sagaz::inline v0::core
