#include "tests/support/history.hpp"

#include <array>
#include <istream>
#include <ostream>
#include <stdexcept>
#include <utility>

namespace sagaz::history {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<Type, std::string_view>, 4> kTypes{
    {{Type::invoke, "invoke"}, {Type::ok, "ok"}, {Type::fail, "fail"}, {Type::info, "info"}}};

Type parse_type(std::string_view word) {
    for (const auto& [type, name] : kTypes) {
        if (name == word) return type;
    }
    throw std::runtime_error("type is none of invoke, ok, fail, info");
}

/// Takes `name` out of `object`, so that what is left at the end is the recorder's own.
template <class T>
bool take(Json& object, const char* name, T& into) {
    const auto found = object.find(name);
    if (found == object.end()) return false;
    into = found->template get<T>();
    object.erase(found);
    return true;
}

template <class T>
void take(Json& object, const char* name, std::optional<T>& into) {
    T value{};
    if (take(object, name, value)) into = std::move(value);
}

template <class T>
void require(Json& object, const char* name, T& into) {
    if (!take(object, name, into)) throw std::runtime_error(std::string("lacks ") + name);
}

}  // namespace

std::string_view to_string(Type type) noexcept {
    for (const auto& [candidate, name] : kTypes) {
        if (candidate == type) return name;
    }
    return "unknown";
}

std::string to_line(const Operation& operation) {
    Json line;
    line["seed"] = operation.seed;
    line["proc"] = operation.proc;
    line["monotonic_ns"] = operation.monotonic_ns;
    line["idx"] = operation.idx;
    line["f"] = operation.f;
    line["type"] = to_string(operation.type);
    if (!operation.topic.empty()) line["topic"] = operation.topic;
    if (operation.key) line["key"] = *operation.key;
    if (!operation.id.empty()) line["id"] = operation.id;
    if (operation.order) line["order"] = *operation.order;
    if (!operation.digest.empty()) line["digest"] = operation.digest;
    if (operation.partition) line["partition"] = *operation.partition;
    if (operation.offset) line["offset"] = *operation.offset;
    if (!operation.detail.empty()) line["detail"] = operation.detail;
    if (operation.extra.is_object()) line.update(operation.extra);
    return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Operation parse_line(std::string_view line) {
    Json object;
    try {
        object = Json::parse(line);
    } catch (const Json::exception& error) {
        throw std::runtime_error(std::string("is not JSON: ") + error.what());
    }
    if (!object.is_object()) throw std::runtime_error("is not a JSON object");
    Operation operation;
    std::string type;
    try {
        require(object, "seed", operation.seed);
        require(object, "proc", operation.proc);
        require(object, "monotonic_ns", operation.monotonic_ns);
        require(object, "idx", operation.idx);
        require(object, "f", operation.f);
        require(object, "type", type);
        take(object, "topic", operation.topic);
        take(object, "key", operation.key);
        take(object, "id", operation.id);
        take(object, "order", operation.order);
        take(object, "digest", operation.digest);
        take(object, "partition", operation.partition);
        take(object, "offset", operation.offset);
        take(object, "detail", operation.detail);
    } catch (const Json::exception& error) {
        throw std::runtime_error(std::string("has a member of another kind: ") + error.what());
    }
    operation.type = parse_type(type);
    if (!object.empty()) operation.extra = std::move(object);
    return operation;
}

void Writer::write(Operation operation) {
    operation.seed = seed_;
    operation.idx = next_++;
    stream_ << to_line(operation) << '\n';
    if (operation.f == "fault") stream_.flush();
}

std::optional<Operation> Reader::next() {
    std::string line;
    if (!std::getline(stream_, line)) return std::nullopt;
    const std::string where = "history line " + std::to_string(expected_ + 1) + " ";
    Operation operation;
    try {
        operation = parse_line(line);
    } catch (const std::runtime_error& error) {
        throw std::runtime_error(where + error.what());
    }
    if (operation.idx != expected_) {
        throw std::runtime_error(where + "has idx " + std::to_string(operation.idx));
    }
    if (seed_ && *seed_ != operation.seed) throw std::runtime_error(where + "has another seed");
    seed_ = operation.seed;
    ++expected_;
    return operation;
}

}  // namespace sagaz::history
