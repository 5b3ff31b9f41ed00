#include "app/verify/account.hpp"

#include <sagaz/error.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace sagaz::verify {

namespace {

constexpr const char* kTables = R"(
CREATE TABLE truth (
    id BLOB PRIMARY KEY, key BLOB, ord INTEGER NOT NULL, topic INTEGER, payload BLOB,
    event_type BLOB, content_type BLOB, source BLOB, headers BLOB,
    arrivals INTEGER NOT NULL DEFAULT 0, seen BLOB
) WITHOUT ROWID;
CREATE TABLE highest (
    topic INTEGER NOT NULL, key BLOB NOT NULL, partition INTEGER NOT NULL,
    ord INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (topic, key, partition)
) WITHOUT ROWID;
BEGIN)";

std::string_view bytes_of(const Id& id) {
    return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

Id id_of(std::string_view bytes) {
    Id id;
    std::transform(bytes.begin(), bytes.end(), id.bytes.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
    return id;
}

std::string_view view_of(const Digest& digest) { return {digest.data(), digest.size()}; }

class Hash {
public:
    Hash() : context_(EVP_MD_CTX_new()) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_md5(), nullptr) != 1) {
            throw Error(ErrorKind::fatal, "no_md5", "the cryptography library refuses MD5",
                        "Run verify where OpenSSL is not in FIPS mode.");
        }
    }
    /// A part with its length, so that moving a byte from one part to the next is seen.
    void add_part(std::string_view bytes) {
        const std::uint64_t size = bytes.size();
        add(std::string_view(reinterpret_cast<const char*>(&size), sizeof size));
        add(bytes);
    }
    void add(std::string_view bytes) {
        EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
    }
    Digest finish() {
        Digest digest{};
        EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()),
                           nullptr);
        return digest;
    }

private:
    struct Free {
        void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
    };
    std::unique_ptr<EVP_MD_CTX, Free> context_;
};

