// The only source that includes CLI11, which costs seconds to compile; those two headers need it
// too.
#include "app/cli.hpp"

#include "app/arguments.hpp"
#include "app/commands.hpp"
#include "app/config.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"

#include <CLI/CLI.hpp>
// After it:
#include "app/cli_parked.hpp"
#include "app/cli_verbs.hpp"

#include <functional>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

constexpr auto kAbout =
    "sagaz (native): moves committed events from PostgreSQL to a broker, at least once, in order "
    "per key";
constexpr auto kFooter =
    "Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 condition found, 130 interrupted.\n"
    "Every key of the configuration has a variable: SAGAZ_<SECTION>_<KEY>. See sagaz config "
    "show.\n";

/// The parser with one `add_` function a verb. Each leaves in `run_` what is to be done; the
/// lambdas view this object, which outlives them.
class CommandLine {
public:
    explicit CommandLine(Console& console) : console_{console} {
        app_.require_subcommand(1);
        app_.footer(kFooter);
        app_.set_help_all_flag("--help-all", "help of every command");
        add_common();
        add_migrate();
        add_wait();
        add_relay();
        add_append();
        add_status();
        add_events();
        add_inbox();
        parked_.add(verb(app_, "parked", "events taken off the log, and messages of the inbox"),
                    {});
        parked_.add(verb(app_, "dlq", "parked --state dead"), "dead");
        add_verify();
        add_config();
        add_checks();
        add_demo();
        add_dev();
        add_bench();
        add_probes();
    }

    int run(int argc, const char* const* argv) {
        // A monitor takes every other code for a state of its own, a usage error's too.
        if (first_verb(app_, argc, argv) != "check") return run_verb(argc, argv);
        try {
            const int code = run_verb(argc, argv);
            return console_.out().flush() ? code : static_cast<int>(CheckState::unknown);
        } catch (const Error& error) {
            return say_unknown(error, json_, console_);
        } catch (const std::exception& error) {
            const Error unexpected{ErrorKind::fatal, "internal", error.what(),
                                   "please report this, with the command"};
            return say_unknown(unexpected, json_, console_);
        }
    }

private:
    int run_verb(int argc, const char* const* argv) {
        try {
            app_.parse(argc, argv);
        } catch (const CLI::Success& asked) {  // --help
            return app_.exit(asked, console_.out(), console_.out());
        } catch (const CLI::ParseError& error) {
            refuse_usage(argc, argv, error);
        }
        if (no_color_) {
            console_.no_color();
        }
        try {
            return run_();
        } catch (const Error& error) {
            const auto origin = config_ ? origin_of_cause(*config_, error.code()) : std::string{};
            if (origin.empty()) throw;
            throw Error{error.kind(), std::string{error.code()}, error.what(),
                        std::string{error.hint()} + " (the URL is from " + origin + ")"};
        }
    }

    void add_common() {
        app_.add_option("--config", config_file_, "configuration file (YAML)");
        for (const auto& key : config_keys()) {
            if (!key.flag.empty()) {
                app_.add_option(std::string{key.flag}, flags_[std::string{key.key}],
                                std::string{key.help});
            }
        }
        app_.add_flag("--json", json_,
                      "JSON on standard output; every object carries \"schema\": 1");
        app_.add_flag("--no-color", no_color_, "no colours");
    }

    CLI::App* verb(CLI::App& parent, const std::string& name, const std::string& about) {
        auto* const command = parent.add_subcommand(name, about);
        command->fallthrough();  // common flags may stand after the verb
        return command;
    }

    const Config& config() {
        if (!config_) {
            auto sources = sources_of_process(config_file_);
            for (const auto& [key, value] : flags_) {
                if (!value.empty()) {
                    sources.flags[key] = value;
                }
            }
            config_ = load_config(sources);
        }
        return *config_;
    }

    // For every verb but relay and config, which say it in their own way.
    const Config& config_with_warnings() {
        const bool first = !config_;
        const auto& loaded = config();
        for (const auto& warning : loaded.warnings) {
            if (first) {
                console_.warn(warning);
            }
        }
        return loaded;
    }

    StoreTarget store() { return store_target(config_with_warnings()); }

