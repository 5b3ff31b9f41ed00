#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/demo/paste.hpp"
#include "app/demo/stage.hpp"
#include "app/errors.hpp"
#include "app/relay_process.hpp"
#include "app/store.hpp"
#include "app/store_look.hpp"
#include "app/table.hpp"
#include "app/url.hpp"

#include <nlohmann/json.hpp>

#include <ostream>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using demo::Account;
using demo::Deliveries;
using demo::Shop;
using demo::Stage;
using std::chrono::milliseconds;

constexpr milliseconds kStartMax{20'000};
constexpr milliseconds kDrainMax{60'000};
constexpr milliseconds kStopMax{25'000};
constexpr milliseconds kLook{100};

RelayPlan plan_for(const Stage& stage) {
    return {.store = stage.shop, .broker = "file:" + stage.events(), .log = stage.relay_log()};
}

std::int64_t size_of(const std::string& path) {
    std::error_code absent;
    const auto size = std::filesystem::file_size(path, absent);
    return absent ? 0 : static_cast<std::int64_t>(size);
}

std::string shop_file(const Stage& stage) { return sqlite_path(stage.shop.url).value(); }

void drain(const Stage& stage, RelayProcess& relay, Console& console) {
    StoreWindow window{stage.shop};
    const auto end = std::chrono::steady_clock::now() + kDrainMax;
    for (;;) {
        const auto pending = window.backlog().pending;
        if (pending == 0) {
            return;
        }
        relay.must_run();
        if (std::chrono::steady_clock::now() >= end) {
            throw Error{
                ErrorKind::unavailable, "relay_process",
                "the demo's relay did not finish in time, " + grouped(pending) + " events are left",
                "see " + stage.relay_log()};
        }
        console.progress("waiting for " + grouped(pending) + " events");
        std::this_thread::sleep_for(kLook);
    }
}

// A kill in the middle is one with something published and something not.
void kill_in_the_middle(const Stage& stage, std::unique_ptr<RelayProcess>& relay) {
    for (const auto end = std::chrono::steady_clock::now() + kStartMax;
         size_of(stage.events()) == 0;) {
        relay->must_run();
        if (std::chrono::steady_clock::now() >= end) {
            throw Error{ErrorKind::unavailable, "relay_process",
                        "the demo's relay publishes nothing", "see " + stage.relay_log()};
        }
        std::this_thread::sleep_for(milliseconds{1});
    }
    relay->kill_hard();
    relay = std::make_unique<RelayProcess>(plan_for(stage));
}

void build(const Stage& stage) {
    if (std::filesystem::exists(shop_file(stage)) || std::filesystem::exists(stage.events())) {
        refuse("demo_folder", "there is a demo in " + stage.folder.string() + " already",
               "give --folder a new one, or look at that one by --check");
    }
    migrate_schema(stage.shop, false);
}

void play(const Stage& stage, std::int64_t attempts, Console& console) {
    build(stage);
    Shop shop{stage.shop};
    shop.build();
    auto relay = std::make_unique<RelayProcess>(plan_for(stage));
    bool killed = false;
    shop.take_many(attempts, [&](std::int64_t taken) {
        console.progress("taking orders: " + grouped(taken));
        if (!killed && taken >= attempts / 2) {
            kill_in_the_middle(stage, relay);
            killed = true;
        }
    });
    drain(stage, *relay, console);
    relay->stop(kStopMax);
}

bool holds(const Account& account) { return account.holds() && account.orders > 0; }

void write_json(const Stage& stage, const Account& account, const Deliveries& deliveries,
                std::ostream& out) {
    out << nlohmann::ordered_json{{"schema", 1},
                                  {"holds", holds(account)},
                                  {"folder", stage.folder.string()},
                                  {"committed", account.orders},
                                  {"rolled_back", account.attempts - account.orders},
                                  {"published", deliveries.messages},
                                  {"repeats", deliveries.messages - deliveries.events},
                                  {"delivered", deliveries.handed_over},
                                  {"effects", account.shipments},
                                  {"lost", account.lost},
                                  {"invented", account.invented},
                                  {"reordered", account.reordered},
                                  {"doubled", account.doubled}}
               .dump()
        << '\n';
}

void write_text(const Stage& stage, const Account& account, const Deliveries& deliveries,
                std::ostream& out) {
    const auto repeats = deliveries.messages - deliveries.events;
    out << "committed  " << grouped(account.orders)
        << " orders, each with its event in one transaction; "
        << grouped(account.attempts - account.orders) << " rolled back\n"
        << "published  " << grouped(deliveries.messages)
        << " messages by a relay that was killed with -9 in the middle and started again; "
        << grouped(repeats) << (repeats == 1 ? " repeat" : " repeats") << " around the kill\n"
        << "delivered  " << grouped(deliveries.handed_over)
        << " times: each message was handed to the consumer twice, on purpose\n"
        << "effects    " << grouped(account.shipments) << " shipments; "
        << grouped(deliveries.duplicates) << " duplicates had none\n"
        << "account    " << account.damage() << '\n'
        << "look       " << shop_file(stage) << ", " << stage.events() << ", "
        << sqlite_path(stage.warehouse.url).value() << '\n';
}

void write_next(const Stage& stage, std::ostream& out) {
    const auto sagaz = demo::own_name();
    out << "\ntry next:\n  sed -i '$d' " << demo::shell_word(stage.events()) << " && " << sagaz
        << " demo --check " << demo::shell_word(stage.folder.string())
        << "    # lose one: it is missed\n  " << sagaz
        << " dev    # the same pieces kept running, to play with\n";
}

}  // namespace

int run_demo(const DemoOptions& options, Console& console) {
    const bool checks = !options.check.empty();
    const auto stage = demo::embedded_stage(checks ? std::filesystem::path{options.check}
                                                   : demo::folder_for(options.folder, "demo"));
    if (checks && !std::filesystem::exists(shop_file(stage))) {
        refuse("demo_folder", "there is no demo in " + stage.folder.string(),
               "give --check the folder that sagaz demo named");
    }
    if (!checks) {
        play(stage, options.orders, console);
    }
    const auto deliveries =
        demo::deliver_twice(stage, [&](const std::string& text) { console.progress(text); });
    const auto account = demo::balance(stage);
    if (options.json) {
        write_json(stage, account, deliveries, console.out());
    } else {
        write_text(stage, account, deliveries, console.out());
        if (!checks && holds(account)) {
            write_next(stage, console.out());
        }
    }
    return holds(account) ? kOk : kCondition;
}

}  // namespace sagaz::inline v0::app
