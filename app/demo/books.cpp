#include "app/demo/books.hpp"

#include "app/commands.hpp"
#include "app/url.hpp"
#include "core/replaced.hpp"

#include <array>
#include <cstdlib>

namespace sagaz::inline v0::app::demo {
namespace {

constexpr std::array<std::string_view, 2> kOwners{"shop", "warehouse"};

}  // namespace

Books::Books(const StoreTarget& store, std::string_view owner)
    : session_{store, owner == "shop" ? Purpose::append : Purpose::consume},
      schema_{store.schema},
      owner_{owner} {}

std::string Books::place_of(std::string_view owner) const {
    if (!session_.is_sqlite()) return schema_ + '_' + std::string{owner};
    return owner == owner_ ? "main" : std::string{owner};
}

Rows Books::run(std::string_view sql, const std::vector<std::string>& values) {
    std::string text{sql};
    for (const auto owner : kOwners) {
        text = core::replaced(text, '@' + std::string{owner} + "@.", place_of(owner) + '.');
    }
    return session_.run(text, values);
}

std::int64_t Books::number(std::string_view sql, const std::vector<std::string>& values) {
    const auto rows = run(sql, values);
    return std::strtoll(rows.at(0).at(0).value_or("0").c_str(), nullptr, 10);
}

void Books::make_place() {
    if (!session_.is_sqlite()) session_.run("CREATE SCHEMA IF NOT EXISTS " + place_of(owner_));
}

bool Books::has_table(std::string_view name) {
    if (session_.is_sqlite()) {
        return number("SELECT count(*) FROM main.sqlite_master WHERE name = $1",
                      {std::string{name}}) > 0;
    }
    return number(
               "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = $1 AND "
               "tablename = $2",
               {place_of(owner_), std::string{name}}) > 0;
}

void Books::open_too(const StoreTarget& store, std::string_view owner) {
    if (const auto path = sqlite_path(store.url)) {
        session_.run("ATTACH $1 AS " + std::string{owner}, {*path});
    }
}

}  // namespace sagaz::inline v0::app::demo