    void add_migrate() {
        auto* const command = verb(app_, "migrate", "bring the schema up");
        command->add_flag("--print", migrate_.print,
                          "write plain SQL that also records the version");
        command->add_option("--from", migrate_.from, "with --print: the version that is there");
        command->add_option("--to", migrate_.to, "with --print: the version to reach");
        command->add_flag("--status", migrate_.status, "say which versions are there");
        command->add_flag("--check", migrate_.check, "exit 3 when behind");
        command
            ->add_option("--set", sets_, "KEY=VALUE of what shapes bytes or order, after migrating")
            ->expected(1)
            ->take_all();
        command->add_flag("--no-roles", migrate_.no_roles, "make no roles and no grants");
        command->add_flag("--after-restore", migrate_.after_restore,
                          "before producers start on a restored database: re-base its log");
        command->callback([this] {
            run_ = [this] {
                for (const auto& text : sets_) migrate_.set.push_back(pair_of("--set", text));
                migrate_.json = json_;
                // Printing needs no database, so it must not ask for one; it may say which kind.
                migrate_.store = migrate_.print ? StoreTarget{config().text("store.url"),
                                                              config().text("store.schema")}
                                                : store();
                return run_migrate(migrate_, console_);
            };
        });
    }

    void add_wait() {
        auto* const command = verb(app_, "wait", "wait until servers and schema are there");
        command->add_option("--for", wait_.targets, "store, schema, broker; separated by commas")
            ->delimiter(',')
            ->required()
            ->check(CLI::IsMember({"store", "schema", "broker"}));
        command->add_option("--timeout", timeout_, "how long, as 60s");
        command->callback([this] {
            run_ = [this] {
                wait_.json = json_;
                wait_.timeout =
                    timeout_.empty() ? wait_.timeout : duration_of("--timeout", timeout_);
                for (const auto& target : wait_.targets) {
                    if (target == "broker") {
                        wait_.broker = broker_target(config_with_warnings());
                    } else {
                        wait_.store = store();
                    }
                }
                return run_wait(wait_, console_);
            };
        });
    }

    void add_relay() {
        auto* const command =
            verb(app_, "relay", "move committed events to the broker until SIGTERM");
        command->add_flag("--until-drained", relay_.until_drained,
                          "stop when nothing is left (exit 3 when events were parked)");
        command->add_option("--timeout", timeout_,
                            "with --until-drained: give up after this long (exit 3)");
        command->callback([this] {
            run_ = [this] {
                if (!timeout_.empty()) {
                    if (!relay_.until_drained) {
                        refuse("usage", "--timeout without --until-drained",
                               "add --until-drained, or leave it out");
                    }
                    relay_.timeout = duration_of("--timeout", timeout_);
                }
                relay_.config = &config();
                return run_relay(relay_, console_);
            };
        });
    }

    void add_append() {
        auto* const command =
            verb(app_, "append", "append one event, or JSON lines on standard input");
        auto* const type = command->add_option(
            "--type", append_.event_type, "the event's type; without it standard input is read");
        command->add_option("--topic", append_.topic, "the topic; none: the schema's template")
            ->needs(type);
        command->add_option("--key", append_.key, "events of one (topic, key) stay in order")
            ->needs(type);
        command->add_option("--payload", append_.payload, "text, @FILE, or - for standard input")
            ->needs(type);
        command->add_option("--header", headers_, "NAME=VALUE, may be repeated")
            ->needs(type)
            ->expected(1)
            ->take_all();
        command->add_option("--id", append_.id, "a UUID; none: a new one")->needs(type);
        command->add_option("--content-type", append_.content_type, "application/json")
            ->needs(type);
        command->footer(
            "JSON lines: {\"topic\", \"key\", \"event_type\", \"payload\" (any JSON value) or "
            "\"payload_text\" or\n"
            "\"payload_base64\", \"headers\", \"event_id\", \"content_type\", \"aggregate_type\", "
            "\"aggregate_id\",\n"
            "\"saga_id\"}. Up to 1,000 lines are one transaction. The event ids come on standard "
            "output.\n");
        command->callback([this] {
            run_ = [this] {
                append_.json = json_;
                append_.from_stdin = append_.event_type.empty();
                for (const auto& text : headers_)
                    append_.headers.push_back(pair_of("--header", text));
                append_.store = store();
                return run_append(append_, console_);
            };
        });
    }

