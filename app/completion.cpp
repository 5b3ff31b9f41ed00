// The scripts are written from the parser's own tree, so they cannot name what it does not know.
#include "app/commands.hpp"
#include "app/console.hpp"

#include <ostream>

namespace sagaz::inline v0::app {
namespace {

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) {
        text += (text.empty() ? "" : " ") + word;
    }
    return text;
}

// Which verb the words before the cursor name, then what may follow it.
void write_bash(const std::vector<VerbInfo>& verbs, std::ostream& out) {
    out << "_sagaz() {\n"
           "    local path= n\n"
           "    for ((n = 1; n < COMP_CWORD; n++)); do\n"
           "        case \"${path:+$path }${COMP_WORDS[n]}\" in\n";
    for (const auto& verb : verbs) {
        if (!verb.path.empty()) {
            out << "            '" << verb.path << "') path='" << verb.path << "' ;;\n";
        }
    }
    out << "        esac\n"
           "    done\n"
           "    local words=\n"
           "    case $path in\n";
    for (const auto& verb : verbs) {
        out << "        '" << verb.path << "') words='" << joined(verb.words) << "' ;;\n";
    }
    out << "    esac\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
           "    if [ ${#COMPREPLY[@]} = 0 ]; then\n"
           "        COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
           "    fi\n"
           "}\n"
           "complete -F _sagaz sagaz\n";
}

void write_fish(const std::vector<VerbInfo>& verbs, std::ostream& out) {
    for (const auto& verb : verbs) {
        const auto space = verb.path.rfind(' ');
        const auto name = space == std::string::npos ? verb.path : verb.path.substr(space + 1);
        const auto condition = verb.path.empty() ? std::string{"__fish_use_subcommand"}
                                                 : "__fish_seen_subcommand_from " + name;
        for (const auto& word : verb.words) {
            out << "complete -c sagaz -n '" << condition << "' "
                << (word.starts_with("--") ? "-l " + word.substr(2) : "-a " + word) << '\n';
        }
    }
}

}  // namespace

int run_completion(const CompletionOptions& options, Console& console) {
    if (options.shell == "fish") {
        write_fish(options.verbs, console.out());
        return kOk;
    }
    if (options.shell == "zsh") {
        console.out() << "#compdef sagaz\nautoload -U +X bashcompinit && bashcompinit\n";
    }
    write_bash(options.verbs, console.out());
    return kOk;
}

}  // namespace sagaz::inline v0::app
