#include "core/stopped_index.hpp"

namespace sagaz::inline v0::core {

StoppedIndex::Stop* StoppedIndex::find(const std::string& key) {
    const auto found = stops_.find(key);
    return found == stops_.end() ? nullptr : &found->second;
}

StoppedIndex::Stop& StoppedIndex::add(const std::string& key, const StoppedKey& words,
                                      Instant due) {
    const auto [node, is_new] = stops_.try_emplace(key);
    Stop& stop = node->second;
    if (is_new) {
        stop.due = due;
        queue_.insert(&*node);
    }
    Ways ways = stop.ways == nullptr ? Ways{} : *stop.ways;
    if (words.topic.empty()) {
        ways.types.insert(words.event_type);
    } else {
        ways.by_topic = true;
    }
    stop.ways = &*ways_.insert(std::move(ways)).first;
    return stop;
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
