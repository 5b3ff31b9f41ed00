#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/json_text.hpp"
#include "app/store.hpp"
#include "app/store_look.hpp"
#include "app/table.hpp"
#include "app/units.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;

// Of each question: a monitor gives the whole check ten seconds.
constexpr int kDeadlineMs = 4'000;

constexpr std::array kWords{"OK", "WARNING", "CRITICAL", "UNKNOWN"};

milliseconds age_of(const StoreLook& look) {
    return milliseconds{static_cast<std::int64_t>(look.backlog.oldest_age_seconds * 1'000)};
}

bool has_live_relay(const StoreLook& look) {
    return std::any_of(look.relays.begin(), look.relays.end(),
                       [](const RelayLook& relay) { return relay.is_alive(); });
}

CheckState state_of(const StoreLook& look, const CheckOptions& options, bool is_well) {
    const bool waits = look.backlog.pending > 0;
    if (waits && (age_of(look) >= options.age_critical || !has_live_relay(look))) {
        return CheckState::critical;
    }
    const bool warns = (waits && age_of(look) >= options.age_warn) || !is_well;
    return warns ? CheckState::warning : CheckState::ok;
}

std::string text_of(const StoreLook& look, const std::string& wrong) {
    std::string text = (look.backlog.is_estimate ? "about " : "") + grouped(look.backlog.pending) +
                       " events pending";
    if (look.backlog.pending > 0) {
        text += ", the oldest for " + duration_text(age_of(look));
    }
    return wrong.empty() ? text : text + "; " + wrong;
}

// Their form for values: 'label'=value[unit];warning;critical.
std::string values_of(const StoreLook& look, const CheckOptions& options) {
    const auto seconds = [](milliseconds value) { return std::to_string(value.count() / 1'000); };
    return "pending=" + std::to_string(look.backlog.pending) +
           " oldest_age=" + seconds(age_of(look)) + "s;" + seconds(options.age_warn) + ';' +
           seconds(options.age_critical);
}

const char* word_of(CheckState state) { return kWords.at(static_cast<std::size_t>(state)); }

// What follows a bar is values: one in a broker's words must not be taken for theirs.
int say(CheckState state, std::string text, const std::string& values, Console& console) {
    std::replace(text.begin(), text.end(), '|', '/');
    console.out() << "SAGAZ " << word_of(state) << " - " << plain(text)
                  << (values.empty() ? "" : " | " + values) << '\n';
    return static_cast<int>(state);
}

}  // namespace

int run_check(const CheckOptions& options, Console& console) {
    if (options.age_critical < options.age_warn) {
        refuse("argument_invalid", "--age-critical is below --age-warn",
               "give it a longer duration");
    }
    StoreWindow window{options.store, kDeadlineMs};
    const auto look = window.look();
    const auto wrong = diagnosis(look, newest_version(options.store));
    const auto state = state_of(look, options, wrong.empty());
    if (!options.json) return say(state, text_of(look, wrong), values_of(look, options), console);
    console.out() << line_of({{"schema", 1},
                              {"state", word_of(state)},
                              {"text", text_of(look, wrong)},
                              {"pending_events", look.backlog.pending},
                              {"is_estimate", look.backlog.is_estimate},
                              {"oldest_pending_age_seconds", look.backlog.oldest_age_seconds}})
                  << '\n';
    return static_cast<int>(state);
}

int say_unknown(const Error& error, bool json, Console& console) {
    const auto text = std::string{error.code()} + ": " + hide_secrets(error.what()) + "; " +
                      std::string{error.hint()};
    if (!json) return say(CheckState::unknown, text, "", console);
    console.out() << line_of({{"schema", 1},
                              {"state", word_of(CheckState::unknown)},
                              {"text", text},
                              {"code", error.code()}})
                  << '\n';
    return static_cast<int>(CheckState::unknown);
}

}  // namespace sagaz::inline v0::app
