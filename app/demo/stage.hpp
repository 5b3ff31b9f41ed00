#pragma once

#include "stores/sqlite/database.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

/// The demo's folder: the shop's database with the log in it, the destination's file, and the
/// consumer's database with the inbox in it.
namespace sagaz::inline v0::app::demo {

inline constexpr Milliseconds kBusy{10'000};  ///< For the other process of a database.

struct Stage {
    std::filesystem::path folder;

    std::string shop() const { return folder / "shop.db"; }
    std::string events() const { return folder / "events.jsonl"; }
    std::string warehouse() const { return folder / "warehouse.db"; }
    std::string relay_log() const { return folder / "relay.log"; }
};

using Progress = std::function<void(const std::string&)>;

/// Makes the shop's tables. Throws `invalid` (`demo_folder`) when the folder holds a shop already.
void build_shop(const Stage& stage);

/// Takes `attempts` orders, several a transaction, one transaction in twenty rolled back; each
/// order's event is in the same transaction. Calls `between` after each transaction with the
/// number of attempts so far.
void take_orders(const Stage& stage, std::int64_t attempts,
                 const std::function<void(std::int64_t)>& between);

struct Deliveries {
    std::int64_t messages{};  ///< Lines of the destination's file.
    std::int64_t events{};    ///< Distinct events among them.
    std::int64_t handed_over{};
    std::int64_t processed{};
    std::int64_t duplicates{};
};

/// Reads the destination's file and hands each message over twice, in two passes, to a consumer
/// whose effects and inbox are in the warehouse's database, made anew.
Deliveries deliver_twice(const Stage& stage, const Progress& progress);

/// What the tables of shop and warehouse say when they are laid side by side.
struct Account {
    std::int64_t attempts{};
    std::int64_t orders{};
    std::int64_t shipments{};
    std::int64_t lost{};       ///< Orders without a shipment.
    std::int64_t invented{};   ///< Shipments without an order, or of another total.
    std::int64_t reordered{};  ///< Shipments that came after a later order of their customer.
    std::int64_t doubled{};    ///< Shipments beyond the first of an order.

    bool holds() const { return lost + invented + reordered + doubled == 0 && orders > 0; }
};
Account balance(const Stage& stage);

}  // namespace sagaz::inline v0::app::demo
