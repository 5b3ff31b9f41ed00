#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/store.hpp"

#include <nlohmann/json.hpp>

#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;

void print_status(const core::MigrationStatus& status, const MigrateOptions& options,
                  Console& console) {
    if (options.json) {
        Json object{{"schema", 1},
                    {"version", status.version},
                    {"newest", status.newest},
                    {"behind", status.is_behind()},
                    {"applied", Json::array()}};
        for (const auto& applied : status.applied) {
            object["applied"].push_back({{"version", applied.version},
                                         {"name", applied.name},
                                         {"compatible_from", applied.compatible_from},
                                         {"applied_at", applied.applied_at}});
        }
        console.out() << object.dump() << '\n';
        return;
    }
    for (const auto& applied : status.applied) {
        console.out() << applied.version << "  " << applied.name << "  applied "
                      << applied.applied_at << '\n';
    }
    for (int version = status.version + 1; version <= status.newest; ++version) {
        console.out() << version << "  " << name_of_version(options.store, version)
                      << "  missing\n";
    }
}

int look(const MigrateOptions& options, Console& console) {
    const auto status = schema_status(options.store);
    if (options.status || options.json) {
        print_status(status, options, console);
    }
    if (status.is_too_new()) {
        throw core::schema_too_new(options.store.schema, status.version, status.newest);
    }
    if (!options.check) {
        return kOk;
    }
    console.say("schema \"" + options.store.schema + "\" is at version " +
                std::to_string(status.version) + ", this build knows " +
                std::to_string(status.newest) +
                (status.is_behind() ? ": behind, run sagaz migrate" : ""));
    return status.is_behind() ? kCondition : kOk;
}

void print_script(const MigrateOptions& options, Console& console) {
    const int from = options.from.value_or(0);
    const int to = options.to.value_or(newest_version(options.store));
    console.out() << schema_script(options.store, from, to, !options.no_roles);
}

void check_usage(const MigrateOptions& options) {
    if (options.print + options.status + options.check > 1 && !(options.status && options.check)) {
        refuse("usage", "--print together with --status or --check", "give one of them");
    }
    if ((options.from || options.to) && !options.print) {
        refuse("usage", "--from or --to without --print", "add --print, or leave them out");
    }
    if (!options.set.empty() && (options.print || options.status || options.check)) {
        refuse("usage", "--set together with --print, --status or --check",
               "set in a run of its own");
    }
    if (options.after_restore && (options.print || options.status || options.check)) {
        refuse("usage", "--after-restore together with --print, --status or --check",
               "give it alone");
    }
}

// What the re-base did, in a sentence and in the object of `--json`.
Json rebase(const MigrateOptions& options, Console& console) {
    const Json report = Json::parse(rebase_log(options.store));
    console.say("the log is re-based: " + std::to_string(report.value("moved", 0LL)) +
                " events moved and are delivered next, at most so many of them again; start the "
                "producers now");
    return report;
}

}  // namespace

int run_migrate(const MigrateOptions& options, Console& console) {
    check_usage(options);
    if (options.print) {
        print_script(options, console);
        return kOk;
    }
    if (options.status || options.check) {
        return look(options, console);
    }
    const auto applied = migrate_schema(options.store, !options.no_roles);
    for (const int version : applied) {
        console.say("applied version " + std::to_string(version) + " (" +
                    name_of_version(options.store, version) + ")");
    }
    if (applied.empty() && options.set.empty() && !options.after_restore) {
        console.say("schema \"" + options.store.schema + "\" is up to date");
    }
    Json set = Json::object();
    for (const auto& [key, value] : options.set) {
        change_setting(options.store, key, value);
        console.say(std::string{"set "}.append(key).append(" to \"").append(value).append("\""));
        set[key] = value;
    }
    Json object{{"schema", 1}, {"applied", applied}, {"set", set}};
    if (options.after_restore) object["rebase"] = rebase(options, console);
    if (options.json) console.out() << object.dump() << '\n';
    return kOk;
}

}  // namespace sagaz::inline v0::app
