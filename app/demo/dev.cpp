// One thread takes the orders, hands over what arrives and looks after the relay process, in turns
// that never wait long for anything. The relay is a process so that a person can kill it: what they
// see then is what happens in production.
#include "app/admin_server.hpp"
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/demo/kept_relay.hpp"
#include "app/demo/live_consumer.hpp"
#include "app/demo/paste.hpp"
#include "app/demo/stage.hpp"
#include "app/errors.hpp"
#include "app/json_text.hpp"
#include "app/signals.hpp"
#include "app/store.hpp"
#include "app/store_look.hpp"
#include "app/table.hpp"
#include "app/url.hpp"
#include "core/inbox_step.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <csignal>
#include <ctime>
#include <iomanip>
#include <ostream>
#include <thread>
#include <unordered_map>

namespace sagaz::inline v0::app {
namespace {

using demo::KeptRelay;
using demo::LiveConsumer;
using demo::Shop;
using demo::Stage;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr milliseconds kTurn{20};
constexpr milliseconds kAfterTrouble{1'000};
constexpr milliseconds kDrainMax{15'000};
constexpr milliseconds kStopMax{25'000};
constexpr std::size_t kMessagesOfTurn = 100;
constexpr std::size_t kUnderWayMax = 100'000;

// A server's lease must outlast a slow moment; a file's is there at once.
constexpr milliseconds kServerLease{2'000};

std::string time_of_day() {
    const auto now = std::chrono::system_clock::now();
    const auto seconds = std::chrono::system_clock::to_time_t(now);
    std::tm local{};
    ::localtime_r(&seconds, &local);
    std::array<char, 16> text{};
    const auto length = std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
    const auto ms =
        std::chrono::duration_cast<milliseconds>(now.time_since_epoch()).count() % 1'000;
    const auto digits = std::to_string(1'000 + ms);
    return {std::string{text.data(), length} + '.' + digits.substr(1)};
}

// The usual port where it is free, so that a pasted command works tomorrow too.
std::string admin_address(const std::string& listen) {
    const std::string loopback = "127.0.0.1:";
    const auto port = std::to_string(split_address(listen).second);
    for (const auto& candidate : {loopback + port, loopback + '0'}) {
        try {
            return AdminServer{candidate, {}}.address();
        } catch (const Error&) {
            continue;  // taken
        }
    }
    return loopback + '0';
}

Stage stage_of(const DevOptions& options) {
    auto stage = demo::embedded_stage(demo::folder_for(options.folder, "dev"));
    if (options.store) stage.shop = stage.warehouse = *options.store;
    return stage;
}

// Makes what is missing. The relay of this stage takes every event of its log to a file, so it must
// be a log that nobody else counts on.
void prepare(const Stage& stage) {
    const auto file = sqlite_path(stage.shop.url);
    const bool is_new =
        (file && !std::filesystem::exists(*file)) || schema_status(stage.shop).version == 0;
    if (is_new) migrate_schema(stage.shop, false);
    Shop shop{stage.shop};
    if (!shop.is_built()) {
        if (!is_new) {
            refuse("dev_store", "schema " + stage.shop.schema + " holds a log of somebody's own",
                   "leave --schema out, or name one that is not there yet: dev would take its "
                   "events to a file");
        }
        shop.build();
    }
    migrate_schema(stage.shop, false);
    migrate_schema(stage.warehouse, false);
}

RelayPlan plan_of(const Stage& stage, const DevOptions& options) {
    RelayPlan plan{.store = stage.shop,
                   .broker = "file:" + stage.events(),
                   .log = stage.relay_log(),
                   .admin = admin_address(options.admin)};
    if (!sqlite_path(stage.shop.url)) plan.lease = kServerLease;
    return plan;
}

/// What a person sees: a line an event, or an object a line.
class Lines {
public:
    Lines(bool json, Console& console) : json_{json}, console_{console} {}

    void head(const Stage& stage, const RelayPlan& plan, pid_t relay, std::int64_t rate) {
        if (json_) {
            write(Json{{"what", "started"},
                       {"folder", stage.folder.string()},
                       {"store", hide_secrets(stage.shop.url)},
                       {"log_schema", stage.shop.schema},
                       {"relay", relay},
                       {"admin", plan.admin}});
            return;
        }
        auto& out = console_.out();
        out << "shop       " << rate << " orders a second, each with its event in one transaction; "
            << "its log is in " << hide_secrets(stage.shop.url)
            << (sqlite_path(stage.shop.url) ? "" : ", schema " + stage.shop.schema)
            << "\nrelay      process " << relay << ", http://" << plan.admin << "/metrics, log "
            << stage.relay_log() << "\nsends to   " << stage.events()
            << "\nconsumer   \"warehouse\", ships each order once\n";
        commands(stage, plan, relay);
        out << std::flush;
    }

    void rolled_back(std::int64_t order) {
        if (json_) {
            write(Json{{"what", "rolled_back"}, {"order", order}});
        } else {
            line("order " + std::to_string(order) + " was rolled back: no event");
        }
    }

    void tried(const Message& message, const Outcome<std::monostate>& outcome,
               std::optional<milliseconds> after) {
        const auto& event = message.event;
        if (json_) {
            write(Json{{"what", core::word_of(outcome.settlement)},
                       {"event_id", message.id},
                       {"topic", event.topic},
                       {"key", event.key ? Json(*event.key) : Json(nullptr)},
                       {"event_type", event.event_type},
                       {"ms_after_commit", after ? Json(after->count()) : Json(nullptr)},
                       {"reason", outcome.reason}});
            return;
        }
        auto& out = console_.out();
        out << time_of_day() << "  " << std::left << std::setw(10) << plain(event.topic) << ' '
            << std::setw(14) << plain(event.key.value_or("-")) << ' ' << std::setw(14)
            << plain(event.event_type) << "  " << text_of(outcome);
        if (after) out << ", " << after->count() << " ms after its commit";
        out << std::endl;
    }

    void note(const std::string& text) {
        if (json_) {
            write(Json{{"what", "note"}, {"text", text}});
        } else {
            line(plain(text));
        }
    }

    void account(const Stage& stage, const demo::Account& account, std::int64_t pending) {
        if (json_) {
            write(Json{{"what", "account"},
                       {"committed", account.orders},
                       {"rolled_back", account.attempts - account.orders},
                       {"effects", account.shipments},
                       {"pending", pending},
                       {"lost", account.lost},
                       {"invented", account.invented},
                       {"reordered", account.reordered},
                       {"doubled", account.doubled}});
            return;
        }
        console_.out() << "\ncommitted  " << grouped(account.orders) << " orders; "
                       << grouped(account.attempts - account.orders) << " rolled back\n"
                       << "effects    " << grouped(account.shipments) << " shipments\n";
        if (pending > 0) {
            console_.out() << "waiting    " << grouped(pending)
                           << " events are still in the log: too early for an account\n";
        } else {
            console_.out() << "account    " << account.damage() << '\n';
        }
        console_.out() << "again      " << demo::own_name() << " dev --folder "
                       << demo::shell_word(stage.folder.string());
        if (sqlite_path(stage.shop.url)) {
            console_.out() << '\n';
        } else {
            const auto& schema = stage.shop.schema;
            console_.out() << ' ' << demo::store_words(stage.shop) << "\nremove     DROP SCHEMA "
                           << schema << ", " << schema << "_shop, " << schema
                           << "_warehouse CASCADE;\n";
        }
    }

private:
    static std::string text_of(const Outcome<std::monostate>& outcome) {
        switch (outcome.settlement) {
            case Settlement::processed: return "handled";
            case Settlement::duplicate: return "came again: no effect";
            case Settlement::parked: return "parked: " + plain(outcome.reason);
            default: return "failed, comes again: " + plain(outcome.reason);
        }
    }

    void commands(const Stage& stage, const RelayPlan& plan, pid_t relay) {
        const auto sagaz = demo::own_name();
        const auto store = demo::store_words(stage.shop);
        auto& out = console_.out();
        out << "\ntry, in another terminal:\n";
        if (sqlite_path(stage.shop.url)) {
            out << "  " << sagaz << " append " << store
                << " --topic orders --key me --type Hello --payload '{\"hello\": \"world\"}'\n";
        } else {
            out << "  psql \"$DATABASE_URL\" -c \"SELECT " << stage.shop.schema
                << ".append('orders', 'me', 'Hello', '{\\\"hello\\\": \\\"world\\\"}')\"\n";
        }
        out << "  " << sagaz << " append " << store
            << " --topic orders --key me --type OrderPlaced --payload 'no order'    # fails, is "
               "tried again, is parked\n"
            << "  " << sagaz << " status " << store << "\n  " << sagaz << " inbox status "
            << demo::store_words(stage.warehouse) << "\n  " << sagaz << " events tail " << store
            << "\n  curl -s http://" << plan.admin << "/metrics | grep '^outbox_'\n  kill -9 "
            << relay << "    # the relay: it is started again, and nothing is lost\n"
            << "Ctrl-C ends it and lays the tables side by side.\n\n";
    }

    void line(const std::string& text) {
        console_.out() << time_of_day() << "  " << text << std::endl;
    }

    void write(Json object) {
        Json whole{{"schema", 1}};
        whole.update(object);
        console_.out() << line_of(whole) << std::endl;
    }

    bool json_;
    Console& console_;
};

class Dev {
public:
    Dev(const DevOptions& options, const Stage& stage, Lines& lines)
        : options_{options},
          stage_{stage},
          lines_{lines},
          plan_{plan_of(stage, options)},
          shop_{stage.shop},
          first_{shop_.newest() + 1},
          next_{first_},
          consumer_{stage,
                    [this](const auto& message, const auto& outcome) { tried(message, outcome); }},
          relay_{plan_, [this](const std::string& text) { lines_.note(text); }} {}

    int run(const std::stop_token& stop) {
        lines_.head(stage_, plan_, relay_.pid(), options_.rate);
        while (!stop.stop_requested() && !has_all_orders()) turn(true);
        const auto pending = drain();
        relay_.stop(kStopMax);
        while (consumer_.turn(kMessagesOfTurn)) {
        }
        const auto account = demo::balance(stage_, first_);
        lines_.account(stage_, account, pending);
        return account.holds() && pending == 0 ? kOk : kCondition;
    }

private:
    bool has_all_orders() const { return options_.orders > 0 && next_ - first_ >= options_.orders; }

    // A database that is away is waited for; what is wrong otherwise ends it all.
    void turn(bool with_orders) {
        try {
            relay_.keep();
            if (with_orders) take_order();
            const bool was_busy = consumer_.turn(kMessagesOfTurn);
            trouble_.clear();
            if (!was_busy) std::this_thread::sleep_for(kTurn);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::invalid || error.kind() == ErrorKind::fatal ||
                error.code() == "relay_process") {
                throw;
            }
            if (trouble_ != error.code()) lines_.note(hide_secrets(error.what()));
            trouble_ = error.code();
            std::this_thread::sleep_for(kAfterTrouble);
        }
    }

    void take_order() {
        const auto now = Clock::now();
        if (options_.rate == 0 || now < order_due_) return;
        order_due_ = std::max(order_due_ + std::chrono::nanoseconds{1'000'000'000 / options_.rate},
                              now - kAfterTrouble);
        const auto order = next_++;
        const auto id = shop_.take(order);
        if (!id) {
            lines_.rolled_back(order);
            return;
        }
        if (under_way_.size() == kUnderWayMax) under_way_.clear();
        under_way_.emplace(id->text(), Clock::now());
    }

    void tried(const Message& message, const Outcome<std::monostate>& outcome) {
        std::optional<milliseconds> after;
        if (const auto own = under_way_.find(message.id); own != under_way_.end()) {
            after = std::chrono::duration_cast<milliseconds>(Clock::now() - own->second);
            under_way_.erase(own);
        }
        lines_.tried(message, outcome, after);
    }

    // What is left in the log at the end.
    std::int64_t drain() {
        StoreWindow window{stage_.shop};
        const auto end = Clock::now() + kDrainMax;
        for (;;) {
            const auto pending = window.backlog().pending;
            if (pending == 0 || Clock::now() >= end) return pending;
            turn(false);
        }
    }

    const DevOptions& options_;
    const Stage& stage_;
    Lines& lines_;
    RelayPlan plan_;
    Shop shop_;
    std::int64_t first_;
    std::int64_t next_;
    LiveConsumer consumer_;
    KeptRelay relay_;
    Clock::time_point order_due_{Clock::now()};
    std::unordered_map<std::string, Clock::time_point> under_way_;
    std::string trouble_;
};

}  // namespace

int run_dev(const DevOptions& options, Console& console) {
    std::signal(SIGPIPE, SIG_IGN);
    StopOnSignal::block();
    const auto stage = stage_of(options);
    prepare(stage);
    const StopOnSignal stop;
    Lines lines{options.json, console};
    return Dev{options, stage, lines}.run(stop.token());
}

}  // namespace sagaz::inline v0::app
