#pragma once

#include "app/commands.hpp"
#include "app/kafka_look.hpp"
#include "app/store.hpp"
#include "app/store_look.hpp"

#include <chrono>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What a check of `doctor` is made of. Each says what was seen, why it matters and what to do. One
/// that cannot be made is skipped and says why; skipped is not passed. Trouble is found once: what
/// merely follows from another finding is skipped, and names it.
namespace sagaz::inline v0::app {

struct Result {
    enum class State { ok, finding, skipped };

    State state{State::ok};
    std::string seen{};
    std::string what_to_do{};
};

inline Result ok(std::string seen) { return {Result::State::ok, std::move(seen), {}}; }
inline Result finding(std::string seen, std::string what_to_do) {
    return {Result::State::finding, std::move(seen), std::move(what_to_do)};
}
inline Result skipped(std::string why) { return {Result::State::skipped, std::move(why), {}}; }

/// "a, b, c".
std::string joined(const std::vector<std::string>& words);

/// What a check needs to be there, each with those before it.
enum class Needs { nothing, store, schema };

/// What is looked at. Keeps what several checks ask for; every question has a deadline.
class Patient {
public:
    /// Of a question to the database: its server gives up a little sooner.
    static constexpr std::chrono::milliseconds kDeadline{6'000};
    static constexpr std::chrono::milliseconds kBrokerDeadline{5'000};

    explicit Patient(const DoctorOptions& options) : options_{options} {}

    const DoctorOptions& options() const { return options_; }
    const std::string& schema() const { return options_.store.schema; }
    bool is_sqlite() const;
    bool is_kafka() const;

    StoreSession& session();
    Rows rows(std::string_view sql) { return session().look(sql); }
    /// The first column of every row.
    std::vector<std::string> column(std::string_view sql);
    /// The first value; empty without a row.
    std::string value(std::string_view sql);
    bool is_true(std::string_view sql) { return value(sql) == "t"; }
    /// Whether the login sees what other logins' sessions do.
    bool sees_sessions();

    /// As the store looked at the first question.
    const StoreLook& look();
    StoreLook look_again() const;

    /// Topics of the newest events and of those that are parked, as they go on the wire.
    const std::vector<std::string>& topics();
    /// The cluster and these topics. Throws `unavailable` when it does not answer.
    const ClusterLook& cluster();

    void note_finding(std::string_view id) { found_.emplace(id); }
    /// Those of `ids` that have a finding; empty: none.
    std::string found(std::initializer_list<const char*> ids) const;

    Needs there{Needs::nothing};

private:
    const DoctorOptions& options_;
    std::optional<StoreSession> session_;
    std::optional<StoreLook> look_;
    std::optional<std::vector<std::string>> topics_;
    std::optional<ClusterLook> cluster_;
    std::set<std::string, std::less<>> found_;
};

struct Check {
    const char* id;
    const char* why;
    Result (*look)(Patient&);
    Needs needs;
    bool postgres_only{};
};

std::span<const Check> checks_of_server();    ///< In doctor_server.cpp; "store" comes first.
std::span<const Check> checks_of_horizon();   ///< In doctor_horizon.cpp
std::span<const Check> checks_of_log();       ///< In doctor_log.cpp; "schema" comes first.
std::span<const Check> checks_of_broker();    ///< In doctor_broker.cpp
std::span<const Check> checks_of_delivery();  ///< In doctor_delivery.cpp
std::span<const Check> checks_of_inbox();     ///< In doctor_inbox.cpp

}  // namespace sagaz::inline v0::app
