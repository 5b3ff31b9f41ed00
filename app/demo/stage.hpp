#pragma once

#include "app/commands.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/outbox.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

/// What `sagaz demo` and `sagaz dev` play on: a shop with the log beside its tables, the
/// destination's file, and a warehouse with the inbox beside its own.
namespace sagaz::inline v0::app::demo {

struct Stage {
    std::filesystem::path folder;
    StoreTarget shop{};
    StoreTarget warehouse{};  ///< May be the shop's.

    std::string events() const { return folder / "events.jsonl"; }
    std::string relay_log() const { return folder / "relay.log"; }
};

/// The folder of that name, or a new temporary one. Throws `invalid` (`demo_folder`).
std::filesystem::path folder_for(const std::string& name, std::string_view verb);

/// Two SQLite files in the folder.
Stage embedded_stage(const std::filesystem::path& folder);

/// The shop's customers and orders. Belongs to one thread, as its connection does.
class Shop {
public:
    explicit Shop(const StoreTarget& store);
    ~Shop();

    /// Makes the tables; the log must be there.
    void build();
    bool is_built();
    /// The highest number of an order that was tried; 0: none.
    std::int64_t newest();

    /// Takes one order, and its event in the same transaction; returns the event's id, or nothing
    /// when it is one of those that the shop rolls back at the last moment.
    std::optional<Id> take(std::int64_t order);

    /// Takes the orders up to `newest`, several a transaction, one transaction in twenty rolled
    /// back. Calls `between` after each transaction with the number of orders tried so far.
    void take_many(std::int64_t newest, const std::function<void(std::int64_t)>& between);

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// A consumer named "warehouse" that ships what was ordered, once, in the order of arrival. Other
/// events it only marks as seen. Belongs to one thread.
class Warehouse {
public:
    explicit Warehouse(const StoreTarget& store);
    ~Warehouse();

    /// Makes the tables; the inbox must be there.
    void build();

    Outcome<std::monostate> take(const Message& message);
    std::vector<Outcome<std::monostate>> take(std::span<const Message> messages);

private:
    struct State;
    std::unique_ptr<State> state_;
};

using Progress = std::function<void(const std::string&)>;

struct Deliveries {
    std::int64_t messages{};  ///< Lines of the destination's file.
    std::int64_t events{};    ///< Distinct events among them.
    std::int64_t handed_over{};
    std::int64_t duplicates{};
};

/// Reads the destination's file and hands each message over twice, in two passes, to a warehouse
/// that is made anew in its file.
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

    bool holds() const { return lost + invented + reordered + doubled == 0; }
    /// "lost 0, invented 0, reordered 0, doubled 0".
    std::string damage() const;
};
/// Of the orders from that number on.
Account balance(const Stage& stage, std::int64_t first = 1);

}  // namespace sagaz::inline v0::app::demo
