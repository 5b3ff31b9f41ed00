#include "core/stopped_index.hpp"

#include <algorithm>
#include <functional>
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

bool StoppedIndex::is_other(const std::string& key) const {
    return !others_.empty() && std::ranges::binary_search(others_, hash_of(key));
}

void StoppedIndex::forget(const std::vector<std::string>& keys) {
    if (keys.empty()) return;
    for (const std::string& key : keys) {
        others_.push_back(hash_of(key));
        erase(key);
    }
    std::ranges::sort(others_);
    const auto repeated = std::ranges::unique(others_);
    others_.erase(repeated.begin(), repeated.end());
}

void StoppedIndex::take(std::vector<Found> found, std::size_t max) {
    others_.clear();
    std::vector<std::pair<std::uint64_t, Found*>> rest;
    for (Found& one : found) {
        const auto known = stops_.find(one.key);
        if (known == stops_.end()) {
            rest.emplace_back(hash_of(one.key), &one);
            continue;
        }
        add(one.key, one.words, Instant{});
    }
    // Of those not found all is in memory, so their words are known as well.
    for (Node& node : stops_) {
        if (!std::exchange(node.second.is_waiting, false)) continue;
        node.second.due = Instant{};
        queue_.insert(&node);
    }
    const auto order = [this](const auto& one) { return one.first - turn_ - 1; };  // Wraps.
    std::ranges::sort(rest, {}, order);
    std::size_t n = 0;
    // However many must stay, some have their turn.
    const std::size_t room = std::max(max, stops_.size() + (max + 1) / 2);
    // All of a hash or none: a name must not stand beside its own hash.
    while (n < rest.size() &&
           (stops_.size() < room || (n > 0 && rest[n].first == rest[n - 1].first))) {
        add(rest[n].second->key, rest[n].second->words, Instant{});
        ++n;
    }
    if (n > 0) turn_ = rest[n - 1].first;
    for (; n < rest.size(); ++n) others_.push_back(rest[n].first);
    std::ranges::sort(others_);
    others_.shrink_to_fit();
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
