#pragma once

#include "app/arguments.hpp"
#include "app/commands.hpp"

#include <functional>
#include <string>

/// The words of `sagaz parked`. Only for cli.cpp, which includes CLI11 before it.
namespace sagaz::inline v0::app {

/// Lives as long as the parser.
class ParkedCommands {
public:
    using Run = std::function<int(const StoreTarget&, bool json)>;

    /// `run_by` is called with what is to be done once the words are known.
    ParkedCommands(std::function<void(Run)> run_by, Console& console)
        : run_by_{std::move(run_by)}, console_{console} {}

    /// Adds the commands below `parked`. With `state` only what is in that one.
    void add(CLI::App* parked, const std::string& state) {
        parked->require_subcommand(1);
        auto* const list = verb(*parked, "ls", "what is parked, in the order of positions");
        add_filters(*list, state);
        list->add_option("--direction", parked_.filter.direction, "only outbox, or only inbox")
            ->check(CLI::IsMember({"outbox", "inbox"}));
        list->add_option("--limit", parked_.limit, "at most so many")
            ->check(CLI::Range(1, 100'000));
        list->add_flag("--payload", parked_.payload, "with headers and payload");
        list->callback([this, state] {
            run_by_([this, state](const StoreTarget& store, bool json) {
                take_filters(state, store, json);
                return run_parked_list(parked_, console_);
            });
        });
        auto* const show = verb(*parked, "show", "one of them");
        show->add_option("ID", parked_.filter.id, "its event id")->required();
        show->add_flag("--payload", parked_.payload, "with headers and payload");
        show->callback([this, state] {
            run_by_([this, state](const StoreTarget& store, bool json) {
                take_filters(state, store, json);
                return run_parked_show(parked_, console_);
            });
        });
        for (const bool discard : {false, true}) add_change(*parked, state, discard);
    }

private:
    static CLI::App* verb(CLI::App& parent, const std::string& name, const std::string& about) {
        auto* const command = parent.add_subcommand(name, about);
        command->fallthrough();
        return command;
    }

    void add_filters(CLI::App& command, const std::string& state) {
        command.add_option("--topic", parked_.filter.topic, "only of this topic, as written");
        command.add_option("--key", parked_.filter.key, "only of this key");
        command.add_option("--type", parked_.filter.event_type, "only of this type");
        command.add_option("--reason", parked_.filter.reason, "only for this reason");
        command.add_option("--consumer", parked_.filter.consumer,
                           "messages of this consumer's inbox, and no events");
        command.add_option("--older-than", older_than_, "only parked longer ago, as 1h");
        command.add_option("--younger-than", younger_than_, "only parked since, as 1h");
        if (!state.empty()) return;
        command.add_option("--state", parked_.filter.state, "only waiting, or only dead ones")
            ->check(CLI::IsMember({"waiting", "dead"}));
    }

    void take_filters(const std::string& state, const StoreTarget& store, bool json) {
        auto& filter = parked_.filter;
        if (!state.empty()) filter.state = state;
        if (!older_than_.empty()) filter.older_than = duration_of("--older-than", older_than_);
        if (!younger_than_.empty()) {
            filter.younger_than = duration_of("--younger-than", younger_than_);
        }
        parked_.store = store;
        parked_.json = json;
    }

    void add_change(CLI::App& parked, const std::string& state, bool discard) {
        auto* const command =
            discard ? verb(parked, "discard", "remove events for good; their keys go on")
                    : verb(parked, "replay", "have events tried again from the first attempt");
        command->add_option("ID", parked_.filter.id,
                            "an event id; none: all that the filters name");
        add_filters(*command, state);
        auto* const dry_run =
            command->add_flag("--dry-run", dry_run_, "say how many, and change nothing");
        command->add_flag("--yes", yes_, "do not ask")->excludes(dry_run);
        if (!discard) {
            command->add_option("--rate", rate_, "at most so many a second")
                ->check(CLI::Range(1, 1'000'000));
        }
        command->footer(
            discard ? "The audit keeps the identity of each.\n"
                    : "A key goes on in sequence: what stands behind an event follows it. Doing it "
                      "twice changes\nnothing more. A running relay sees it within ten seconds. "
                      "Messages of an inbox are\nhandled again by their consumer, where it calls "
                      "Inbox::replay or sagaz.inbox_replay.\n");
        command->callback([this, state, discard] {
            run_by_([this, state, discard](const StoreTarget& store, bool json) {
                take_filters(state, store, json);
                return run_parked_change({.store = parked_.store,
                                          .filter = parked_.filter,
                                          .discard = discard,
                                          .rate = rate_,
                                          .mode = change_mode(dry_run_, yes_),
                                          .json = json},
                                         console_);
            });
        });
    }

    std::function<void(Run)> run_by_;
    Console& console_;
    ParkedListOptions parked_;
    std::int64_t rate_{};
    std::string older_than_;
    std::string younger_than_;
    bool dry_run_{};
    bool yes_{};
};

}  // namespace sagaz::inline v0::app
