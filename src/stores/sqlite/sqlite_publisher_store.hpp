#pragma once

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/publisher_statements.hpp"
#include "stores/sqlite/statements.hpp"

#include <sagaz/publisher_store.hpp>
#include <sagaz/sqlite.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sagaz::inline v0::sqlite {

/// The PublisherStore port over one connection of its own. What makes it safe is argued at the head
/// of sqlite_publisher_store.cpp.
class SqlitePublisherStore final : public PublisherStore {
public:
    SqlitePublisherStore(std::string path, Options options);

    Attached attach() override;
    Confirmation confirm(std::span<const RowRef> asked, std::span<const RowRef> acknowledged,
                         Milliseconds margin) override;
    std::uint64_t flushed(bool force) override;
    void settle(std::span<const RowRef> accepted, std::span<const RowRef> left) override;

private:
    using Body = std::function<void(Database&)>;
    using Acknowledged = std::multimap<std::int64_t, Id>;  ///< By position.

    /// An event that may be sent unless an earlier one of its (topic, key) is undelivered.
    struct Candidate {
        std::size_t place{};  ///< Among those asked for.
        RowRef row{};
        std::string topic{};
        std::optional<std::string> key{};
    };

    void transact(Scope::Kind kind, const Body& body);
    Database& attached();
    void forget();
    std::optional<Id> token_of(Database& database) const;
    void check_token(Database& database);
    std::int64_t take_sequence(Database& database);
    std::int64_t delivered_upto(Database& database) const;
    std::string topic_of(std::string_view topic, std::string_view event_type) const;

    std::vector<Candidate> find(Database& database, std::span<const RowRef> asked,
                                Milliseconds margin, std::vector<Verdict>& verdicts) const;
    void hold_back_behind_log(Database& database, const std::vector<Candidate>& candidates,
                              std::int64_t delivered, const Acknowledged& acknowledged,
                              std::vector<Verdict>& verdicts) const;
    bool is_behind_parked(Database& database, const Candidate& candidate,
                          const Acknowledged& acknowledged) const;

    std::string path_;
    Options options_;
    Statements statements_;
    PublisherStatements publisher_;
    std::unique_ptr<Database> database_;
    bool is_attached_{};
    Id incarnation_{};  ///< Zero: no relay has attached to this file yet.
    Settings settings_{};
    std::int64_t last_position_{};  ///< The highest sequence seen since the attach.
    std::uint64_t flushed_{};       ///< All up to this id is on the disk.
};

}  // namespace sagaz::inline v0::sqlite