    void add_status() {
        auto* const command =
            verb(app_, "status", "backlog, rate, slots, relays, parked events, destination");
        command->add_flag("--exit-code", status_.exit_code, "exit 3 when something is wrong");
        command->callback([this] {
            run_ = [this] {
                status_.json = json_;
                status_.store = store();
                return run_status(status_, console_);
            };
        });
    }

    void add_events() {
        auto* const events = verb(app_, "events", "read the log");
        events->require_subcommand(1);
        for (const bool follow : {false, true}) {
            auto* const command =
                follow ? verb(*events, "tail", "show new events until interrupted")
                       : verb(*events, "ls", "the newest events, or those after a position");
            command->add_option("--topic", list_.filter.topic, "only of this topic");
            command->add_option("--key", list_.filter.key, "only of this key");
            command->add_option("--type", list_.filter.event_type, "only of this type");
            command->add_option("--after", list_.filter.after,
                                "only later positions, oldest first");
            command->add_option("--limit", list_.filter.limit, "at most so many")
                ->check(CLI::Range(1, 100'000));
            command->add_flag("--payload", list_.payload, "with headers and payload");
            command->callback([this, follow] {
                run_ = [this, follow] {
                    list_.json = json_;
                    list_.follow = follow;
                    list_.store = store();
                    return run_events_list(list_, console_);
                };
            });
        }
        auto* const command = verb(*events, "show", "one event");
        command->add_option("ID", show_.id, "its event id, or its position")->required();
        command->add_flag("--payload", show_.payload, "with headers and payload");
        command->callback([this] {
            run_ = [this] {
                show_.json = json_;
                show_.store = store();
                return run_events_show(show_, console_);
            };
        });
    }

    void add_inbox() {
        auto* const inbox = verb(app_, "inbox", "the consumers' inbox");
        inbox->require_subcommand(1);
        auto* const status =
            verb(*inbox, "status", "per consumer: marks, their ages, attempts, what is parked");
        status->add_option("--consumer", inbox_status_.consumer, "only this one");
        status->footer(
            "Marks are counted up to 10,000 a consumer; past that PostgreSQL's planner estimates\n"
            "(\"about\"), and SQLite says \"over\". Duplicates are not in the database: see the "
            "metric\nconsumer_inbox_duplicates_total of the consumer.\n");
        status->callback([this] {
            run_ = [this] {
                inbox_status_.json = json_;
                inbox_status_.store = store();
                return run_inbox_status(inbox_status_, console_);
            };
        });
        add_inbox_cleanup(*inbox);
    }

    void add_inbox_cleanup(CLI::App& inbox) {
        auto* const command = verb(inbox, "cleanup", "remove marks that are past their retention");
        command->add_option("--older-than", older_than_,
                            "marks set longer ago than this, as 30d; none: inbox.retention");
        command->add_option("--consumer", cleanup_.consumer, "only of this one");
        auto* const dry_run =
            command->add_flag("--dry-run", dry_run_, "say what would go, and remove nothing");
        command->add_flag("--yes", yes_, "do not ask")->excludes(dry_run);
        command->footer(
            "A message whose mark is gone takes effect again when it comes again: keep marks "
            "longer\n"
            "than the broker keeps messages and than anybody replays. Attempts and parked "
            "messages\n"
            "stay, and the marks of parked messages. May be interrupted, or run beside "
            "another.\n");
        command->callback([this] {
            run_ = [this] {
                const auto& retention = config().values.find("inbox.retention")->second;
                cleanup_.older_than = older_than_.empty()
                                          ? config().duration("inbox.retention")
                                          : duration_of("--older-than", older_than_);
                cleanup_.older_than_from = older_than_.empty()
                                               ? "inbox.retention (from " + retention.where + ")"
                                               : "--older-than";
                cleanup_.mode = change_mode(dry_run_, yes_);
                cleanup_.json = json_;
                cleanup_.store = store();
                return run_inbox_cleanup(cleanup_, console_);
            };
        });
    }

    void add_verify() {
        auto* const command = verb(
            app_, "verify", "compare what should have been sent with what the destination holds");
        command
            ->add_option(
                "--truth", verify_.truth_sql,
                "SQL that gives event_id, key, order_number; and what else is to be compared: "
                "topic, payload or payload_md5, event_type, content_type, source, headers")
            ->required();
        command
            ->add_option("--topic", verify_.topics,
                         "for Kafka: topics to read, separated by commas")
            ->delimiter(',');
        command->add_flag("--allow-empty", verify_.allow_empty,
                          "accept a truth without events, which shows nothing");
        command->add_option("--report", verify_.report_path, "write the JSON report here too");
        command->callback([this] {
            run_ = [this] {
                verify_.json = json_;
                verify_.store = store();
                verify_.source = broker_target(config_with_warnings());
                return run_verify(verify_, console_);
            };
        });
    }

    void add_config() {
        auto* const parent = verb(app_, "config", "the configuration");
        parent->require_subcommand(1);
        verb(*parent, "show", "effective values with their origin, secrets hidden")
            ->callback([this] {
                run_ = [this] { return run_config_show({&config(), json_}, console_); };
            });
        verb(*parent, "validate", "check file, environment and flags")->callback([this] {
            run_ = [this] { return run_config_validate({&config(), json_}, console_); };
        });
        verb(*parent, "schema", "a JSON schema of the file")->callback([this] {
            run_ = [this] { return run_config_schema(console_); };
        });
    }

    void add_checks() {
        auto* const check =
            verb(app_, "check", "for monitors: exits 0 fine, 1 warning, 2 critical, 3 unknown");
        check->add_option("--age-warn", age_warn_, "warn when an event waits so long, 30s");
        check->add_option("--age-critical", age_critical_, "critical when so long, 5m");
        check->callback([this] {
            run_ = [this] {
                check_.json = json_;
                if (!age_warn_.empty()) check_.age_warn = duration_of("--age-warn", age_warn_);
                if (!age_critical_.empty()) {
                    check_.age_critical = duration_of("--age-critical", age_critical_);
                }
                check_.store = store();
                return run_check(check_, console_);
            };
        });
        verb(app_, "doctor", "looks for what is wrong and says what to do; exits 3 on findings")
            ->callback([this] {
                run_ = [this] {
                    doctor_.json = json_;
                    doctor_.store = store();
                    doctor_.inbox_retention = config().duration("inbox.retention");
                    if (!config().text("broker.url").empty()) {
                        doctor_.broker = broker_target(config());
                    }
                    return run_doctor(doctor_, console_);
                };
            });
        auto* const completion = verb(app_, "completion", "a script that completes sagaz's words");
        completion->add_option("SHELL", completion_.shell, "bash, zsh or fish")
            ->required()
            ->check(CLI::IsMember({"bash", "zsh", "fish"}));
        completion->callback([this] {
            run_ = [this] {
                list_verbs(app_, app_, {}, completion_.verbs);
                return run_completion(completion_, console_);
            };
        });
    }

    void add_demo() {
        auto* const command =
            verb(app_, "demo", "a shop, a relay that is killed, a consumer; prints and checks it");
        command->add_option("--orders", demo_.orders, "how many orders, 10000")
            ->check(CLI::Range(1'000, 1'000'000));
        auto* const folder =
            command->add_option("--folder", demo_.folder, "where its files go; none: a new one");
        command->add_option("--check", demo_.check, "deliver and compare an earlier demo again")
            ->excludes(folder);
        command->callback([this] {
            run_ = [this] {
                demo_.json = json_;
                return run_demo(demo_, console_);
            };
        });
    }

    void add_dev() {
        auto* const command =
            verb(app_, "dev", "shop, relay and consumer kept running, to play with");
        command->add_option("--folder", dev_.folder, "where its files go; none: a new one");
        command->add_option("--rate", dev_.rate, "orders a second, 2; 0: none of its own")
            ->check(CLI::Range(0, 1'000));
        command->add_option("--orders", dev_.orders, "stop after so many orders")
            ->check(CLI::Range(1, 1'000'000));
        command->footer(
            "Without --store it plays on SQLite files in the folder. With it, on that database, in "
            "schemas of\n"
            "its own (sagaz_dev, sagaz_dev_shop, sagaz_dev_warehouse); a log that is there already "
            "is not touched.\n");
        command->callback([this] {
            run_ = [this] {
                dev_.json = json_;
                dev_.admin = config().text("admin.listen");
                if (!flags_["broker.url"].empty()) {
                    refuse("usage", "dev with --broker",
                           "leave it out: dev sends to a file of its own; a relay for "
                           "that broker is sagaz relay");
                }
                // What the environment names may be a database that people work with.
                if (!flags_["store.url"].empty() || !flags_["store.url_file"].empty()) {
                    dev_.store = store();
                    if (flags_["store.schema"].empty()) dev_.store->schema = "sagaz_dev";
                }
                return run_dev(dev_, console_);
            };
        });
    }

    void add_bench() {
        auto* const command =
            verb(app_, "bench", "how fast, how soon, for how much, beside a bare read and others");
        command->add_option("--only", bench_.only, "names of benchmarks, separated by commas")
            ->delimiter(',');
        command->add_option("--rounds", bench_.rounds, "how often each way is measured, 5")
            ->check(CLI::Range(1, 101));
        command->add_option("--events", bench_.events, "events of a drain")
            ->check(CLI::Range(1'000, 4'000'000));
        command->add_option("--scale", scale_, "quick (a minute or two) or full (half an hour)")
            ->check(CLI::IsMember({"quick", "full"}));
        command->footer(
            "Makes the schema sagaz_bench (or --schema's) on the store's database, and removes it; "
            "refuses one\nthat is there with anything in it. With --broker kafka://... it makes "
            "and removes the topic\nsagaz-bench there. Give it a server that nobody else works "
            "with.\n");
        command->callback([this] {
            run_ = [this] {
                bench_.json = json_;
                bench_.full = scale_ == "full";
                bench_.store = store();
                if (flags_["store.schema"].empty()) bench_.store.schema = "sagaz_bench";
                // What the environment names may be a destination that people work with.
                if (!flags_["broker.url"].empty()) bench_.broker = broker_target(config());
                return run_bench(bench_, console_);
            };
        });
    }

    void add_probes() {
        auto* const probe =
            verb(app_, "healthcheck", "ask a running relay, for containers without curl");
        probe->add_option("PROBE", health_.probe, "live or ready")
            ->required()
            ->check(CLI::IsMember({"live", "ready"}));
        probe->add_option("--timeout", timeout_, "how long to wait for an answer, as 3s");
        probe->callback([this] {
            run_ = [this] {
                health_.timeout =
                    timeout_.empty() ? health_.timeout : duration_of("--timeout", timeout_);
                health_.address = config_with_warnings().text("admin.listen");
                health_.json = json_;
                return run_healthcheck(health_, console_);
            };
        });
        verb(app_, "version", "the version")->callback([this] {
            run_ = [this] { return run_version(json_, console_); };
        });
    }

    [[noreturn]] void refuse_usage(int argc, const char* const* argv,
                                   const CLI::ParseError& error) {
        std::vector<std::string> names;
        for (const auto* const command : app_.get_subcommands({})) {
            names.push_back(command->get_name());
        }
        refuse_words({argv + 1, argv + argc}, names, error.what());
    }

    Console& console_;
    CLI::App app_{kAbout, "sagaz"};
    std::function<int()> run_;
    std::string config_file_;
    std::map<std::string, std::string> flags_;
    std::optional<Config> config_;
    bool json_{};
    bool no_color_{};
    std::string timeout_;
    std::vector<std::string> sets_;
    std::vector<std::string> headers_;
    MigrateOptions migrate_;
    WaitOptions wait_;
    RelayRunOptions relay_;
    AppendOptions append_;
    StatusOptions status_;
    EventsListOptions list_;
    EventsShowOptions show_;
    InboxStatusOptions inbox_status_;
    ParkedCommands parked_{[this](std::function<int(const StoreTarget&, bool)> run) {
                               run_ = [this, run] {
                                   const auto target = store();
                                   return run(target, json_);
                               };
                           },
                           console_};
    std::string older_than_;
    bool dry_run_{};
    bool yes_{};
    InboxCleanupOptions cleanup_;
    VerifyOptions verify_;
    HealthcheckOptions health_;
    std::string age_warn_;
    std::string age_critical_;
    CheckOptions check_;
    DoctorOptions doctor_;
    CompletionOptions completion_;
    DemoOptions demo_;
    DevOptions dev_;
    BenchOptions bench_;
    std::string scale_;
};

}  // namespace

int run_cli(int argc, const char* const* argv, Console& console) {
    CommandLine line{console};
    return line.run(argc, argv);
}

}  // namespace sagaz::inline v0::app