Digest digest_of_message(const Arrival& message) {
    Hash hash;
    hash.add_part(message.topic);
    hash.add_part(message.key ? "key" : "");
    hash.add_part(message.key.value_or(""));
    for (const HeaderView& header : message.headers) {
        hash.add_part(header.name);
        hash.add_part(header.value);
    }
    hash.add_part(message.payload);
    return hash.finish();
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Those that sagaz writes itself (docs/reference/wire.md); an event's own never have such names.
bool is_of_sagaz(std::string_view name) {
    std::string small{name.substr(0, 16)};
    std::transform(small.begin(), small.end(), small.begin(), lower);
    return small.starts_with("ce_") || small == "content-type" || small == "message_id";
}

std::vector<HeaderView> own_of(std::span<const HeaderView> headers) {
    std::vector<HeaderView> own;
    std::copy_if(headers.begin(), headers.end(), std::back_inserter(own),
                 [](const HeaderView& header) { return !is_of_sagaz(header.name); });
    return own;
}

constexpr char kInOrder = 'o';
constexpr char kInAnyOrder = 'a';

/// What is kept of an event's own headers: whether their order counts, and a digest.
std::string mark_of(std::vector<HeaderView> own, char order) {
    if (order == kInAnyOrder) {
        std::sort(own.begin(), own.end(), [](const HeaderView& a, const HeaderView& b) {
            return std::tie(a.name, a.value) < std::tie(b.name, b.value);
        });
    }
    Hash hash;
    for (const HeaderView& header : own) {
        hash.add_part(header.name);
        hash.add_part(header.value);
    }
    return order + std::string(view_of(hash.finish()));
}

std::string mark_of(const OwnHeaders& given) {
    std::vector<HeaderView> views;
    views.reserve(given.headers.size());
    for (const Header& header : given.headers) views.push_back({header.name, header.value});
    return mark_of(own_of(views), given.keeps_order ? kInOrder : kInAnyOrder);
}

/// Names only: a value may be a secret.
std::string names_of(const std::vector<HeaderView>& own) {
    std::string names;
    for (const HeaderView& header : own) {
        names += (names.empty() ? "" : ", ") + std::string(header.name.substr(0, 64));
    }
    return names.empty() ? "none" : names;
}

struct Looked {
    std::size_t count{};
    std::string_view value{};
};

Looked look_for(std::string_view name, std::span<const HeaderView> headers) {
    Looked looked;
    for (const HeaderView& header : headers) {
        if (header.name != name) continue;
        if (looked.count++ == 0) looked.value = header.value;
    }
    return looked;
}

std::optional<Id> id_in(std::span<const HeaderView> headers, std::string& text) {
    for (const std::string_view name : {"ce_id", "message_id"}) {
        const Looked looked = look_for(name, headers);
        if (looked.count == 0) continue;
        text = looked.value.substr(0, 64);
        try {
            return Id::parse(looked.value);
        } catch (const Error&) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

}  // namespace

/// Copied out of the row, since marking and judging use the same connection.
struct Account::Known {
    std::int64_t arrivals{};
    std::int64_t order{};
    std::optional<std::string> key{};
    std::optional<std::int64_t> topic{};
    std::optional<std::string> payload{};
    std::optional<std::string> event_type{};
    std::optional<std::string> content_type{};
    std::optional<std::string> source{};
    std::optional<std::string> headers{};
    std::string seen{};
};

Digest digest_of(std::string_view bytes) {
    Hash hash;
    hash.add(bytes);
    return hash.finish();
}

std::string_view to_string(Damage damage) noexcept {
    switch (damage) {
        case Damage::missing: return "missing";
        case Damage::foreign: return "foreign";
        case Damage::inversion: return "inversion";
        case Damage::split_key: return "split_key";
        case Damage::wrong_topic: return "wrong_topic";
        case Damage::wrong_key: return "wrong_key";
        case Damage::wrong_payload: return "wrong_payload";
        case Damage::wrong_header: return "wrong_header";
        case Damage::wrong_repeat: return "wrong_repeat";
        case Damage::duplicate_truth: return "duplicate_truth";
    }
    return "unknown";
}

std::uint64_t Report::count(Damage damage) const {
    const auto found = damages.find(damage);
    return found == damages.end() ? 0 : found->second.count;
}

bool Report::is_damaged() const {
    return std::any_of(damages.begin(), damages.end(),
                       [](const auto& entry) { return entry.second.count > 0; });
}

namespace {

Scratch with_tables(std::size_t cache_bytes) {
    Scratch scratch(cache_bytes);
    scratch.execute(kTables);
    return scratch;
}

}  // namespace

Account::Account(Limits limits)
    : limits_(limits),
      scratch_(with_tables(limits.cache_bytes)),
      insert_truth_(scratch_.prepare(
          "INSERT INTO truth (id, key, ord, topic, payload, event_type, content_type, source, "
          "headers) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING RETURNING "
          "1")),
      mark_arrival_(scratch_.prepare(
          "UPDATE truth SET arrivals = arrivals + 1, seen = coalesce(seen, ?2) WHERE id = ?1 "
          "RETURNING arrivals, ord, key, topic, payload, event_type, content_type, seen, "
          "source, headers")),
      highest_(scratch_.prepare("SELECT partition, ord, id FROM highest "
                                "WHERE topic = ?1 AND key = ?2")),
      set_highest_(scratch_.prepare("REPLACE INTO highest (topic, key, partition, ord, id) "
                                    "VALUES (?1, ?2, ?3, ?4, ?5)")) {}

std::int64_t Account::number_of(std::string_view topic) {
    const auto found = topics_.find(topic);
    if (found != topics_.end()) return found->second;
    const auto number = static_cast<std::int64_t>(topics_.size());
    topics_.emplace(topic, number);
    return number;
}

std::vector<std::string> Account::topics_expected() {
    std::vector<std::string> names;
    names.reserve(topics_.size());
    for (const auto& [name, number] : topics_) names.push_back(name);
    return names;
}

void Account::expect(const Expected& event) {
    insert_truth_.bind_blob(1, bytes_of(event.id)).bind_blob(2, event.key).bind(3, event.order);
    if (event.topic) {
        insert_truth_.bind(4, number_of(*event.topic));
    } else {
        insert_truth_.bind_blob(4, std::nullopt);
    }
    insert_truth_.bind_blob(5,
                            event.payload ? std::optional(view_of(*event.payload)) : std::nullopt);
    insert_truth_.bind_blob(6, event.event_type).bind_blob(7, event.content_type);
    const std::string mark = event.headers ? mark_of(*event.headers) : "";
    insert_truth_.bind_blob(8, event.source)
        .bind_blob(9, event.headers ? std::optional<std::string_view>(mark) : std::nullopt);
    const bool is_new = insert_truth_.step();
    insert_truth_.run();
    if (is_new) {
        ++report_.expected;
        return;
    }
    Tally& tally = report_.damages[Damage::duplicate_truth];
    if (++tally.count <= limits_.samples_max) {
        Finding& sample = tally.samples.emplace_back();
        sample.id = event.id.text();
        sample.key = event.key;
        sample.detail = "the truth names this id again";
    }
}

void Account::found(Damage damage, const Arrival& message, const std::string& id,
                    std::string detail) {
    Tally& tally = report_.damages[damage];
    if (++tally.count > limits_.samples_max) return;
    Finding& sample = tally.samples.emplace_back();
    sample.id = id;
    sample.topic = message.topic;
    sample.key = message.key;
    sample.partition = message.partition;
    sample.offset = message.offset;
    sample.detail = std::move(detail);
}

void Account::arrive(const Arrival& message) {
    ++report_.messages;
    std::string id_text;
    const std::optional<Id> id = id_in(message.headers, id_text);
    if (!id) {
        found(Damage::foreign, message, id_text,
              id_text.empty() ? "has no id" : "has an id that is no UUID");
        return;
    }
    const Digest digest = digest_of_message(message);
    mark_arrival_.bind_blob(1, bytes_of(*id)).bind_blob(2, view_of(digest));
    if (!mark_arrival_.step()) {
        mark_arrival_.reset();
        found(Damage::foreign, message, id->text(), "is not in the truth");
        return;
    }
    Known known;
    known.arrivals = mark_arrival_.number(0);
    known.order = mark_arrival_.number(1);
    known.key = mark_arrival_.blob(2);
    known.topic = mark_arrival_.maybe_number(3);
    known.payload = mark_arrival_.blob(4);
    known.event_type = mark_arrival_.blob(5);
    known.content_type = mark_arrival_.blob(6);
    known.seen = mark_arrival_.blob(7).value_or("");
    known.source = mark_arrival_.blob(8);
    known.headers = mark_arrival_.blob(9);
    mark_arrival_.run();
    if (known.arrivals == 1) {
        ++report_.arrived;
    } else {
        ++report_.repeats;
        if (known.arrivals == 2) ++report_.repeated_events;
        if (known.seen != view_of(digest)) {
            found(Damage::wrong_repeat, message, id->text(), "differs from its first arrival");
        }
    }
    judge(message, *id, known);
}

void Account::judge(const Arrival& message, const Id& id, const Known& known) {
    if (known.topic && *known.topic != number_of(message.topic)) {
        found(Damage::wrong_topic, message, id.text(), "belongs to another topic");
    }
    if (known.key != message.key) {
        found(Damage::wrong_key, message, id.text(),
              known.key ? "its key should be \"" + *known.key + "\"" : "it should have no key");
    }
    if (known.payload && *known.payload != view_of(digest_of(message.payload))) {
        found(Damage::wrong_payload, message, id.text(),
              "its " + std::to_string(message.payload.size()) + " bytes have another digest");
    }
    judge_headers(message, id, known);
    if (known.arrivals == 1 && message.key) judge_order(message, id, known);
}

void Account::judge_headers(const Arrival& message, const Id& id, const Known& known) {
    struct Rule {
        std::string_view name{};
        std::optional<std::string_view> value{};  ///< None: anything but nothing.
    };
    const std::string text = id.text();
    const std::array<Rule, 6> rules{{{"ce_specversion", "1.0"},
                                     {"ce_id", text},
                                     {"ce_source", known.source},
                                     {"message_id", text},
                                     {"ce_type", known.event_type},
                                     {"content-type", known.content_type}}};
    std::string wrong;
    for (const Rule& rule : rules) {
        const Looked looked = look_for(rule.name, message.headers);
        const char* what = nullptr;
        if (looked.count == 0) {
            what = " is absent";
        } else if (looked.count > 1) {
            what = " is given twice";
        } else if (rule.value ? looked.value != *rule.value : looked.value.empty()) {
            what = " says something else";
        }
        if (what == nullptr) continue;
        if (!wrong.empty()) wrong += ", ";
        wrong += std::string(rule.name) + what;
    }
    if (known.headers) {
        const std::vector<HeaderView> own = own_of(message.headers);
        if (*known.headers != mark_of(own, known.headers->front())) {
            if (!wrong.empty()) wrong += ", ";
            wrong += "its own headers differ from the truth's; it has " + names_of(own);
        }
    }
    if (!wrong.empty()) found(Damage::wrong_header, message, text, wrong);
}

void Account::judge_order(const Arrival& message, const Id& id, const Known& known) {
    const std::int64_t topic = number_of(message.topic);
    std::optional<std::int64_t> highest;
    std::string highest_id;
    bool is_elsewhere = false;
    highest_.bind(1, topic).bind_blob(2, *message.key);
    while (highest_.step()) {
        if (highest_.number(0) != message.partition) {
            is_elsewhere = true;
            continue;
        }
        highest = highest_.number(1);
        highest_id = highest_.blob(2).value_or("");
    }
    highest_.reset();
    if (is_elsewhere && !highest) {
        found(Damage::split_key, message, id.text(), "its key is in another partition too");
    }
    if (highest && known.order < *highest) {
        found(Damage::inversion, message, id.text(),
              "order " + std::to_string(known.order) + " came after order " +
                  std::to_string(*highest) + ", " + id_of(highest_id).text());
        return;
    }
    set_highest_.bind(1, topic).bind_blob(2, *message.key).bind(3, message.partition);
    set_highest_.bind(4, known.order).bind_blob(5, bytes_of(id)).run();
}

Report Account::close() {
    Tally missing;
    Query lost = scratch_.prepare("SELECT id, key, topic FROM truth WHERE arrivals = 0");
    while (lost.step()) {
        if (++missing.count > limits_.samples_max) continue;
        Finding& sample = missing.samples.emplace_back();
        sample.id = id_of(lost.blob(0).value_or("")).text();
        sample.key = lost.blob(1);
        sample.detail = "never arrived";
        const auto number = lost.maybe_number(2);
        for (const auto& [name, its_number] : topics_) {
            if (number == its_number) sample.topic = name;
        }
    }
    if (missing.count > 0) report_.damages[Damage::missing] = std::move(missing);
    return std::move(report_);
}

}  // namespace sagaz::verify
