#pragma once

#include "app/commands.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

/// The verbs as a shell completes them. Only for cli.cpp, which includes CLI11 before it.
namespace sagaz::inline v0::app {

/// The first word that is a verb of `app`, since flags may stand before it; empty: none is.
inline std::string first_verb(const CLI::App& app, int argc, const char* const* argv) {
    const auto verbs = app.get_subcommands([](const CLI::App*) { return true; });
    for (int n = 1; n < argc; ++n) {
        const std::string word = argv[n];
        const auto is_it = [&](const CLI::App* verb) { return verb->get_name() == word; };
        if (std::any_of(verbs.begin(), verbs.end(), is_it)) return word;
    }
    return {};
}

/// Appends `app` at `path` and all below it; the flags of `root` may stand after each verb.
inline void list_verbs(const CLI::App& app, const CLI::App& root, const std::string& path,
                       std::vector<VerbInfo>& verbs) {
    VerbInfo info{path, {}};
    for (const auto* const command : app.get_subcommands({})) {
        info.words.push_back(command->get_name());
    }
    const auto add_flags = [&info](const CLI::App& source) {
        for (const auto* const option : source.get_options()) {
            for (const auto& name : option->get_lnames()) {
                const auto flag = "--" + name;
                if (std::find(info.words.begin(), info.words.end(), flag) == info.words.end()) {
                    info.words.push_back(flag);
                }
            }
        }
    };
    add_flags(app);
    if (&app != &root) add_flags(root);
    verbs.push_back(std::move(info));
    for (const auto* const command : app.get_subcommands({})) {
        list_verbs(*command, root, path + (path.empty() ? "" : " ") + command->get_name(), verbs);
    }
}

}  // namespace sagaz::inline v0::app
